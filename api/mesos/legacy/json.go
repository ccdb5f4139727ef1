package legacy

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// part is how much of an answer is made before it is sent.
const part = 64 << 10

// writer makes one JSON value after the other, and sends what it has in parts. After an
// error it does nothing more.
type writer struct {
	buf  []byte
	more bool // a value is before the next one
	send func([]byte) error
	err  error
}

func (w *writer) next() {
	if w.more {
		w.buf = append(w.buf, ',')
	}
	w.more = true
}

func (w *writer) key(name string) {
	w.next()
	w.buf = append(appendString(w.buf, name), ':')
	w.more = false
}

// open begins an object or an array, which is the value of name if it has one.
func (w *writer) open(name string, bracket byte) {
	if name != "" {
		w.key(name)
	}
	w.next()
	w.buf = append(w.buf, bracket)
	w.more = false
}

func (w *writer) close(bracket byte) {
	w.buf = append(w.buf, bracket)
	w.more = true
	if len(w.buf) >= part {
		w.flush()
	}
}

func (w *writer) flush() {
	if w.err == nil {
		w.err = w.send(w.buf)
	}
	w.buf = w.buf[:0]
}

func (w *writer) text(name, s string) {
	w.key(name)
	w.item(s)
}

// given writes a text that may not be there.
func (w *writer) given(name, s string) {
	if s != "" {
		w.text(name, s)
	}
}

// item is a text in an array.
func (w *writer) item(s string) {
	w.next()
	w.buf = appendString(w.buf, s)
}

func (w *writer) texts(name string, list []string) {
	w.open(name, '[')
	for _, s := range list {
		w.item(s)
	}
	w.close(']')
}

func (w *writer) flag(name string, b bool) {
	w.key(name)
	w.next()
	w.buf = strconv.AppendBool(w.buf, b)
}

func (w *writer) count(name string, n int) {
	w.key(name)
	w.next()
	w.buf = strconv.AppendInt(w.buf, int64(n), 10)
}

// number writes a number with a point, as Mesos does.
func (w *writer) number(name string, v float64) {
	w.key(name)
	w.next()
	whole := v == math.Trunc(v)
	w.buf = strconv.AppendFloat(w.buf, v, 'f', -1, 64)
	if whole {
		w.buf = append(w.buf, ".0"...)
	}
}

// raw writes a value that is JSON already.
func (w *writer) raw(name string, value []byte) {
	w.key(name)
	w.next()
	w.buf = append(w.buf, value...)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // a text has no error
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

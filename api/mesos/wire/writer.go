package wire

import (
	"fmt"
	"reflect"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Writer writes one message field by field, and lists in it value by value, so that no
// more of it is in memory than what is being written. In protobuf a message may come in
// parts, which its readers put together; in JSON all of a message has to follow each
// other. Fields that are left out are so, also those that have a default.
type Writer struct {
	format Format
	top    *plan
	out    func([]byte) error
	b      []byte
	in     []*field // JSON: messages that are open
	list   *field   // JSON: the list in the last of them that is open
	some   bool     // JSON: the innermost that is open is not empty
}

// piece is how much is handed on at a time.
const piece = 32 << 10

// NewWriter writes a message of the type that like points to. What is written is handed to
// out, which may not keep it.
func NewWriter(f Format, like any, out func([]byte) error) *Writer {
	w := &Writer{format: f, top: planOf(reflect.TypeOf(like).Elem()), out: out}
	if f == JSON {
		w.b = append(w.b, '{')
	}
	return w
}

// Put writes a field, which path leads to from the message, or one more value of a list.
func (w *Writer) Put(value any, path ...string) error {
	way := w.way(path)
	f, in := way[len(way)-1], way[:len(way)-1]
	e := encoder{}
	if w.format == JSON {
		w.enter(in)
		w.begin(f)
		w.b = e.one(w.b, f, reflect.ValueOf(value), step{field: f})
		w.some = true
	} else {
		w.b = append(w.b, within(in, e.field(nil, f, reflect.ValueOf(value), 0))...)
	}
	if e.err == nil {
		e.err = e.missing.err()
	}
	if e.err != nil {
		return fmt.Errorf("%s: %w", w.top.typ.Name(), e.err)
	}
	return w.flush(piece)
}

// Enter writes a message that is there though it may stay empty.
func (w *Writer) Enter(path ...string) error {
	way := w.way(path)
	if w.format == JSON {
		w.enter(way)
	} else {
		w.b = append(w.b, within(way, nil)...)
	}
	return w.flush(piece)
}

// Close writes what is left.
func (w *Writer) Close() error {
	if w.format == JSON {
		w.leave(0)
		w.b = append(w.b, '}')
	}
	return w.flush(1)
}

func (w *Writer) flush(least int) error {
	if len(w.b) < least {
		return nil
	}
	b := w.b
	w.b = w.b[:0]
	return w.out(b)
}

// way panics if there is no such field, which the tests of who writes show.
func (w *Writer) way(path []string) (way []*field) {
	p := w.top
	for _, name := range path {
		f := p.names[name]
		if f == nil {
			panic("wire: " + p.typ.Name() + " has no " + name)
		}
		way, p = append(way, f), f.sub
	}
	return way
}

// within is a field of messages that are in each other.
func within(in []*field, b []byte) []byte {
	for _, f := range slices.Backward(in) {
		b = append(protowire.AppendVarint(protowire.AppendTag(nil, f.number, protowire.BytesType), uint64(len(b))), b...)
	}
	return b
}

// enter opens messages, and closes those that are others.
func (w *Writer) enter(in []*field) {
	same := 0
	for same < len(in) && same < len(w.in) && in[same] == w.in[same] {
		same++
	}
	if same < len(w.in) {
		w.leave(same)
	}
	for _, f := range in[same:] {
		w.begin(f)
		w.b = append(w.b, '{')
		w.in, w.some = append(w.in, f), false
	}
}

// leave closes all but the outermost messages.
func (w *Writer) leave(but int) {
	w.closeList()
	for range len(w.in) - but {
		w.b = append(w.b, '}')
		w.some = true
	}
	w.in = w.in[:but]
}

func (w *Writer) closeList() {
	if w.list != nil {
		w.b = append(w.b, ']')
		w.list, w.some = nil, true
	}
}

// begin writes what is before a value: of a list that is open a comma.
func (w *Writer) begin(f *field) {
	if w.list != f {
		w.closeList()
	}
	if w.some {
		w.b = append(w.b, ',')
	}
	if w.list == f {
		return
	}
	w.b = append(w.b, f.key...)
	if f.shape == repeated {
		w.b = append(w.b, '[')
		w.list = f
	}
}

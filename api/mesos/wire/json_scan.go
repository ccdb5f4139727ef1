package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner takes JSON apart from its beginning to its end.
type scanner struct {
	data []byte
	pos  int
	buf  []byte // of strings that are not as they stand
}

func (s *scanner) broken(reason string) error { return &SyntaxError{Offset: s.pos, Reason: reason} }

// peek skips space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// expect skips space and c.
func (s *scanner) expect(c byte) error {
	if s.peek() != c || s.pos == len(s.data) {
		return s.broken("'" + string(rune(c)) + "' is missing")
	}
	s.pos++
	return nil
}

// more is asked before each member of an object or element of an array, and
// reports whether there is one. It reads the comma, or the bracket at the end.
func (s *scanner) more(first bool, end byte) (bool, error) {
	c := s.peek()
	switch {
	case c == end:
		s.pos++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, s.broken("a comma or '" + string(rune(end)) + "' is missing")
	}
	s.pos++
	if s.peek() == end {
		return false, s.broken("a value is missing after the comma")
	}
	return true, nil
}

// key reads the name of a member and its colon. It is valid until the next string.
func (s *scanner) key() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.broken("a name in quotes is missing")
	}
	k, err := s.text()
	if err != nil {
		return nil, err
	}
	return k, s.expect(':')
}

// text reads a string, which is valid until the next.
func (s *scanner) text() ([]byte, error) {
	s.pos++
	start, ascii := s.pos, true
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			out := s.data[start:s.pos]
			if !ascii && !utf8.Valid(out) {
				return nil, s.broken("a string is not valid UTF-8")
			}
			s.pos++
			return out, nil
		case c == '\\':
			s.buf = append(s.buf[:0], s.data[start:s.pos]...)
			return s.escaped()
		case c < ' ':
			return nil, s.broken("a control character in a string has to be escaped")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, s.broken("a string has no end")
}

// escaped continues a string at its first backslash.
func (s *scanner) escaped() ([]byte, error) {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			if !utf8.Valid(s.buf) {
				return nil, s.broken("a string is not valid UTF-8")
			}
			s.pos++
			return s.buf, nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.broken("a control character in a string has to be escaped")
		default:
			s.buf = append(s.buf, c)
			s.pos++
		}
	}
	return nil, s.broken("a string has no end")
}

const (
	escapes = `"\/bfnrt`
	meant   = "\"\\/\b\f\n\r\t"
)

func (s *scanner) escape() error {
	if s.pos+1 == len(s.data) {
		return s.broken("a string has no end")
	}
	c := s.data[s.pos+1]
	if i := bytes.IndexByte([]byte(escapes), c); i >= 0 {
		s.buf = append(s.buf, meant[i])
		s.pos += 2
		return nil
	}
	if c != 'u' {
		return s.broken("there is no such escape")
	}
	r, ok := s.hex(s.pos)
	if !ok {
		return s.broken("four hexadecimal digits are missing")
	}
	if utf16.IsSurrogate(r) {
		low, _ := s.hex(s.pos + 6)
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return s.broken("half of a surrogate pair")
		}
		s.pos += 6
	}
	s.buf = utf8.AppendRune(s.buf, r)
	s.pos += 6
	return nil
}

// hex reads \uXXXX.
func (s *scanner) hex(at int) (r rune, ok bool) {
	if at+6 > len(s.data) || s.data[at] != '\\' || s.data[at+1] != 'u' {
		return 0, false
	}
	for _, c := range s.data[at+2 : at+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads a number as it stands. Infinity and NaN are numbers here.
func (s *scanner) number() ([]byte, error) {
	start := s.pos
	s.one("-")
	for _, word := range []string{"Infinity", "NaN"} {
		if bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
			s.pos += len(word)
			return s.data[start:s.pos], nil
		}
	}
	zero := s.pos < len(s.data) && s.data[s.pos] == '0'
	if n := s.digits(); n == 0 || zero && n > 1 {
		return nil, s.broken("not a value of JSON")
	}
	if s.one(".") && s.digits() == 0 {
		return nil, s.broken("a number has no digit after its point")
	}
	if s.one("eE") {
		s.one("+-")
		if s.digits() == 0 {
			return nil, s.broken("a number has no digit in its exponent")
		}
	}
	return s.data[start:s.pos], nil
}

// one skips a byte that is one of the set.
func (s *scanner) one(set string) bool {
	if s.pos < len(s.data) && bytes.IndexByte([]byte(set), s.data[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}

// word reads true, false or null.
func (s *scanner) word(w string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.broken("not a value of JSON")
	}
	s.pos += len(w)
	return nil
}

// skip reads a value of which nothing is kept.
func (s *scanner) skip(depth int) error {
	if depth > MaxDepth {
		return s.broken("nested too deep")
	}
	switch s.peek() {
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	case '[':
		return s.each(']', func() error { return s.skip(depth + 1) })
	case '{':
		return s.each('}', func() error {
			if _, err := s.key(); err != nil {
				return err
			}
			return s.skip(depth + 1)
		})
	}
	_, err := s.number()
	return err
}

// each reads a bracket and what is within it, up to its end.
func (s *scanner) each(end byte, read func() error) error {
	s.pos++
	for first := true; ; first = false {
		ok, err := s.more(first, end)
		if err != nil || !ok {
			return err
		}
		if err := read(); err != nil {
			return err
		}
	}
}

// end makes sure that nothing but space is left.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.data) {
		return s.broken("there is more after the end of the value")
	}
	return nil
}

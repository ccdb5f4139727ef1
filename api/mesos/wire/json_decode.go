package wire

import (
	"encoding"
	"encoding/base64"
	"errors"
	"math"
	"reflect"
	"strconv"
)

// document reads all of data into the struct v.
func (d *decoder) document(p *plan, v reflect.Value, data []byte) error {
	d.scan = scanner{data: data}
	err := d.root(p, v)
	if syntax := (*SyntaxError)(nil); err == nil || errors.As(err, &syntax) {
		return err
	}
	// What is not JSON at all is told first, wherever in it that shows.
	whole := scanner{data: data}
	if bad := whole.skip(1); bad != nil {
		return bad
	}
	if bad := whole.end(); bad != nil {
		return bad
	}
	return err
}

func (d *decoder) root(p *plan, v reflect.Value) error {
	if d.scan.peek() != '{' {
		if err := d.scan.skip(1); err != nil {
			return err
		}
		return &FieldError{"", "Expecting a JSON object"}
	}
	if err := d.object(p, v); err != nil {
		return err
	}
	return d.scan.end()
}

// object reads the members of an object into the struct v. Of two members of
// one name the last counts.
func (d *decoder) object(p *plan, v reflect.Value) error {
	seen, named := uint64(0), len(d.missing.paths)
	d.scan.pos++
	for first := true; ; first = false {
		ok, err := d.scan.more(first, '}')
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		key, err := d.scan.key()
		if err != nil {
			return err
		}
		f := p.names[string(key)]
		if f == nil {
			if err := d.scan.skip(len(d.at) + 2); err != nil {
				return err
			}
			continue
		}
		set, err := d.member(f, v)
		if err != nil {
			return err
		}
		seen &^= f.bit
		if set {
			seen |= f.bit
		}
	}
	d.missing.add(p, seen, d.at, named)
	if d.missing.full() {
		return d.missing.err()
	}
	return nil
}

// member reads the value of a field, and reports whether it is one: null and the
// unknown name of an enum are not.
func (d *decoder) member(f *field, v reflect.Value) (set bool, err error) {
	v.Field(f.index).SetZero()
	c := d.scan.peek()
	switch {
	case c == 'n':
		return false, d.scan.word("null")
	case f.shape == mapped && c == '{':
		return true, d.entries(f, v)
	case f.shape == repeated && c == '[':
		return true, d.elements(f, v)
	}
	return d.one(f, v, c)
}

func (d *decoder) elements(f *field, v reflect.Value) error {
	d.scan.pos++
	for first := true; ; first = false {
		ok, err := d.scan.more(first, ']')
		if err != nil || !ok {
			return err
		}
		c := d.scan.peek()
		if c == 'n' {
			err = d.scan.word("null")
		} else {
			_, err = d.one(f, v, c)
		}
		if err != nil {
			return err
		}
	}
}

func (d *decoder) entries(f *field, v reflect.Value) error {
	d.scan.pos++
	for first := true; ; first = false {
		ok, err := d.scan.more(first, '}')
		if err != nil || !ok {
			return err
		}
		k, err := d.scan.key()
		if err != nil {
			return err
		}
		key := string(k)
		switch d.scan.peek() {
		case 'n':
			err = d.scan.word("null")
		case '{':
			to := reflect.New(f.sub.typ)
			if err = d.nested(f, to.Elem(), step{field: f, key: key}); err == nil {
				f.put(v, key, to)
			}
		default:
			err = d.wrong(f, "Expecting a JSON object")
		}
		if err != nil {
			return err
		}
	}
}

func (d *decoder) nested(f *field, v reflect.Value, s step) error {
	if err := d.enter(s, f.sub); err != nil {
		return err
	}
	err := d.object(f.sub, v)
	d.leave()
	return err
}

// one reads one value, which begins with c.
func (d *decoder) one(f *field, v reflect.Value, c byte) (set bool, err error) {
	switch c {
	case '"':
		text, err := d.scan.text()
		if err != nil {
			return false, err
		}
		return d.text(f, v, text)
	case '{':
		return true, d.message1(f, v)
	case '[':
		return false, d.wrong(f, "Not expecting a JSON array")
	case 't', 'f':
		if err := d.scan.word(strconv.FormatBool(c == 't')); err != nil {
			return false, err
		}
		if f.kind != boolKind {
			return false, d.wrong(f, "Not expecting a JSON boolean")
		}
		return true, d.bool(f, v, c == 't')
	}
	number, err := d.scan.number()
	if err != nil {
		return false, err
	}
	if f.kind != signedKind && f.kind != unsignedKind && f.kind != doubleKind {
		return false, d.wrong(f, "Not expecting a JSON number")
	}
	return true, d.digits(f, v, number)
}

func (d *decoder) message1(f *field, v reflect.Value) error {
	if f.kind != messageKind || f.shape == mapped {
		return d.wrong(f, "Not expecting a JSON object")
	}
	to, s := f.slot(v), step{field: f}
	if f.shape == repeated {
		s.index = v.Field(f.index).Len() - 1
		to.Set(reflect.New(f.sub.typ))
		to = to.Elem()
	}
	return d.nested(f, to, s)
}

// text stores a string: scalars may be written as one, bytes and enums have to.
func (d *decoder) text(f *field, v reflect.Value, text []byte) (set bool, err error) {
	if f.shape == repeated {
		if err := d.take(24); err != nil {
			return false, err
		}
	}
	switch f.kind {
	case textKind:
		f.slot(v).SetString(string(text))
		return true, nil
	case bytesKind:
		return true, d.base64(f, v, text)
	case enumKind:
		n, ok := f.enum.numbers[string(text)]
		switch {
		case ok:
			f.slot(v).SetInt(int64(n))
		case f.bit != 0:
			return false, d.wrong(f, "Failed to find enum "+strconv.Quote(string(text)))
		}
		return ok, nil
	case boolKind:
		if s := string(text); s != "true" && s != "false" {
			return false, d.wrong(f, "Failed to parse "+strconv.Quote(s)+" as a JSON boolean")
		}
		return true, d.bool(f, v, text[0] == 't')
	case messageKind:
		return true, d.textual(f, v, text)
	}
	s := scanner{data: text}
	number, err := s.number()
	if err != nil || s.pos < len(text) {
		return false, d.wrong(f, "Failed to parse "+strconv.Quote(string(text))+" as a JSON number")
	}
	return true, d.digits(f, v, number)
}

// textual stores a message that has a form as text, too.
func (d *decoder) textual(f *field, v reflect.Value, text []byte) error {
	if !f.sub.text || f.shape != optional {
		return d.wrong(f, "Not expecting a JSON string")
	}
	if err := f.slot(v).Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(text); err != nil {
		return d.wrong(f, err.Error())
	}
	return nil
}

func (d *decoder) base64(f *field, v reflect.Value, text []byte) error {
	encoding := base64.StdEncoding
	if len(text)%4 != 0 {
		encoding = base64.RawStdEncoding
	}
	data, err := encoding.AppendDecode(make([]byte, 0, len(text)*3/4), text)
	if err != nil {
		return d.wrong(f, "Failed to base64 decode bytes")
	}
	f.slot(v).SetBytes(data)
	return nil
}

func (d *decoder) bool(f *field, v reflect.Value, value bool) error {
	if err := d.take(1); err != nil {
		return err
	}
	f.slot(v).SetBool(value)
	return nil
}

// digits stores a number. One with a fraction loses it where there is none.
func (d *decoder) digits(f *field, v reflect.Value, number []byte) error {
	if err := d.take(8); err != nil {
		return err
	}
	to := f.slot(v)
	ok := false
	switch f.kind {
	case signedKind:
		n, err := strconv.ParseInt(string(number), 10, to.Type().Bits())
		if err != nil {
			n, ok = truncate(number, -math.Ldexp(1, to.Type().Bits()-1), math.Ldexp(1, to.Type().Bits()-1))
		}
		to.SetInt(n)
		ok = ok || err == nil
	case unsignedKind:
		n, err := strconv.ParseUint(string(number), 10, to.Type().Bits())
		if err != nil {
			n, ok = truncateUnsigned(number, math.Ldexp(1, to.Type().Bits()))
		}
		to.SetUint(n)
		ok = ok || err == nil
	default:
		n, err := strconv.ParseFloat(string(number), 64)
		if f.milli {
			n = thousandths(n)
		}
		to.SetFloat(n)
		ok = err == nil
	}
	if !ok {
		return d.wrong(f, "Out of range: "+string(number))
	}
	return nil
}

func truncate(number []byte, least, below float64) (int64, bool) {
	n, err := strconv.ParseFloat(string(number), 64)
	if n = math.Trunc(n); err != nil || !(least <= n && n < below) {
		return 0, false
	}
	return int64(n), true
}

func truncateUnsigned(number []byte, below float64) (uint64, bool) {
	n, err := strconv.ParseFloat(string(number), 64)
	if n = math.Trunc(n); err != nil || !(0 <= n && n < below) {
		return 0, false
	}
	return uint64(n), true
}

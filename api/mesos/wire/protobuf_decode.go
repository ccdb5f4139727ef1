package wire

import (
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// A pending part is a message of which there is one. Protobuf allows it to be
// sent in several pieces, so it is read once the whole around it has been seen.
type pending struct {
	field *field
	data  []byte
	whole bool // data is a copy, to which more may be appended
}

// message reads b into the struct v.
func (d *decoder) message(p *plan, v reflect.Value, b []byte) error {
	seen, named, first := uint64(0), len(d.missing.paths), len(d.parts)
	for rest := b; len(rest) > 0; {
		number, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return d.broken(b, rest, n)
		}
		f := p.byNumber(number)
		if f == nil {
			unknown := protowire.ConsumeFieldValue(number, typ, rest[n:])
			if unknown < 0 {
				return d.broken(b, rest, unknown)
			}
			rest = rest[n+unknown:]
			continue
		}
		used, ok, err := d.value(f, v, typ, rest[n:], first)
		if err != nil {
			return err
		}
		if used < 0 {
			return d.broken(b, rest, used)
		}
		if ok {
			seen |= f.bit
		}
		rest = rest[n+used:]
	}
	for i := first; i < len(d.parts); i++ { // each leaves as many as it found
		f := d.parts[i].field
		if err := d.part(f, f.slot(v), step{field: f}, d.parts[i].data); err != nil {
			return err
		}
	}
	d.parts = d.parts[:first]
	d.missing.add(p, seen, d.at, named)
	if d.missing.full() {
		return d.missing.err()
	}
	return nil
}

func (d *decoder) broken(b, rest []byte, code int) error {
	reason := strings.TrimSpace(strings.TrimPrefix(protowire.ParseError(code).Error(), "proto:")) // after it is one of two spaces, by chance
	return &SyntaxError{Offset: len(b) - len(rest), Path: d.at.String(), Reason: reason}
}

// part reads a message that is a field of another.
func (d *decoder) part(f *field, v reflect.Value, s step, b []byte) error {
	if err := d.enter(s, f.sub); err != nil {
		return err
	}
	err := d.message(f.sub, v, b)
	d.leave()
	return err
}

// value reads what follows a tag. It returns how many bytes that was, or a
// negative code of protowire, and whether it was a value that is known.
func (d *decoder) value(f *field, v reflect.Value, typ protowire.Type, b []byte, first int) (used int, ok bool, err error) {
	want := f.kind.wireType()
	switch {
	case typ == want && want == protowire.BytesType:
		data, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return n, false, nil
		}
		return n, true, d.bytes(f, v, data, first)
	case typ == want:
		bits, n := consumeNumber(typ, b)
		if n < 0 {
			return n, false, nil
		}
		ok, err := d.number(f, v, bits)
		return n, ok, err
	case typ == protowire.BytesType && f.shape == repeated:
		data, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return n, false, nil
		}
		for len(data) > 0 {
			bits, m := consumeNumber(want, data)
			if m < 0 {
				return m, false, nil
			}
			if _, err := d.number(f, v, bits); err != nil {
				return 0, false, err
			}
			data = data[m:]
		}
		return n, true, nil
	}
	return 0, false, d.wrong(f, "Wrong wire type")
}

func (k kind) wireType() protowire.Type {
	switch k {
	case textKind, bytesKind, messageKind:
		return protowire.BytesType
	case doubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

func consumeNumber(typ protowire.Type, b []byte) (uint64, int) {
	if typ == protowire.Fixed64Type {
		return protowire.ConsumeFixed64(b)
	}
	return protowire.ConsumeVarint(b)
}

// number stores a scalar. An enum's number that has no name is as if it had
// not been sent.
func (d *decoder) number(f *field, v reflect.Value, bits uint64) (known bool, err error) {
	if f.kind == enumKind && f.enum.names[int32(bits)] == "" {
		return false, nil
	}
	if f.shape == repeated {
		if err := d.take(8); err != nil {
			return false, err
		}
	}
	to := f.slot(v)
	switch f.kind {
	case boolKind:
		to.SetBool(protowire.DecodeBool(bits))
	case signedKind, enumKind:
		to.SetInt(int64(bits)) // of which an int32 keeps the lower half, as protobuf has it
	case unsignedKind:
		to.SetUint(bits)
	case doubleKind:
		value := math.Float64frombits(bits)
		if f.milli {
			value = thousandths(value)
		}
		to.SetFloat(value)
	}
	return true, nil
}

// bytes stores what has a length: text, bytes, and messages.
func (d *decoder) bytes(f *field, v reflect.Value, data []byte, first int) error {
	switch {
	case f.shape == mapped:
		return d.entry(f, v, data)
	case f.kind == messageKind && f.shape == repeated:
		to := f.slot(v)
		to.Set(reflect.New(f.sub.typ))
		return d.part(f, to.Elem(), step{field: f, index: v.Field(f.index).Len() - 1}, data)
	case f.kind == messageKind:
		d.later(f, data, first)
		return nil
	case f.shape == repeated:
		if err := d.take(24); err != nil {
			return err
		}
	}
	if f.kind == bytesKind {
		f.slot(v).SetBytes(append(make([]byte, 0, len(data)), data...))
		return nil
	}
	if !utf8.Valid(data) {
		return d.wrong(f, "Invalid UTF-8")
	}
	f.slot(v).SetString(string(data))
	return nil
}

// later notes a part of the message whose parts begin at first.
func (d *decoder) later(f *field, data []byte, first int) {
	for i := range d.parts[first:] {
		p := &d.parts[first+i]
		if p.field != f {
			continue
		}
		if !p.whole {
			p.data, p.whole = append([]byte(nil), p.data...), true
		}
		p.data = append(p.data, data...)
		return
	}
	d.parts = append(d.parts, pending{field: f, data: data})
}

// entry reads a key and its value into a map.
func (d *decoder) entry(f *field, v reflect.Value, data []byte) error {
	var key string
	var value []byte
	for rest := data; len(rest) > 0; {
		number, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return d.broken(data, rest, n)
		}
		body, used := rest[n:], 0
		switch {
		case number <= 2 && typ != protowire.BytesType:
			return d.wrong(f, "Wrong wire type")
		case number == 1:
			var k []byte
			if k, used = protowire.ConsumeBytes(body); used >= 0 {
				key = string(k)
			}
		case number == 2:
			var part []byte
			if part, used = protowire.ConsumeBytes(body); used >= 0 {
				value = append(value, part...)
			}
		default:
			used = protowire.ConsumeFieldValue(number, typ, body)
		}
		if used < 0 {
			return d.broken(data, rest, used)
		}
		rest = body[used:]
	}
	if !utf8.ValidString(key) {
		return d.wrong(f, "Invalid UTF-8")
	}
	to := reflect.New(f.sub.typ)
	if err := d.part(f, to.Elem(), step{field: f, key: key}, value); err != nil {
		return err
	}
	f.put(v, key, to)
	return nil
}

// put stores a value in a map.
func (f *field) put(v reflect.Value, key string, value reflect.Value) {
	m := v.Field(f.index)
	if m.IsNil() {
		m.Set(reflect.MakeMap(m.Type()))
	}
	m.SetMapIndex(reflect.ValueOf(key), value)
}

package wire

import (
	"math"
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
)

// message appends the struct v.
func (e *encoder) message(b []byte, p *plan, v reflect.Value) []byte {
	for _, f := range p.ordered {
		fv := v.Field(f.index)
		if !f.isSet(fv) {
			if f.bit != 0 {
				e.lacking(f)
			}
			continue
		}
		switch f.shape {
		case repeated:
			for i := range fv.Len() {
				b = e.field(b, f, fv.Index(i), i)
			}
		case mapped:
			for _, key := range keys(fv) {
				b = e.entry(b, f, key, fv.MapIndex(reflect.ValueOf(key)))
			}
		default:
			b = e.field(b, f, fv, 0)
		}
	}
	return b
}

// field appends one value with its tag.
func (e *encoder) field(b []byte, f *field, v reflect.Value, index int) []byte {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return b // of a repeated field: there is nothing to write
		}
		v = v.Elem()
	}
	b = protowire.AppendTag(b, f.number, f.kind.wireType())
	switch f.kind {
	case textKind:
		return protowire.AppendString(b, v.String())
	case bytesKind:
		return protowire.AppendBytes(b, v.Bytes())
	case boolKind:
		return protowire.AppendVarint(b, protowire.EncodeBool(v.Bool()))
	case signedKind, enumKind:
		return protowire.AppendVarint(b, uint64(v.Int()))
	case unsignedKind:
		return protowire.AppendVarint(b, v.Uint())
	case doubleKind:
		return protowire.AppendFixed64(b, math.Float64bits(v.Float()))
	}
	return e.part(b, v, step{field: f, index: index})
}

// part appends a message with its length.
func (e *encoder) part(b []byte, v reflect.Value, s step) []byte {
	if !e.enter(s) {
		return b
	}
	b = append(b, 0) // room for the length of most messages
	start := len(b)
	b = closeLength(e.message(b, s.field.sub, v), start)
	e.leave()
	return b
}

// closeLength puts the length of what follows start before it, for which one
// byte is free.
func closeLength(b []byte, start int) []byte {
	n := uint64(len(b) - start)
	if extra := protowire.SizeVarint(n) - 1; extra > 0 {
		var space [9]byte
		b = append(b, space[:extra]...)
		copy(b[start+extra:], b[start:len(b)-extra])
	}
	protowire.AppendVarint(b[:start-1], n)
	return b
}

// entry appends a key and its value.
func (e *encoder) entry(b []byte, f *field, key string, v reflect.Value) []byte {
	if v.IsNil() {
		return b
	}
	b = protowire.AppendTag(b, f.number, protowire.BytesType)
	b = append(b, 0)
	start := len(b)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, key)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return closeLength(e.part(b, v.Elem(), step{field: f, key: key}), start)
}

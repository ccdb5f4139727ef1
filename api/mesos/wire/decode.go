package wire

import (
	"math"
	"reflect"
)

// A decoder reads one message, in either form.
type decoder struct {
	at      path
	missing missing
	room    int       // bytes of structs that may still be made
	scan    scanner   // of JSON
	parts   []pending // of protobuf, of all messages that are being read
}

// enter begins a message that is part of another.
func (d *decoder) enter(s step, p *plan) error {
	if len(d.at) >= MaxDepth-1 {
		return &FieldError{d.at.String(), "Nested too deep"}
	}
	d.at = append(d.at, s)
	return d.take(int(p.typ.Size()))
}

func (d *decoder) leave() { d.at = d.at[:len(d.at)-1] }

// take accounts for memory before it is allocated.
func (d *decoder) take(n int) error {
	if d.room -= n; d.room < 0 {
		return &FieldError{d.at.String(), "Too many empty parts"}
	}
	return nil
}

func (d *decoder) wrong(f *field, reason string) error {
	return &FieldError{d.at.to(f.name), reason}
}

// slot returns where the next value of a field belongs.
func (f *field) slot(v reflect.Value) reflect.Value {
	v = v.Field(f.index)
	switch f.shape {
	case repeated:
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		return v.Index(n)
	case optional:
		if f.kind == bytesKind {
			return v
		}
		p := reflect.New(v.Type().Elem())
		v.Set(p)
		return p.Elem()
	}
	return v
}

// thousandths rounds a scalar to what Mesos counts in.
func thousandths(v float64) float64 {
	if math.Abs(v) > math.MaxInt64/1000 || math.IsNaN(v) {
		return v
	}
	n := int64(math.Round(v * 1000))
	return float64(n/1000) + float64(n%1000)/1000
}

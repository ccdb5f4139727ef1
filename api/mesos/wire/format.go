package wire

import (
	"fmt"
	"reflect"
)

// MaxDepth is how deep messages may be nested.
const MaxDepth = 100

// A Format is one of the two forms of a message.
type Format uint8

const (
	JSON Format = iota
	Protobuf
)

var formats = [...]struct{ name, mediaType string }{
	JSON:     {"JSON", "application/json"},
	Protobuf: {"protobuf", "application/x-protobuf"},
}

func (f Format) String() string { return formats[f].name }

// MediaType returns what HTTP's Content-Type says of the form.
func (f Format) MediaType() string { return formats[f].mediaType }

// Unmarshal reads the message that data is into the struct that into points
// to, whose earlier content is lost. If it fails, the struct is empty.
func Unmarshal(f Format, data []byte, into any) error {
	v := reflect.ValueOf(into).Elem()
	v.SetZero()
	d := decoder{room: memory(len(data))}
	var err error
	if p := planOf(v.Type()); f == JSON {
		err = d.document(p, v, data)
	} else {
		err = d.message(p, v, data)
	}
	if err == nil {
		err = d.missing.err()
	}
	if err != nil {
		v.SetZero()
	}
	return err
}

// Marshal returns the message that m points to in the form f.
func Marshal(f Format, m any) ([]byte, error) { return Append(f, nil, m) }

// Append appends the message that m points to in the form f.
func Append(f Format, b []byte, m any) ([]byte, error) {
	v := reflect.ValueOf(m).Elem()
	p := planOf(v.Type())
	var e encoder
	before := len(b)
	if f == JSON {
		b = e.object(b, p, v)
	} else {
		b = e.message(b, p, v)
	}
	if e.err == nil {
		e.err = e.missing.err()
	}
	if e.err != nil {
		return b[:before], fmt.Errorf("%s: %w", p.typ.Name(), e.err)
	}
	return b, nil
}

// memory returns how many bytes of structs a message of n bytes may become.
// Those of real frameworks become about eight times what they are on the wire;
// one of nothing but empty parts would become a hundred times.
func memory(n int) int { return 32*n + 1<<20 }

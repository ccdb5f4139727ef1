package wire

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// object appends the struct v. It has no newline, which some clients take for
// the end of a record.
func (e *encoder) object(b []byte, p *plan, v reflect.Value) []byte {
	b = append(b, '{')
	start := len(b)
	for i := range p.fields {
		f := &p.fields[i]
		fv := v.Field(f.index)
		set := f.isSet(fv)
		if !set && f.bit != 0 {
			e.lacking(f)
		}
		if !set && f.fallback == "" {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, f.key...)
		if set {
			b = e.member(b, f, fv)
		} else {
			b = append(b, f.fallback...)
		}
	}
	return append(b, '}')
}

func (e *encoder) member(b []byte, f *field, v reflect.Value) []byte {
	switch f.shape {
	case repeated:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.one(b, f, v.Index(i), step{field: f, index: i})
		}
		return append(b, ']')
	case mapped:
		b = append(b, '{')
		for i, key := range keys(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, key), ':')
			b = e.one(b, f, v.MapIndex(reflect.ValueOf(key)), step{field: f, key: key})
		}
		return append(b, '}')
	}
	return e.one(b, f, v, step{field: f})
}

func (e *encoder) one(b []byte, f *field, v reflect.Value, s step) []byte {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return append(b, "null"...)
		}
		v = v.Elem()
	}
	switch f.kind {
	case textKind:
		return appendText(b, v.String())
	case bytesKind:
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case boolKind:
		return strconv.AppendBool(b, v.Bool())
	case signedKind:
		return strconv.AppendInt(b, v.Int(), 10)
	case unsignedKind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case doubleKind:
		return appendDouble(b, v.Float())
	case enumKind:
		name := f.enum.names[int32(v.Int())]
		if name == "" {
			e.fail(&FieldError{e.at.to(f.name), "No name of the enum is " + strconv.FormatInt(v.Int(), 10)})
		}
		return append(append(append(b, '"'), name...), '"')
	}
	if !e.enter(s) {
		return b
	}
	b = e.object(b, f.sub, v)
	e.leave()
	return b
}

// appendDouble writes a double as Mesos does: it always shows that it is one.
func appendDouble(b []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case math.IsInf(v, 0):
		if v < 0 {
			b = append(b, '-')
		}
		return append(b, "Infinity"...)
	}
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	}
	start := len(b)
	b = strconv.AppendFloat(b, v, 'f', -1, 64)
	for _, c := range b[start:] {
		if c == '.' {
			return b
		}
	}
	return append(b, ".0"...)
}

const hexDigits = "0123456789abcdef"

// appendText writes a string in quotes. What is not UTF-8 becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, s[start:i]...), "\ufffd"...)
			start = i + 1
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}

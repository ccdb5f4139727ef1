package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// placeIn finds where in a JSON value of that type the decoder stopped, which
// tells neither for types that read themselves nor, of fields that are of an
// embedded struct, their own names. It is slow, and for values that were refused.
// Without a place err is nil.
func placeIn(b []byte, t reflect.Type) (field string, err error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := reflect.New(t).Interface()
	if _, own := v.(json.Unmarshaler); !own {
		if inner := parts(b, t); inner != nil {
			for _, p := range inner {
				if at, err := placeIn(p.value, p.typ); err != nil {
					return joined(p.name, at), err
				}
			}
			return "", nil
		}
	}
	err = json.Unmarshal(b, v)
	var e *Error
	if errors.As(err, &e) && bytes.HasPrefix(b, []byte(`"`)) { // a short form has no fields
		err = Errorf(e.Code, "%s", e.Message)
	}
	return "", err
}

// joined is the path of a field: command[2], restart.delay.
func joined(outer, inner string) string {
	if strings.HasPrefix(inner, "[") {
		return outer + inner
	}
	if inner == "" {
		return outer
	}
	return within(outer, inner)
}

type part struct {
	name  string
	typ   reflect.Type
	value json.RawMessage
}

// parts are what is in a JSON value, nil if it is not made of parts as the type
// is.
func parts(b []byte, t reflect.Type) []part {
	out := []part{}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		var list []json.RawMessage
		if json.Unmarshal(b, &list) != nil {
			return nil
		}
		for i, v := range list {
			out = append(out, part{"[" + strconv.Itoa(i) + "]", t.Elem(), v})
		}
	case reflect.Map, reflect.Struct:
		var m map[string]json.RawMessage
		if json.Unmarshal(b, &m) != nil {
			return nil
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			v := m[k]
			if t.Kind() == reflect.Map {
				out = append(out, part{k, t.Elem(), v})
			} else if f, ok := fieldNamed(t, k); ok {
				out = append(out, part{k, f, v})
			}
		}
	default:
		return nil
	}
	return out
}

// fieldNamed is the type of a struct's field by its name in JSON, whatever its
// case, as encoding/json has it.
func fieldNamed(t reflect.Type, key string) (reflect.Type, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && strings.EqualFold(name, key) {
			return f.Type, true
		}
	}
	return nil, false
}

// wrongType says what a JSON value of another type must be.
func wrongType(e *json.UnmarshalTypeError) string {
	number, isNumber := strings.CutPrefix(e.Value, "number ")
	text := reflect.TypeFor[encoding.TextUnmarshaler]()
	whole := e.Type.Kind() >= reflect.Int && e.Type.Kind() <= reflect.Uint64
	switch {
	case e.Type.Implements(text) || reflect.PointerTo(e.Type).Implements(text):
		return fmt.Sprintf("is %s, and must be a string", an(e.Value))
	case isNumber && whole && strings.Trim(number, "-0123456789") == "":
		return fmt.Sprintf("is %s, and that is too far from zero", number)
	case isNumber && whole:
		return fmt.Sprintf("is %s, and must be a whole number", number)
	case isNumber:
		return fmt.Sprintf("is %s, and must be %s", number, jsonKind(e.Type))
	}
	return fmt.Sprintf("is %s, and must be %s", an(e.Value), jsonKind(e.Type))
}

// twice names a field that an object of valid JSON has twice: which of them counts
// is anybody's guess.
func twice(b []byte) (name string, found bool) {
	var open []object // that are not closed yet; a list has no names
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			open = append(open, object{})
		case '}', ']':
			open = open[:len(open)-1]
		case '"':
			from := i
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if isName(b[i+1:]) && open[len(open)-1].has(b[from:i+1]) {
				return string(bytes.Trim(b[from:i+1], `"`)), true
			}
		}
	}
	return "", false
}

// isName reports whether what follows a string makes it a name.
func isName(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}

// object is the names that an object has so far.
type object struct {
	few  [][]byte
	many map[string]bool
}

// has notes a name as it is in JSON, and reports whether it was there before.
func (o *object) has(name []byte) bool {
	if bytes.IndexByte(name, '\\') >= 0 {
		var text string
		_ = json.Unmarshal(name, &text) // a string of valid JSON
		name = []byte(`"` + text + `"`)
	}
	if o.many == nil && len(o.few) < 32 {
		for _, n := range o.few {
			if bytes.Equal(n, name) {
				return true
			}
		}
		o.few = append(o.few, name)
		return false
	}
	if o.many == nil {
		o.many = map[string]bool{}
		for _, n := range o.few {
			o.many[string(n)] = true
		}
	}
	before := o.many[string(name)]
	o.many[string(name)] = true
	return before
}

package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// DecodeLenient decodes the JSON of another program of mesita, which may be
// newer: fields that are not known are left out, and a value of an enum that
// is not known is read as one whose name begins with "unknown".
func DecodeLenient(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	var unknown *unknownValue
	if !errors.As(err, &unknown) {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return err
	}
	b, err = json.Marshal(renameUnknown(reflect.TypeOf(v), tree))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// enum is what all enums have, and no other type that is a number.
type enum interface {
	encoding.TextMarshaler
	fmt.Stringer
}

// isEnum reports whether names of that type are looked up in a list.
func isEnum(t reflect.Type) bool {
	return t.Kind() == reflect.Uint8 && t.Implements(reflect.TypeFor[enum]())
}

func known(t reflect.Type, name string) bool {
	var unknown *unknownValue
	err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(name))
	return !errors.As(err, &unknown)
}

// renameUnknown gives values of enums in a JSON tree of that type a name that
// can be read.
func renameUnknown(t reflect.Type, tree any) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch x := tree.(type) {
	case string:
		if isEnum(t) && !known(t, x) {
			return unknownName
		}
	case []any:
		if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
			for i := range x {
				x[i] = renameUnknown(t.Elem(), x[i])
			}
		}
	case map[string]any:
		switch t.Kind() {
		case reflect.Map:
			for k := range x {
				x[k] = renameUnknown(t.Elem(), x[k])
			}
		case reflect.Struct:
			renameFields(t, x)
		}
	}
	return tree
}

func renameFields(t reflect.Type, x map[string]any) {
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if v, ok := x[name]; ok && f.IsExported() {
			x[name] = renameUnknown(f.Type, v)
		}
	}
}

package api

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// JSON has no strings but those of Unicode: encoding/json puts U+FFFD for all
// else, without a word, and a task would be given what nobody asked for. So it is
// refused by who makes the JSON, which can tell the field, and by who reads it.

const notUnicode = "is not valid UTF-8, and would arrive as another text: put it in a file, and its name here"

// CheckText names the first string in what is about to be sent that would arrive
// as another.
func CheckText(v any) error {
	if field, s, ok := findText(reflect.ValueOf(v), "", func(s string) bool { return !utf8.ValidString(s) }); ok {
		return FieldErrorf(field, "%.64q %s", s, notUnicode)
	}
	return nil
}

// checkRead does so for what was decoded from b.
func checkRead(b []byte, v any) error {
	if utf8.Valid(b) && !loneSurrogate(b) {
		return nil
	}
	field, _, _ := findText(reflect.ValueOf(v), "", func(s string) bool { return strings.ContainsRune(s, utf8.RuneError) })
	return FieldErrorf(cmp.Or(field, "body"), notUnicode)
}

// loneSurrogate reports whether an escape in JSON is half of a character.
func loneSurrogate(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 >= len(b) {
			return false
		}
		switch half := surrogate(b[i:]); half {
		case 0:
			b = b[i+2:]
		case 'h':
			if surrogate(b[i+6:]) != 'l' {
				return true
			}
			b = b[i+12:]
		default:
			return true
		}
	}
}

// surrogate reports whether b begins with the escape of a high one ('h'), of a low
// one ('l'), or of none (0).
func surrogate(b []byte) byte {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' || b[2]|0x20 != 'd' {
		return 0
	}
	switch c := b[3] | 0x20; {
	case b[3] == '8' || b[3] == '9' || c == 'a' || c == 'b':
		return 'h'
	case c >= 'c' && c <= 'f':
		return 'l'
	}
	return 0
}

// findText looks for a string by its field: command[2], env.NAME.
func findText(v reflect.Value, field string, is func(string) bool) (at, s string, ok bool) {
	switch v.Kind() {
	case reflect.String:
		return field, v.String(), is(v.String())
	case reflect.Pointer, reflect.Interface:
		return findText(v.Elem(), field, is)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return "", "", false // bytes
		}
		for i := range v.Len() {
			if at, s, ok = findText(v.Index(i), fmt.Sprintf("%s[%d]", field, i), is); ok {
				return at, s, ok
			}
		}
	case reflect.Map:
		for m := v.MapRange(); m.Next(); {
			key := fmt.Sprint(m.Key())
			if is(key) {
				return field, key, true
			}
			if at, s, ok = findText(m.Value(), within(field, key), is); ok {
				return at, s, ok
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			inner := within(field, name)
			if f.Anonymous && name == "" {
				inner = field
			}
			if at, s, ok = findText(v.Field(i), inner, is); ok && name != "-" {
				return at, s, ok
			}
		}
	}
	return "", "", false
}

func within(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

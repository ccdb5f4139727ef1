package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
)

// DecodeStrict decodes one JSON value and refuses unknown fields, naming the
// field and the nearest one that exists, anything after the value, and text that
// is none.
func DecodeStrict(r io.Reader, v any) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return strictUnmarshal(b, v)
}

func strictUnmarshal(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return decodeError(err, b, v)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(CodeInvalid, "there is more after the JSON value: send one value only")
	}
	if name, again := twice(b); again {
		return FieldErrorf(name, "is given twice: give it once")
	}
	return checkRead(b, v)
}

func decodeError(err error, b []byte, v any) error {
	var own *Error
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	if errors.As(err, &own) || errors.As(err, &typ) {
		if field, err := placeIn(b, reflect.TypeOf(v)); errors.As(err, &own) || errors.As(err, &typ) {
			return placed(field, own, typ)
		}
		return placed("", own, typ)
	}
	switch {
	case errors.As(err, &syntax):
		return Errorf(CodeInvalid, "no valid JSON at byte %d: %v", syntax.Offset, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Errorf(CodeInvalid, "the JSON value is cut off")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return UnknownField(name, FieldNames(reflect.TypeOf(v)))
	}
	return err
}

// placed is an error of ours, or of a type, about what is at a field.
func placed(field string, own *Error, typ *json.UnmarshalTypeError) error {
	if own == nil {
		return FieldErrorf(field, "%s", wrongType(typ))
	}
	out := *own
	out.Field = joined(field, own.Field)
	return &out
}

// an puts the article before a kind of JSON value.
func an(kind string) string {
	if kind != "" && strings.Contains("aeiou", kind[:1]) {
		return "an " + kind
	}
	return "a " + kind
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// UnknownField is the error for a key, flag or field that does not exist.
func UnknownField(name string, known []string) *Error {
	e := FieldErrorf(name, "is unknown")
	if near := Nearest(name, known); near != "" {
		e.Message += ": did you mean " + near + "?"
	}
	return e
}

// FieldNames lists the JSON names of a struct type, embedded ones included.
func FieldNames(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var out []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" && f.IsExported() {
			out = append(out, name)
		}
	}
	return out
}

// Nearest is the word of known that differs least from name, "" if none is
// near.
func Nearest(name string, known []string) string {
	best, at := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost = 1 + min(prev, row[j], row[j-1])
			}
			prev, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}

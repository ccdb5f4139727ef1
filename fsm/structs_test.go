package fsm

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// logged are the structs in the log, kept those in snapshots, with where each
// is. What is embedded has no encoding of its own.
func logged() map[reflect.Type]string {
	var roots []reflect.Type
	for _, k := range kinds {
		if k.make != nil {
			roots = append(roots, reflect.TypeOf(k.make()).Elem())
		}
	}
	return reached(roots...)
}

func kept() map[reflect.Type]string {
	return reached(reflect.TypeFor[snapshotHeader](), reflect.TypeFor[api.Partition](), reflect.TypeFor[api.Node](), reflect.TypeFor[api.Job](), reflect.TypeFor[api.Task](),
		reflect.TypeFor[api.Offer](), reflect.TypeFor[api.Token](), reflect.TypeFor[api.Blob](), reflect.TypeFor[baseRow](), reflect.TypeFor[api.Incident](), reflect.TypeFor[runtimeRow](), reflect.TypeFor[useRow](), reflect.TypeFor[accountRow](), reflect.TypeFor[api.Event](),
		reflect.TypeFor[api.Framework](), reflect.TypeFor[newsRow](), reflect.TypeFor[api.Reservation]())
}

func reached(roots ...reflect.Type) map[reflect.Type]string {
	out := map[reflect.Type]string{}
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			walk(t.Elem(), path)
		case reflect.Struct:
			if _, seen := out[t]; seen || t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[api.Extra]() {
				return
			}
			out[t] = path
			for i := range t.NumField() {
				f := t.Field(i)
				if f.IsExported() && f.Tag.Get("codec") != "-" {
					walk(f.Type, path+"."+f.Name)
				}
				if f.Anonymous {
					delete(out, f.Type)
				}
			}
		default:
			if strings.HasPrefix(t.Kind().String(), "float") {
				out[t] = path
			}
		}
	}
	for _, t := range roots {
		walk(t, t.Name())
	}
	return out
}

// No floating point is in the log or in the state: two processors may round it
// differently.
func TestNoFloats(t *testing.T) {
	for _, all := range []map[reflect.Type]string{logged(), kept()} {
		for typ, path := range all {
			if typ.Kind() != reflect.Struct {
				t.Errorf("%s is a %s", path, typ)
			}
		}
	}
}

// A field that this program does not know is kept by all that is kept: nouns
// and what is in them. Where something else would be applied without it, it is
// refused: in a command, and in an amount, of which sums and differences are
// made. Nowhere is it dropped.
func TestUnknownFieldsAreKeptOrRefused(t *testing.T) {
	refuse := []reflect.Type{reflect.TypeFor[api.Resources](), reflect.TypeFor[api.Amounts](), reflect.TypeFor[api.Quantity](), reflect.TypeFor[api.Range](), reflect.TypeFor[snapshotHeader]()}
	nouns := kept()
	for typ := range nouns {
		if keeps := keepsUnknown(t, typ); keeps == slices.Contains(refuse, typ) {
			t.Errorf("%s: an unknown field is kept: %v", nouns[typ], keeps)
		}
	}
	for typ, path := range logged() {
		if _, noun := nouns[typ]; !noun && keepsUnknown(t, typ) {
			t.Errorf("%s: an unknown field of a command is kept, and what is applied is something else", path)
		}
	}
}

// keepsUnknown reports whether a struct keeps an unknown field, also where it is
// in a list or is a value of a map, and not refuses it.
func keepsUnknown(t *testing.T, typ reflect.Type) bool {
	t.Helper()
	row := map[string]any{"aFieldOfTomorrow": "x"}
	var answers []bool
	for _, c := range []struct {
		in  any
		out reflect.Type
	}{{row, typ}, {[]any{row}, reflect.SliceOf(typ)}, {map[string]any{"k": row}, reflect.MapOf(reflect.TypeFor[string](), typ)}} {
		body, err := marshal(c.in)
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.New(c.out).Interface()
		if err := unmarshal(body, v); err != nil {
			if !strings.Contains(err.Error(), "aFieldOfTomorrow") {
				t.Errorf("%s: %v does not name the field", typ, err)
			}
			answers = append(answers, false)
			continue
		}
		again, err := marshal(v)
		if err != nil || !strings.Contains(string(again), "aFieldOfTomorrow") {
			t.Errorf("%s drops what it does not know: %v", typ, err)
		}
		answers = append(answers, true)
	}
	if answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("%s keeps what it does not know here, and refuses it there: %v", typ, answers)
	}
	return answers[0]
}

package fsm

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// stored are the structs in the log and in snapshots, with where each is.
func stored() map[reflect.Type]string {
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
				if f := t.Field(i); f.IsExported() {
					walk(f.Type, path+"."+f.Name)
				}
			}
		default:
			if strings.HasPrefix(t.Kind().String(), "float") {
				out[t] = path
			}
		}
	}
	for _, k := range kinds {
		if k.make != nil {
			t := reflect.TypeOf(k.make()).Elem()
			walk(t, t.Name())
		}
	}
	for _, t := range []reflect.Type{reflect.TypeFor[snapshotHeader](), reflect.TypeFor[api.Partition](), reflect.TypeFor[api.Node](), reflect.TypeFor[api.Job](), reflect.TypeFor[api.Task](),
		reflect.TypeFor[api.Offer](), reflect.TypeFor[api.Token](), reflect.TypeFor[api.Blob](), reflect.TypeFor[baseRow](), reflect.TypeFor[api.Incident](), reflect.TypeFor[runtimeRow](), reflect.TypeFor[useRow](), reflect.TypeFor[api.Event]()} {
		walk(t, t.Name())
	}
	return out
}

// No floating point is in the log or in the state: two processors may round it
// differently.
func TestNoFloats(t *testing.T) {
	for typ, path := range stored() {
		if typ.Kind() != reflect.Struct {
			t.Errorf("%s is a %s", path, typ)
		}
	}
}

// A field that this program does not know is kept, or the struct that has it
// is refused: it is never dropped, as what is applied without it is something
// else.
func TestUnknownFieldsAreKeptOrRefused(t *testing.T) {
	kept := 0
	for typ, path := range stored() {
		if typ.Kind() != reflect.Struct {
			continue
		}
		body, err := marshal(map[string]any{"aFieldOfTomorrow": "x"})
		if err != nil {
			t.Fatal(err)
		}
		v := reflect.New(typ).Interface()
		if err := unmarshal(body, v); err != nil {
			if !strings.Contains(err.Error(), "aFieldOfTomorrow") {
				t.Errorf("%s: %v does not name the field", path, err)
			}
			continue
		}
		again, err := marshal(v)
		if err != nil || !strings.Contains(string(again), "aFieldOfTomorrow") {
			t.Errorf("%s drops what it does not know: %v", path, err)
		}
		kept++
	}
	if kept < 10 {
		t.Errorf("only %d keep what they do not know", kept)
	}
}

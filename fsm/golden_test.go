package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files that are missing")

// Every command kind has a golden file with all its fields set. A log written
// by an older version must decode to the same values: a field may be added
// (its golden file is then deleted and written anew), never renamed, retyped
// or removed.
func TestGoldenCommands(t *testing.T) {
	for kind, k := range kinds {
		if k.make == nil {
			continue
		}
		c := k.make()
		if kindOf(c) != kind {
			t.Errorf("kinds[%d] is a %T, whose kind is %d", kind, c, kindOf(c))
		}
		fill(reflect.ValueOf(c).Elem(), new(int))
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "commands", fmt.Sprintf("%02d-%s.bin", kind, reflect.TypeOf(c).Elem().Name()))
		want, err := os.ReadFile(path)
		if os.IsNotExist(err) && *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, entry, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%v (run with -update)", err)
		}
		back, err := Decode(want)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !reflect.DeepEqual(back[0], c) {
			t.Errorf("%s decodes to\n%+v, want\n%+v", path, back[0], c)
		}
		if !bytes.Equal(entry, want) {
			t.Errorf("%s: the encoding changed: fields were added, renamed or removed", path)
		}
	}
}

// fill sets every field to a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	if v.Type() == reflect.TypeFor[Level]() {
		v.SetInt(int64(Newest))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, *n%60, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		val := reflect.New(v.Type().Elem()).Elem()
		fill(val, n)
		v.SetMapIndex(reflect.ValueOf(fmt.Sprint("key", *n)), val)
	case reflect.String:
		v.SetString(fmt.Sprint("text", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(1)
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	default:
		panic(v.Kind().String())
	}
}

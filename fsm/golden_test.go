package fsm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
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
		want := goldenFile(t, path, entry)
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

// goldenFile is what is in a file, or got, which is written there if it is
// missing and that is asked for.
func goldenFile(t *testing.T, path string, got []byte) []byte {
	t.Helper()
	want, err := os.ReadFile(path)
	if os.IsNotExist(err) && *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, got, 0o644)); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err != nil {
		t.Fatalf("%v (run with -update)", err)
	}
	return want
}

// Every kind of record of a snapshot has a golden file with all its fields set,
// under the same rules as those of the commands.
func TestGoldenRecords(t *testing.T) {
	seen := map[byte]bool{recEnd: true} // which is empty
	goldenForms(t, seen, &noun[snapshotHeader]{forms: []form[snapshotHeader]{{record: recHeader}}}, new(snapshotHeader))
	goldenForms(t, seen, &noun[api.Event]{forms: []form[api.Event]{{record: recEvent}}}, new(api.Event))
	goldenForms(t, seen, &partitionNoun, new(api.Partition))
	node := &nodeRow{node: new(api.Node)}
	fill(reflect.ValueOf(node.node).Elem(), new(int))
	goldenForms(t, seen, &nodeNoun, node)
	goldenForms(t, seen, &jobNoun, new(api.Job))
	goldenForms(t, seen, &taskNoun, new(api.Task))
	goldenForms(t, seen, &offerNoun, new(api.Offer))
	goldenForms(t, seen, &tokenNoun, new(api.Token))
	goldenForms(t, seen, &blobNoun, new(api.Blob))
	goldenForms(t, seen, &baseNoun, new(baseRow))
	goldenForms(t, seen, &incidentNoun, new(api.Incident))
	goldenForms(t, seen, &runtimeNoun, &runtimeRow{floats: &floatMarkers{Height: [5]float64{1, 2, 3, 4, 5.5}, Pos: [5]float64{1, 2, 3, 4, 6}}})
	goldenForms(t, seen, &useNoun, &useRow{float: 2.5})
	goldenForms(t, seen, &accountNoun, new(accountRow))
	goldenForms(t, seen, &frameworkNoun, new(api.Framework))
	goldenForms(t, seen, &newsNoun, new(newsRow))
	reserved := &reservationRow{res: new(api.Reservation)}
	fill(reflect.ValueOf(reserved.res).Elem(), new(int))
	goldenForms(t, seen, &reservationNoun, reserved)
	for record := range byte(recLast) {
		if !seen[record] {
			t.Errorf("records of kind %d have no golden file", record)
		}
	}
}

func goldenForms[T any](t *testing.T, seen map[byte]bool, n *noun[T], row *T) {
	t.Helper()
	fill(reflect.ValueOf(row).Elem(), new(int))
	for i := range n.forms {
		f := &n.forms[i]
		seen[f.record] = true
		body, err := marshal(f.write(row))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "records", fmt.Sprintf("%02d-%s.bin", f.record, reflect.TypeFor[T]().Name()))
		want := goldenFile(t, path, body)
		back, err := f.read(want)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		again, err := marshal(f.write(back))
		if err != nil || !bytes.Equal(again, want) || !bytes.Equal(body, want) {
			t.Errorf("%s: the encoding changed: fields were added, renamed or removed (%v)", path, err)
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
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
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

package v1_test

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api/mesos/wire"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew")

// goldenFile has three lines for each message: what it is, its JSON and its
// protobuf.
const goldenFile = "testdata/golden.txt"

// TestGoldenMessages: each Call, Event and Response is written as it was when
// somebody looked at it, in both forms, and read again as what it was.
func TestGoldenMessages(t *testing.T) {
	want, err := os.ReadFile(goldenFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, root := range slices.Sorted(maps.Keys(roots)) {
		for _, typ := range types(roots[root]()) {
			m := roots[root]()
			filled(reflect.ValueOf(m).Elem(), typ)
			fmt.Fprintf(&got, "%s %s\n", root, typ)
			for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
				b, err := wire.Marshal(f, m)
				if err != nil {
					t.Fatal(err)
				}
				again := roots[root]()
				if err := wire.Unmarshal(f, b, again); err != nil || !reflect.DeepEqual(m, again) {
					t.Errorf("%s %s: %v brings back %+v, %v", root, typ, f, again, err)
				}
				if f == wire.Protobuf {
					b = []byte(base64.StdEncoding.EncodeToString(b))
				}
				fmt.Fprintf(&got, "%s\n", b)
			}
		}
	}
	if *update {
		if err := os.WriteFile(goldenFile, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			t.Fatalf("line %d of %s is another:\n%s", i+1, goldenFile, b[min(i, len(b)-1)])
		}
	}
}

// types returns the names of the values of a message's field type.
func types(m any) (names []string) {
	f, _ := reflect.TypeOf(m).Elem().FieldByName("Type")
	list := reflect.Zero(f.Type.Elem()).Interface().(interface{ EnumNames() string }).EnumNames()
	for entry := range strings.SplitSeq(list, ",") {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	return names
}

// filled sets the type, all that is required, and the part that goes with it.
func filled(v reflect.Value, typ string) {
	for i := range v.NumField() {
		tag := strings.Split(v.Type().Field(i).Tag.Get("wire"), ",")
		switch name := tag[1]; {
		case name == "type":
			setEnum(v.Field(i), typ)
		case slices.Contains(tag, "required"), name == strings.ToLower(typ):
			fill(v.Field(i), tag, 0)
		}
	}
}

// full is the depth from which on only what is required is set.
const full = 3

func fill(v reflect.Value, tag []string, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), tag, depth)
	case reflect.Map:
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e, tag, depth)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), e)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(tag[1]))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), tag, depth)
	case reflect.Struct:
		for i := range v.NumField() {
			tag := strings.Split(v.Type().Field(i).Tag.Get("wire"), ",")
			if slices.Contains(tag, "required") || depth < full {
				fill(v.Field(i), tag, depth+1)
			} else if last := tag[len(tag)-1]; strings.HasPrefix(last, "default=") && !slices.Contains(tag, "deprecated") {
				fill(v.Field(i), tag, depth+1) // as it is written in JSON, and so is set once that is read
			}
		}
	case reflect.String:
		v.SetString(tag[1])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Int64:
		v.SetInt(-1 << 40)
	case reflect.Int32:
		if e, ok := v.Interface().(interface{ EnumNames() string }); ok {
			names := strings.Split(e.EnumNames(), ",")
			name, _, _ := strings.Cut(names[len(names)-1], "=")
			setEnum(v, name)
			return
		}
		v.SetInt(-7)
	}
}

func setEnum(v reflect.Value, name string) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	for entry := range strings.SplitSeq(v.Interface().(interface{ EnumNames() string }).EnumNames(), ",") {
		if n, number, _ := strings.Cut(entry, "="); n == name {
			var i int64
			fmt.Sscan(number, &i)
			v.SetInt(i)
		}
	}
}

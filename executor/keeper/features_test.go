package keeper

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/isolation"
)

// What a keeper of the versions before there were features is asked for, by
// whichever field, is what it was found to know or is lacking, never neither.
func TestEachFieldIsKnownOrLacking(t *testing.T) {
	old, ours := knowledge(&hello{}), knowledge(&hello{Features: features(), Generation: generation})
	if old.whole || !ours.current() || len(ours.lacks(filled())) > 0 {
		t.Fatalf("old %v, ours %v", old.whole, ours.whole)
	}
	lacks := old.lacks(filled())
	for _, f := range features() {
		if slices.Contains(unasked, f) {
			continue
		}
		if slices.Contains(firstFeatures, f) == slices.Contains(lacks, f) {
			t.Errorf("%s is known and lacking, or neither", f)
		}
	}
	if got := old.lacks(&StartRequest{ID: "a", Spec: isolation.Spec{Program: isolation.Program{Path: "p", Args: []string{"p"}}, Confinement: isolation.Confinement{Limits: isolation.Limits{PIDs: 1}}}}); len(got) > 0 {
		t.Errorf("a plain task lacks %v", got)
	}
	one := &StartRequest{Spec: isolation.Spec{Confinement: isolation.Confinement{Nice: 1}}}
	if got := old.lacks(one); !slices.Equal(got, []string{"nice"}) {
		t.Errorf("one with a nice value lacks %v", got)
	}
	// It would bound the program before it has begun.
	one = &StartRequest{Spec: isolation.Spec{Confinement: isolation.Confinement{MaxCPU: 1}}}
	if got := old.lacks(one); !slices.Equal(got, []string{"maxCPU"}) {
		t.Errorf("one with a CPU limit lacks %v", got)
	}
	newer := knowledge(&hello{Features: append(features(), "seccomp")})
	if !newer.whole || newer.current() { // it is of another history, and says no generation
		t.Error("a keeper of a newer version does not know what we do")
	}
}

// filled is a request that asks for everything.
func filled() *StartRequest {
	r := &StartRequest{}
	fill(reflect.ValueOf(r).Elem())
	return r
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		panic("a kind that is not filled: " + v.Kind().String())
	}
}

// A plain start is to the byte what keepers of the version before understand,
// and what this one does not know whole is told apart, however deep.
func TestAStartOnTheWire(t *testing.T) {
	r := StartRequest{ID: "a.0/1", Slice: "default/a/0-a1", LogDir: "/l", LogMax: 5, Spec: isolation.Spec{
		Program:     isolation.Program{Path: "/p", Args: []string{"p"}, Env: []string{"A=b"}, Dir: "/", UID: 1, GID: 2, Groups: []uint32{3}},
		Confinement: isolation.Confinement{Limits: isolation.Limits{PIDs: 4}, PrivatePIDs: true, PrivateMounts: true, AllowNewPrivileges: true},
	}}
	b, err := json.Marshal(r)
	want := `{"id":"a.0/1","slice":"default/a/0-a1","path":"/p","args":["p"],"env":["A=b"],"dir":"/","uid":1,"gid":2,"groups":[3],` +
		`"limits":{"pids":4},"privatePIDs":true,"privateMounts":true,"allowNewPrivileges":true,"logDir":"/l","logMax":5}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	for in, unknown := range map[string]bool{want: false, `{"id":"a","caps":1}`: true, `{"id":"a","limits":{"pids":1,"gpus":2}}`: true, `{"id":"a","rlimits":[{"resource":7,"why":"x"}]}`: true} {
		var got StartRequest
		if err := json.Unmarshal([]byte(in), &got); err != nil || (got.unknown != nil) != unknown || !strings.HasPrefix(got.ID, "a") {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	if json.Unmarshal([]byte(`{"id":5}`), new(StartRequest)) == nil {
		t.Error("nonsense is taken")
	}
}

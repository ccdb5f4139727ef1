package history

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Every field of an event and its task comes back: a new one has to be added to
// the list of what is written.
func TestWireHasEveryField(t *testing.T) {
	var e api.Event
	fillStruct(t, reflect.ValueOf(&e).Elem(), new(int64))
	e.Incident = 0 // it is there to find what an event is about as it is now: there is none that is old
	var w wire
	b, err := w.encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	var r wire
	got, err := r.decode(b)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := json.MarshalIndent(e, "", " ")
	is, _ := json.MarshalIndent(got, "", " ")
	if string(was) != string(is) {
		t.Errorf("%s\nbecame\n%s", was, is)
	}
	for n := range b { // cut off anywhere: an error or less, never a crash
		_, _ = new(wire).decode(b[:n])
	}
}

func fillStruct(t *testing.T, v reflect.Value, n *int64) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1e9+*n, 123456789).UTC()))
		return
	case api.Resources:
		v.Set(reflect.ValueOf(api.Resources{CPUs: 1500, Mem: 1 << 30, Disk: 5, GPUs: 2, Ports: api.Ranges{{First: 1, Last: 9}}}))
		return
	case *api.FrameworkTask: // of which no more is kept
		v.Set(reflect.ValueOf(&api.FrameworkTask{Framework: "f", ID: "t", Name: "a task"}))
		return
	case api.Extra, api.Payload: // what an event is about is told as it is when it is read
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillStruct(t, v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillStruct(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillStruct(t, v.Index(0), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]int{"http": 8080}))
	case reflect.String:
		v.SetString("text" + time.Duration(*n).String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(2)
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(*n))
	case reflect.Int, reflect.Int64:
		v.SetInt(*n * int64(time.Second))
	default:
		t.Fatalf("a field of type %s: teach the test to fill it", v.Type())
	}
}

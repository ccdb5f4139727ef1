package mesosgo

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strconv"
	"testing"

	"github.com/gogo/protobuf/proto"
	"github.com/mesos/mesos-go/api/v1/lib/agent"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

var roots = map[string]struct {
	ours   func() any
	theirs func() message
}{
	"scheduler.Call":  {func() any { return &v1.SchedulerCall{} }, func() message { return &scheduler.Call{} }},
	"scheduler.Event": {func() any { return &v1.SchedulerEvent{} }, func() message { return &scheduler.Event{} }},
	"executor.Call":   {func() any { return &v1.ExecutorCall{} }, func() message { return &executor.Call{} }},
	"executor.Event":  {func() any { return &v1.ExecutorEvent{} }, func() message { return &executor.Event{} }},
	"master.Call":     {func() any { return &v1.MasterCall{} }, func() message { return &master.Call{} }},
	"master.Event":    {func() any { return &v1.MasterEvent{} }, func() message { return &master.Event{} }},
	"master.Response": {func() any { return &v1.MasterResponse{} }, func() message { return &master.Response{} }},
	"agent.Call":      {func() any { return &v1.AgentCall{} }, func() message { return &agent.Call{} }},
	"agent.Response":  {func() any { return &v1.AgentResponse{} }, func() message { return &agent.Response{} }},
	"agent.ProcessIO": {func() any { return &v1.ProcessIO{} }, func() message { return &agent.ProcessIO{} }},
}

// Random messages are the same to both: ours through their structs and back, in
// each of the wires, and from the one to the other.
func TestMessagesAreReadAsMesosGoReadsThem(t *testing.T) {
	for name, r := range roots {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				m := r.ours()
				f := filler{Rand: rand.New(rand.NewPCG(7, seed))}
				f.message(reflect.ValueOf(m).Elem(), reflect.TypeOf(r.theirs()).Elem())
				for _, in := range []wire.Format{wire.JSON, wire.Protobuf} {
					for _, out := range []wire.Format{wire.JSON, wire.Protobuf} {
						got := r.ours()
						through(t, m, in, r.theirs(), out, got)
						if !reflect.DeepEqual(m, got) {
							a, _ := wire.Marshal(wire.JSON, m)
							b, _ := wire.Marshal(wire.JSON, got)
							t.Fatalf("seed %d, %v to %v:\n%s\nbecame\n%s", seed, in, out, a, b)
						}
					}
				}
			}
		})
	}
}

// through sends m to their struct in one form, and back in the other.
func through(t *testing.T, m any, in wire.Format, their message, out wire.Format, got any) {
	t.Helper()
	b, err := wire.Marshal(in, m)
	if err != nil {
		t.Fatal(err)
	}
	if in == wire.JSON {
		err = json.Unmarshal(b, their)
	} else {
		err = their.Unmarshal(b)
	}
	if err != nil {
		t.Fatalf("theirs reads %v %q: %v", in, b, err)
	}
	if out == wire.JSON {
		b, err = json.Marshal(their)
	} else {
		b, err = their.Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.Unmarshal(out, b, got); err != nil {
		t.Fatalf("ours: %v: reads %v %q", err, out, b)
	}
}

// A filler fills our messages with what theirs have a place for.
type filler struct {
	*rand.Rand
	depth int
}

func (f *filler) message(v reflect.Value, their reflect.Type) {
	f.depth++
	defer func() { f.depth-- }()
	known := described(their)
	for i := range v.NumField() {
		o := ours(v.Type().Field(i))
		th, ok := known[o.number]
		if !ok {
			continue
		}
		// What they hold by value, or we write by default, is never unset.
		always := o.required || o.hasDefault
		if k := th.field.Type.Kind(); k != reflect.Pointer && k != reflect.Slice && k != reflect.Map {
			always = true
		}
		if always || f.depth < 9 && f.IntN(10) < 4 {
			f.field(v.Field(i), o, th)
		}
	}
}

func (f *filler) field(v reflect.Value, o our, th theirs) {
	switch {
	case v.Kind() == reflect.Map:
		m := reflect.MakeMap(v.Type())
		for range 1 + f.IntN(3) {
			e := reflect.New(v.Type().Elem().Elem())
			f.message(e.Elem(), element(th.field.Type))
			m.SetMapIndex(reflect.ValueOf(f.text()), e)
		}
		v.Set(m)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		for range 1 + f.IntN(3) {
			e := reflect.New(v.Type().Elem()).Elem()
			f.value(e, o, th)
			v.Set(reflect.Append(v, e))
		}
	default:
		f.value(v, o, th)
	}
}

func (f *filler) value(v reflect.Value, o our, th theirs) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		f.message(v, element(th.field.Type))
	case reflect.String:
		v.SetString(f.text())
	case reflect.Slice:
		v.SetBytes([]byte(f.text() + ".")) // they take empty ones for none
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(float64(f.IntN(1000)) + float64(f.IntN(1000))/1000)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(f.Uint64() >> (65 - v.Type().Bits() + f.IntN(v.Type().Bits()-1)))
	case reflect.Int32, reflect.Int64:
		if th.enum != "" {
			v.SetInt(int64(f.enum(th.enum)))
			return
		}
		v.SetInt(int64(f.Uint64())>>(64-v.Type().Bits()+f.IntN(v.Type().Bits())) | 1) // proto3, of durations, takes zero for none
	}
}

func (f *filler) enum(name string) int32 {
	names := proto.EnumValueMap(name)
	for {
		for _, n := range names {
			if f.IntN(len(names)) == 0 {
				return n
			}
		}
	}
}

func (f *filler) text() string {
	words := []string{"", "a", "web/prod", "é\u2028\"\\/", "\x00\n\t\x7f", "𝄞<&>", strconv.Itoa(f.IntN(100000))}
	return words[f.IntN(len(words))]
}

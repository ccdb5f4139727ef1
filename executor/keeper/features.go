package keeper

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A keeper outlives the daemon that started it, and an upgrade. So it says in
// its hello what it knows: the names of the fields of a StartRequest, and
// features that are not field. A daemon sends it nothing that it would leave
// out: a task that asks for it starts below another keeper. What was mended in a
// keeper is told by its generation.

// featureBeside is that a keeper knows of those beside it.
const featureBeside = "beside"

// featureExecSignals is that a keeper passes signals on to the command of an
// exec, and hangs it up before it kills it.
const featureExecSignals = "exec signals"

// featureExecBegun is that a keeper tells of the command of an exec that it has
// begun.
const featureExecBegun = "exec begun"

// featurePrepare is that a keeper makes slices ahead of the starts that they are
// for.
const featurePrepare = "prepare"

// featureDeny is that a keeper has others beside it deny what it denies.
const featureDeny = "deny"

// generation is raised whenever what a keeper does of itself was mended, which
// no start can ask for. Starts go to a keeper of the daemon's generation, so that
// an upgrade mends what starts from then on, however long an old keeper lives.
// History:
//
//	0: keepers that do not say: those up to 5335be4, of which some have a task be
//	   its own PID 1 (its signals to itself are dropped), tell ends to whoever
//	   connects, and hand on to tasks what the daemon was started with
//	1: those that say up to a0d3447, which confine no task in what it sees and
//	   writes of the machine's files
//	2: the first that does; it tells at an end what the task used
//	3: the first that limits devices where there is cgroup v1 alone
const generation = 3

// firstFeatures are those of keepers that do not say: of the versions before
// there were any.
var firstFeatures = []string{
	"id", "slice", "logDir", "logMax", "path", "args", "env", "dir", "uid", "gid", "groups", "privatePIDs", "privateMounts", "allowNewPrivileges",
	"limits", "limits.milliCPU", "limits.cpuWeight", "limits.memory", "limits.memoryHigh", "limits.pids",
}

// unasked are those of ours that no start asks for.
var unasked = []string{featureBeside, featureExecSignals, featureExecBegun, featurePrepare, featureDeny}

// features are ours.
var features = sync.OnceValue(func() []string {
	return append(fieldsOf(reflect.TypeFor[StartRequest](), ""), unasked...)
})

// fieldsOf lists the JSON names of all fields of a struct, with those of structs
// in it.
func fieldsOf(t reflect.Type, prefix string) (out []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			out = append(out, fieldsOf(f.Type, prefix)...)
			continue
		}
		out = append(out, prefix+name)
		if inner := structOf(f.Type); inner != nil {
			out = append(out, fieldsOf(inner, prefix+name+".")...)
		}
	}
	return out
}

func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// asked lists what a request asks for: the fields that are not empty.
func asked(v reflect.Value, prefix string) (out []string) {
	switch v.Kind() {
	case reflect.Pointer:
		return asked(v.Elem(), prefix)
	case reflect.Slice:
		for i := range v.Len() {
			out = append(out, asked(v.Index(i), prefix)...)
		}
		return out
	case reflect.Struct:
	default:
		return nil
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			out = append(out, asked(v.Field(i), prefix)...)
		case !v.Field(i).IsZero():
			out = append(out, prefix+name)
			out = append(out, asked(v.Field(i), prefix+name+".")...)
		}
	}
	return out
}

// knows is what a keeper said that it knows.
type knows struct {
	all        map[string]bool
	whole      bool // at least all that this program knows
	generation int
}

// current reports whether there is no reason for another keeper beside this one.
func (k knows) current() bool { return k.whole && k.generation >= generation }

// better reports whether starts go to a keeper rather than to another.
func (k knows) better(than knows) bool {
	return cmp.Or(cmp.Compare(k.generation, than.generation), cmp.Compare(len(k.all), len(than.all))) > 0
}

func knowledge(h *hello) knows {
	said := h.Features
	if len(said) == 0 {
		said = firstFeatures
	}
	k := knows{all: make(map[string]bool, len(said)), whole: true, generation: h.Generation}
	for _, f := range said {
		k.all[f] = true
	}
	for _, f := range features() {
		k.whole = k.whole && k.all[f]
	}
	return k
}

// lacks lists what a request asks for that the keeper does not know.
func (k knows) lacks(r *StartRequest) []string {
	if k.whole {
		return nil
	}
	return slices.DeleteFunc(asked(reflect.ValueOf(r), ""), func(f string) bool { return k.all[f] })
}

// LacksError says that a keeper of an older version does not know all that a
// task asks for.
type LacksError struct{ Lacks []string }

func (e *LacksError) Error() string {
	return "the keeper is of an older mesita and does not know " + strings.Join(e.Lacks, ", ")
}

func (e *LacksError) Unwrap() error { return errLacks }

var errLacks = errors.New("the keeper does not know all that the task asks for")

// UnmarshalJSON notes fields that this keeper does not know, which the start is
// refused for.
func (r *StartRequest) UnmarshalJSON(b []byte) error {
	type plain StartRequest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode((*plain)(r))
	if err == nil || !strings.Contains(err.Error(), "unknown field") {
		return err
	}
	unknown := err
	*r = StartRequest{}
	if err := json.Unmarshal(b, (*plain)(r)); err != nil {
		return err
	}
	r.unknown = unknown
	return nil
}

// Package linear checks histories of the API: whether there is an order of what
// concurrent clients asked for that explains every answer. It owns the models of
// what each kind of object may do, and the recording of operations; command
// integration/chaos has the clients. The search is that of
// github.com/anishathalye/porcupine.
package linear

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// within bounds the search for an order; a history this short takes
// milliseconds.
const within = time.Minute

// Verdict is what a client was told of an operation.
type Verdict int

const (
	Unsure  Verdict = iota // no answer, or one that an earlier try explains as well
	Done                   // it took effect
	Refused                // the state of the object forbade it
)

// Change is one operation on one object of the API, as its client saw it.
type Change struct {
	Object string
	// of a partition: the version that it was to have, and has afterwards
	Before, After int
	// of a service: the number of tasks, that was asked for or read
	Count int
	Read  bool
}

// Histories collects what the rivals did, by kind of object.
type Histories struct {
	mu    sync.Mutex
	begin time.Time
	ops   map[string][]porcupine.Operation
}

// models says what each kind of object may do. An operation whose outcome is
// not known may take effect at any time after it began, or never: it returns at
// the end of time, where it disturbs nobody.
var models = map[string]porcupine.Model{
	// A partition is changed by who knows its version.
	"partition": model(func(version int, c Change, v Verdict) (bool, int) {
		fits := version == c.Before
		switch {
		case v == Unsure && fits:
			return true, version + 1
		case v == Unsure:
			return true, version
		case v == Done:
			return fits && c.After == version+1, version + 1
		}
		return !fits, version
	}),
	// A name is given once.
	"job": model(once),
	// A token is revoked once.
	"token": model(once),
	// A service has the number of tasks that was asked for last.
	"scale": model(func(count int, c Change, _ Verdict) (bool, int) {
		if c.Read {
			return count == c.Count, count
		}
		return true, c.Count
	}),
}

func once(taken int, _ Change, v Verdict) (bool, int) {
	switch v {
	case Done:
		return taken == 0, 1
	case Refused:
		return taken == 1, 1
	}
	return true, 1
}

func model(step func(state int, c Change, v Verdict) (bool, int)) porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, o := range all {
				object := o.Input.(Change).Object
				by[object] = append(by[object], o)
			}
			var out [][]porcupine.Operation
			for _, ops := range by {
				out = append(out, ops)
			}
			return out
		},
		Init: func() any { return 0 },
		Step: func(state, in, out any) (bool, any) { return step(state.(int), in.(Change), out.(Verdict)) },
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v: %d", in, out)
		},
	}
}

// New is a history that begins now.
func New() *Histories {
	return &Histories{begin: time.Now(), ops: map[string][]porcupine.Operation{}}
}

// Age is how long ago the history began.
func (h *Histories) Age() time.Duration { return time.Since(h.begin) }

// Note adds an operation that began then and ends now.
func (h *Histories) Note(kind string, client int, began time.Time, c Change, v Verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := porcupine.Operation{ClientId: client, Input: c, Call: int64(began.Sub(h.begin)), Output: v, Return: int64(time.Since(h.begin))}
	if v == Unsure {
		o.Return = math.MaxInt64
	}
	h.ops[kind] = append(h.ops[kind], o)
}

// Check looks for an order of the operations on each object, and returns what
// has none, and how many operations there were.
func (h *Histories) Check() (wrong []string, count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for kind, ops := range h.ops {
		count += len(ops)
		if got := porcupine.CheckOperationsTimeout(models[kind], ops, within); got != porcupine.Ok {
			wrong = append(wrong, fmt.Sprintf("no order of what was asked of each %s explains the answers (%s):\n%s", kind, got, described(ops)))
		}
	}
	return wrong, count
}

func described(ops []porcupine.Operation) (out string) {
	for _, o := range ops {
		out += fmt.Sprintf("  %8.3f to %8.3f  client %d  %+v: %d\n", float64(o.Call)/1e9, min(float64(o.Return)/1e9, 1e6), o.ClientId, o.Input, o.Output)
	}
	return out
}

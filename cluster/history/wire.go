package history

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
)

// wireVersion is the first byte of each event. A field of a task may be added
// at the end without raising it.
const wireVersion = 1

// wire writes an event or reads one, by the same list of fields: an encoding
// that describes itself costs four times as much, and a cluster that places a
// million tasks makes that many events. What is rare or deep is in it as JSON.
type wire struct {
	b       []byte
	reading bool
	err     error
	before  api.Resources // of the event before: most are the same
}

// encode returns bytes that are valid until the next call.
func (w *wire) encode(e *api.Event) ([]byte, error) {
	w.b, w.reading, w.err = append(w.b[:0], wireVersion), false, nil
	w.event(e)
	return w.b, w.err
}

func (w *wire) decode(b []byte) (e api.Event, err error) {
	if len(b) == 0 || b[0] != wireVersion {
		return e, fmt.Errorf("an event has a version that this program does not read")
	}
	kept := w.b
	w.b, w.reading, w.err = b[1:], true, nil
	w.event(&e)
	w.b = kept
	return e, w.err
}

func (w *wire) event(e *api.Event) {
	number(w, &e.Index)
	w.time(&e.Time)
	text(w, &e.Kind)
	text(w, &e.Object)
	text(w, &e.Job)
	text(w, &e.Node)
	text(w, &e.Actor)
	text(w, &e.Message)
	has := e.Task != nil
	if w.flag(&has); !has {
		return
	}
	if w.reading {
		e.Task = new(api.Task)
	}
	w.task(e.Task)
}

// task: add at the end.
func (w *wire) task(t *api.Task) {
	text(w, &t.ID)
	text(w, &t.Job)
	number(w, &t.Index)
	number(w, &t.Version)
	text(w, &t.Partition)
	number(w, &t.State)
	number(w, &t.Desired)
	text(w, &t.Node)
	text(w, &t.NodeID)
	number(w, &t.Attempt)
	number(w, &t.PID)
	w.resources(&t.Resources)
	w.rare(&t.Ports, t.Ports == nil)
	for _, at := range []*time.Time{&t.Created, &t.Started, &t.Ended, &t.NotBefore, &t.FrozenAt, &t.Preempted} {
		w.time(at)
	}
	w.rare(&t.ExitCode, t.ExitCode == nil)
	text(w, &t.Signal)
	text(w, &t.Reason)
	text(w, &t.Message)
	w.rare(&t.Healthy, t.Healthy == nil)
	number(w, &t.Failures)
	w.flag(&t.Frozen)
	number(w, &t.FrozenFor)
	w.rare(&t.Earlier, t.Earlier == nil)
	number(w, &t.Revision)
	w.rare(&t.Accounted, t.Accounted == nil)
	w.rare(&t.Leaves, t.Leaves == nil)
	own := t.Framework
	if own != nil && !w.reading { // what it runs and was sent is not for a history
		own = &api.FrameworkTask{Framework: own.Framework, ID: own.ID, Name: own.Name, Executor: own.Executor, IsExecutor: own.IsExecutor}
	}
	if w.rare(&own, own == nil); w.reading {
		t.Framework = own
	}
	w.rare(&t.Check, t.Check == nil)
}

func (w *wire) resources(r *api.Resources) {
	differ := !w.reading && !r.Equal(w.before)
	if w.flag(&differ); differ {
		w.rare(r, false)
		w.before = *r
	}
	*r = w.before
}

// rare is a value that most events do not have.
func (w *wire) rare(v any, none bool) {
	has := !none
	if w.flag(&has); !has || w.err != nil {
		return
	}
	var b []byte
	if !w.reading {
		b, w.err = json.Marshal(v)
	}
	s := string(b)
	if text(w, &s); w.reading && w.err == nil {
		w.err = json.Unmarshal([]byte(s), v)
	}
}

func (w *wire) flag(v *bool) {
	n := 0
	if *v {
		n = 1
	}
	number(w, &n)
	*v = n != 0
}

func (w *wire) time(t *time.Time) {
	n := nanos(*t)
	if number(w, &n); w.reading && n != 0 {
		*t = time.Unix(0, n).UTC()
	}
}

// number is zero where an older program wrote less.
func number[T ~int | ~int64 | ~uint64 | ~uint8](w *wire, v *T) {
	if !w.reading {
		w.b = binary.AppendVarint(w.b, int64(*v))
		return
	}
	if len(w.b) == 0 {
		return
	}
	n, k := binary.Varint(w.b)
	if k <= 0 {
		w.err, w.b = errDamaged, nil
		return
	}
	*v, w.b = T(n), w.b[k:]
}

func text[T ~string](w *wire, v *T) {
	n := len(*v)
	if number(w, &n); !w.reading {
		w.b = append(w.b, *v...)
		return
	}
	if n < 0 || n > len(w.b) {
		w.err, w.b = errDamaged, nil
		return
	}
	*v, w.b = T(w.b[:n]), w.b[n:]
}

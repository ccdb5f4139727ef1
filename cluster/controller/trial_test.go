package controller

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A node on which nothing starts is tried each half minute, and not while a
// trial is under way.
func TestTrialsOfANode(t *testing.T) {
	w := newWorld(t)
	w.submit(&api.JobSpec{Name: "b", Kind: api.KindBatch, Array: "0-9"})
	fail := func(i int) {
		t.Helper()
		task := w.View().Task(api.TaskID("b", i))
		w.do(&fsm.TaskPlace{Meta: w.meta(), Placements: []fsm.Placement{{Job: "b", Index: i, Attempt: task.Attempt, NodeID: "id0"}}})
		w.do(&fsm.TaskReport{Meta: w.meta(), Statuses: []api.TaskStatus{{Task: task.ID, Attempt: task.Attempt, NodeID: "id0", State: api.TaskFailed, Reason: api.ReasonInternal, Time: w.now}}})
	}
	for i := range 3 {
		fail(i)
	}
	node := func() *api.Node { return w.View().Node("id0") }
	for range 3 {
		w.settle()
		if node().Schedulable() {
			t.Fatal("it gets tasks at once")
		}
		if next := nextTrial(w.View(), w.now); next.Sub(w.now) != 30*time.Second {
			t.Fatalf("tried after %s", next.Sub(w.now))
		}
		w.now = w.now.Add(30 * time.Second)
		w.settle()
		if !node().Schedulable() {
			t.Fatal("it is not tried")
		}
		if next := nextTrial(w.View(), w.now); !next.IsZero() {
			t.Fatal("another trial is waited for")
		}
		fail(3)
	}
}

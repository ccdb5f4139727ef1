package executor_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

// TestAStartIsPreparedMeanwhile: what a start needs is made while the journal is
// written, for a few at once; one that is not wanted any more does not start.
func TestAStartIsPreparedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		var late atomic.Int64
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			if !slices.Contains(n.rt.Prepared(), r.ID) {
				late.Add(1)
			}
			return runtimetest.Plan{}
		}
		n.Assign(set(assignment("lone", 0, 1)))
		settle()
		if late.Load() != 0 {
			t.Error("it was not prepared before it started")
		}
		as := set(assignment("lone", 0, 1))
		for i := range 100 {
			as = append(as, assignment("many", i, 1, batch))
		}
		n.Assign(as)
		settle()
		if got := len(n.rt.Prepared()); got > 20 {
			t.Errorf("%d of a hundred at once were prepared: each costs", got)
		}
		started := len(n.rt.Started())
		gone := assignment("gone", 0, 1, func(_ *api.Task, s *api.JobSpec) { s.Command = []string{"/nonexistent"} })
		n.Assign(append(as, gone))
		settle()
		equal(t, "gone", n.sink.states("gone.0"), []string{"1 TASK_FAILED start_failed"})
		if got := len(n.rt.Started()); got != started {
			t.Errorf("%d starts more, want none", got-started)
		}
	})
}

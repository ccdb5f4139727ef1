package foresee

import (
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Jobs that are changed together are planned against each other: what one takes the
// other has not, and what one that stops had is there for them.
func TestJobsArePlannedTogether(t *testing.T) {
	w := newWorld(t, 1)
	spec := func(name string, n int, cpus api.MilliCPU) *api.JobSpec {
		s := &api.JobSpec{Name: name, Kind: api.KindService, Count: &n, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: cpus, Mem: 1 << 20}}}}
		s.Normalize()
		return s
	}
	plan := func(c *fsm.ApplyAll) map[string]*api.Plan {
		c.Meta = meta()
		plans, err := jobs.PlanAll(t.Context(), w.View(), c)
		if err != nil {
			t.Fatal(err)
		}
		return plans
	}
	plans := plan(&fsm.ApplyAll{Creates: []*fsm.JobCreate{{Spec: spec("a", 2, 1000)}, {Spec: spec("b", 3, 1000)}}})
	a, b := plans["a"], plans["b"]
	if a == nil || b == nil || a.Starts+b.Starts != 4 || a.Waiting+b.Waiting != 1 || a.Tasks != 2 || b.Tasks != 3 {
		t.Fatalf("%+v, %+v", a, b)
	}
	if _, err := jobs.PlanAll(t.Context(), w.View(), &fsm.ApplyAll{Meta: meta(), Updates: []*fsm.JobUpdate{{ID: "none", Spec: spec("none", 1, 1)}}}); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("%v", err)
	}
}

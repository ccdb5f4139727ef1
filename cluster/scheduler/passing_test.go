package scheduler

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A node that takes no tasks for a while is not a reason to say that none ever can;
// a port that no node may give is said with those that it may.
func TestWhatPasses(t *testing.T) {
	s := cluster(t, 2)
	hello(t, s, "n1", nil)
	n := s.View().FindNode("n0")
	do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: n.ID, Hello: api.NodeHello{Addr: n.Addr, Attrs: n.Attrs, Level: 3, Resources: n.Resources, DiskFull: true}})
	one := func(c string) *api.JobSpec {
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20}}}}
		k, err := api.ParseConstraint(c)
		if err != nil {
			t.Fatal(err)
		}
		spec.Constraints = []api.Constraint{k}
		return spec
	}
	for where, want := range map[string]string{"node.name=n0": "no node that could take it takes new tasks: n0 has a full disk", "node.name=n7": "no node can ever take it"} {
		j := submit(t, s, one(where))
		why, err := planner.Explain(s.View(), j.ID)
		if err != nil || !strings.HasSuffix(why.Summary, want) {
			t.Errorf("%s: %+v, %v", where, why, err)
		}
		if back := "it starts by itself when n0 takes new tasks again"; strings.HasSuffix(where, "n0") && (len(why.Hints) != 1 || why.Hints[0] != back) {
			t.Errorf("%s: hints %q", where, why.Hints)
		}
	}
	spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20, Ports: []api.PortRequest{{Name: "http", Port: 80}}}}}}
	if err := planner.CheckFits(s.View(), spec); err == nil || !strings.Contains(err.Error(), "n1 may not give port 80, its ports are 20000-20001") {
		t.Error(err)
	}
}

func TestWhyOfAStoppedTask(t *testing.T) {
	code := 143
	for want, task := range map[string]*api.Task{
		"a.0 killed: it was stopped, and ended by SIGTERM": {ID: "a.0", State: api.TaskKilled, Reason: api.ReasonStopped, Signal: "SIGTERM", ExitCode: &code},
		"a.0 killed: it was stopped before attempt 5; attempt 4 ended: it exited with code 7": {
			ID: "a.0", State: api.TaskKilled, Reason: api.ReasonStopped, Attempt: 5, Message: "it exited with code 7"},
		"a.0 killed: it was stopped, and ended with exit code 143": {ID: "a.0", State: api.TaskKilled, Reason: api.ReasonStopped, ExitCode: &code},
		"a.0 killed: it was stopped before it started":             {ID: "a.0", State: api.TaskKilled, Reason: api.ReasonStopped, Message: "it was stopped before it started"},
		"a.0 failed: exit code 143":                                {ID: "a.0", State: api.TaskFailed, Reason: api.ReasonExited, ExitCode: &code},
	} {
		if got := ended(task); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package scheduler

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Of four nodes of 4 CPUs one has no cpuset controller, one can pin nothing, one
// runs an older program, and one can pin three.
func pinners(t *testing.T) *fsm.Store {
	t.Helper()
	s := cluster(t, 4)
	cpuset := map[string]string{"isolation.cpuset": "yes"}
	for i, h := range []api.NodeHello{
		{Level: int(fsm.Newest)},
		{Attrs: cpuset, Level: int(fsm.Newest)},
		{Attrs: cpuset, Level: 2, Version: "0.9"},
		{Attrs: cpuset, Level: int(fsm.Newest), Resources: api.Resources{Pins: 3}},
	} {
		h.Addr, h.Resources.CPUs, h.Resources.Mem = "x:1", 4000, 4<<30
		do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: fmt.Sprint("id", i), Hello: h})
	}
	return s
}

func pinned(cpus api.MilliCPU) api.TaskSpec {
	return api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: cpus, Pin: true, Mem: 1 << 20}}}
}

// Tasks with CPUs of their own go where they can be had, and the others say why
// not; they come back with the task.
func TestCPUsArePinnedWhereTheyCanBe(t *testing.T) {
	s := pinners(t)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-2", TaskSpec: pinned(2000)})
	schedule(t, s, t0)
	if got := perNode(s, j.ID); !maps.Equal(got, map[string]int{"n3": 1, "": 2}) {
		t.Fatalf("two CPUs each of a node that can pin three: %v", got)
	}
	why, err := planner.Explain(s.View(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"has no cpuset controller", "can give no task CPUs of its own", "does not know", "needs 2 cpus of its own, 1 left to pin"} {
		if len(why.Nodes) != 4 || !strings.Contains(why.Nodes[i].Reason, want) {
			t.Errorf("%s: %+v", want, why.Nodes)
		}
	}
	if hints := strings.Join(why.Hints, "\n"); !strings.Contains(hints+"\n", "would start now on n3 with --cpus 1: mesita job set "+j.ID+" --cpus 1\n") {
		t.Errorf("hints: %s", hints)
	}
	// What is left is anybody's.
	plain := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-14", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 1000, Mem: 1 << 20}}}})
	schedule(t, s, t0)
	if got := perNode(s, plain.ID); !maps.Equal(got, map[string]int{"n0": 4, "n1": 4, "n2": 4, "n3": 2, "": 1}) {
		t.Errorf("%v", got)
	}
	if u := s.View().Usage(api.DefaultPartition); u.Allocated.Pins != 0 || u.Allocated.CPUs != 16000 {
		t.Errorf("the partition is counted %v", u.Allocated)
	}
}

// What no node could ever pin is refused, and says by whom and why.
func TestCPUsThatNobodyPinsAreRefused(t *testing.T) {
	s := pinners(t)
	for _, c := range []struct {
		on   string
		cpus api.MilliCPU
		want string
	}{
		{"", 4000, "n3 can give a task at most 3 CPUs of its own, and not 4"},
		{"n0", 1000, "n0 has no cpuset controller"},
		{"", 3000, ""},
	} {
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: pinned(c.cpus)}
		if c.on != "" {
			spec.Constraints = []api.Constraint{{Attr: "node.name", Op: "=", Value: c.on}}
		}
		spec.Normalize()
		if err := planner.CheckFits(s.View(), spec); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", spec.CPUs, err)
		}
	}
}

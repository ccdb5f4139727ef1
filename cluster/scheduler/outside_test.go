package scheduler

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// hello has a node say what it has, and what others have of it.
func hello(t *testing.T, s *fsm.Store, name string, o *api.Outside) {
	t.Helper()
	n := s.View().FindNode(name)
	do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: n.ID, Hello: api.NodeHello{Addr: n.Addr, Attrs: n.Attrs, Level: 3, Outside: o,
		Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 20000, Last: 20001}}}}})
}

// Tasks go where no other program has what they need, each free port is given,
// and why says who has the rest.
func TestOutsideUse(t *testing.T) {
	s := cluster(t, 2)
	hello(t, s, "n0", &api.Outside{Mem: 7 << 30, Ports: []api.PortHolder{{Ports: api.Ranges{{First: 20000, Last: 20000}}, By: "nginx (pid 7)"}}})
	hello(t, s, "n1", nil)
	e := NewEngine(begin)
	pass := func() {
		t.Helper()
		e.Update(s.View(), nil, true)
		cmds, _ := e.Decide(t0)
		do(t, s, cmds...)
	}
	any := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-3", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20, Ports: []api.PortRequest{{Name: "http"}}}}}})
	pass()
	if got := perNode(s, any.ID); got["n0"] != 1 || got["n1"] != 2 {
		t.Errorf("with a port each: %v", got)
	}
	big := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-1", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 5 << 30}}}})
	pass()
	if got := perNode(s, big.ID); got["n0"] != 0 || got["n1"] != 1 {
		t.Errorf("with 5 GiB: %v", got)
	}
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "apart"}})
	fixed := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Partition: "apart", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20, Ports: []api.PortRequest{{Name: "http", Port: 20000}}}}}})
	pass()
	for id, want := range map[string]string{
		fixed.ID + ".0": "port 20000 is taken by nginx (pid 7)",
		big.ID + ".1":   "other programs there use 7GiB of what is for tasks",
	} {
		why, err := planner.Explain(s.View(), id)
		if err != nil {
			t.Fatal(err)
		}
		if why.Nodes[0].Node != "n0" || !strings.Contains(why.Nodes[0].Reason, want) {
			t.Errorf("%s waits for %+v", id, why.Nodes)
		}
		if hints := strings.Join(why.Hints, "\n"); strings.Contains(hints, "take room back") {
			t.Errorf("%s: no guarantee gives it what another program has: %s", id, hints)
		}
	}
}

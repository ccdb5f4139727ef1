package scheduler

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Of four nodes of 1 GiB one has cgroup v1, one lends nothing, one runs an older
// program, and one lends as much again.
func lenders(t *testing.T) *fsm.Store {
	t.Helper()
	s := cluster(t, 4)
	unified := map[string]string{"isolation.mode": "unified", "isolation.memory": "yes"}
	for i, h := range []api.NodeHello{
		{Attrs: map[string]string{"isolation.mode": "hybrid", "isolation.memory": "yes"}, Level: int(fsm.Newest)},
		{Attrs: unified, Level: int(fsm.Newest)},
		{Attrs: unified, Level: 2, Version: "0.9"},
		{Attrs: unified, Level: int(fsm.Newest), Resources: api.Resources{MemExtra: 1 << 30}},
	} {
		h.Addr, h.Resources.CPUs, h.Resources.Mem = "x:1", 8000, 1<<30
		do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: fmt.Sprint("id", i), Hello: h})
	}
	return s
}

func lent(mem, limit api.Bytes) api.TaskSpec {
	return api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: mem << 20, MemLimit: limit << 20}}}
}

// Tasks that may use more than they are guaranteed go where that can be had, up
// to the sum of limits that the node allows, and the others say why not.
func TestMemoryIsLentWhereItCanBe(t *testing.T) {
	s := lenders(t)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-3", TaskSpec: lent(100, 800)})
	schedule(t, s, t0)
	if got := perNode(s, j.ID); !maps.Equal(got, map[string]int{"n3": 2, "": 2}) {
		t.Fatalf("limits of 800 MiB on a node that allows 2 GiB: %v", got)
	}
	why, err := planner.Explain(s.View(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"cgroup v2", "--mem-overcommit is 1", "does not know", "needs 800MiB memLimit, 448MiB free"} {
		if len(why.Nodes) != 4 || !strings.Contains(why.Nodes[i].Reason, want) {
			t.Errorf("%s: %+v", want, why.Nodes)
		}
	}
	if got := strings.Join(why.Hints, "\n"); !strings.Contains(got, "would start now on n3 with --mem-limit 448MiB") {
		t.Errorf("hints: %s", got)
	}
	// Who wants no more than is guaranteed goes anywhere, but adds to the limits.
	plain := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-8", TaskSpec: lent(400, 0)})
	schedule(t, s, t0)
	if got := perNode(s, plain.ID); !maps.Equal(got, map[string]int{"n0": 2, "n1": 2, "n2": 2, "n3": 1, "": 2}) {
		t.Errorf("%v", got)
	}
}

// What no node could ever lend is refused, and says by whom and why.
func TestMemoryThatNobodyLendsIsRefused(t *testing.T) {
	s := lenders(t)
	for _, c := range []struct {
		on   string
		spec api.TaskSpec
		want string
	}{
		{"", lent(100, 3000), "n3 lets its tasks together use up to 2GiB, and not 2.9GiB"},
		{"n0", lent(100, 200), "n0 has no cgroup v2"},
		{"", lent(100, 2048), ""},
	} {
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: c.spec}
		if c.on != "" {
			spec.Constraints = []api.Constraint{{Attr: "node.name", Op: "=", Value: c.on}}
		}
		spec.Normalize()
		if err := planner.CheckFits(s.View(), spec); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", spec.MemLimit, err)
		}
	}
	s = cluster(t, 2) // whose nodes say nothing of cgroups
	spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: lent(100, 200)}
	spec.Normalize()
	if err := planner.CheckFits(s.View(), spec); api.ErrorCode(err) != api.CodeDoesNotFit || !strings.Contains(err.Error(), "n1 runs an older mesita") {
		t.Errorf("%v", err)
	}
}

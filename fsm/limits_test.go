package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// The limits of the tasks on a node never add up to more than it has memory and
// lends, whoever owns them, and their guarantees to no more than its memory.
func TestLimitsOnANodeAreBounded(t *testing.T) {
	s := storeAt(t, Newest)
	do := func(c Command) any {
		t.Helper()
		v, err := s.Do(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	hello := testHello(64_000) // 1 GiB
	hello.Level, hello.Resources.MemExtra = int(Newest), 1<<30
	hello.Attrs["isolation.mode"], hello.Attrs["isolation.memory"] = "unified", "yes"
	do(&NodeHello{ID: nodeID(0), Hello: hello})
	place := func(mem, limit api.Bytes) (id string, placed bool) {
		t.Helper()
		spec := testSpec(api.KindBatch, "", 1)
		spec.Ports, spec.Mem, spec.MemLimit = nil, mem<<20, limit<<20
		j := do(&JobCreate{Spec: spec}).(*api.Job)
		return j.ID, do(&TaskPlace{Placements: []Placement{{Job: j.ID, Attempt: 1, NodeID: nodeID(0)}}}).(int) == 1
	}
	var last string
	for i, c := range []struct {
		mem, limit api.Bytes
		want       bool
	}{
		{300, 1000, true},  // limits of 1000 of 2048 MiB
		{100, 1048, true},  // 2048
		{1, 0, false},      // no limit is left, though 624 MiB are free
		{1, 2, false},      //
		{0, 0, false},      // the last of it ends
		{600, 1048, true},  // 2048
		{25, 25, false},    // 24 are free
		{600, 1048, false}, //
	} {
		if c.mem == 0 {
			do(&TaskReport{Statuses: []api.TaskStatus{{Task: last + ".0", Attempt: 1, NodeID: nodeID(0), State: api.TaskFinished, ExitCode: new(0)}}})
			continue
		}
		id, placed := place(c.mem, c.limit)
		if placed != c.want {
			t.Errorf("%d: mem %d, limit %d: placed %v", i, c.mem, c.limit, placed)
		}
		if placed {
			last = id
		}
	}
	n := s.View().Node(nodeID(0))
	hello.Resources.MemExtra = 0 // it lends no more, but what it lent
	do(&NodeHello{ID: n.ID, Hello: hello})
	if n := s.View().Node(n.ID); n.Resources.MemLimit() != 2048<<20 || n.Resources.Mem != 1<<30 {
		t.Errorf("it came back with %v", n.Resources)
	}
	if u := s.View().Usage(api.DefaultPartition); u.Allocated.MemExtra != 0 || u.Allocated.Mem != 900<<20 {
		t.Errorf("its partition holds %+v", u.Allocated)
	}
}

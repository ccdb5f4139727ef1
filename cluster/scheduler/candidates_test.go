package scheduler

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/draw"
)

// TestCandidatesLackLeast: the nodes that are looked at for a hold are the first
// of all in the order of what they lack.
func TestCandidatesLackLeast(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		e := NewEngine(begin)
		e.Update(bigCluster(t, rapid.IntRange(1, 300).Draw(rt, "nodes")).View(), nil, true)
		for i := range e.slots.Node {
			e.slots.Take(i, api.Resources{CPUs: api.MilliCPU(4000 * rapid.IntRange(0, 8).Draw(rt, "taken"))})
		}
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: 30_000, Mem: 1 << 30}}}}
		spec.Normalize()
		job := &api.Job{Spec: spec}
		c := e.book.Find(&api.Partition{Path: api.DefaultPartition}, spec)
		c.CatchUp()
		var want []int
		for i := range e.slots.Node {
			want = append(want, i)
		}
		slices.SortStableFunc(want, func(a, b int) int { return cmp.Compare(c.Lack(a), c.Lack(b)) })
		want = want[:min(maxHoldNodes, len(want))]
		if got := newPass(e, t0).candidates(&entry{job: job}, c); !slices.Equal(got, want) {
			rt.Errorf("candidates %v, want %v", got, want)
		}
	})
}

package scheduler

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/draw"
)

// TestTheFirstOfTheSmallestWins: whatever was set since, also on a copy, the
// winner is what one finds who looks at all keys.
func TestTheFirstOfTheSmallestWins(t *testing.T) {
	key := rapid.Custom(func(rt *rapid.T) float64 {
		if k := rapid.IntRange(0, 9).Draw(rt, "key"); k > 0 {
			return float64(k)
		}
		return none
	})
	draw.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(key, 1, 700).Draw(rt, "keys")
		x := newTournament(slices.Clone(all))
		for range rapid.IntRange(1, 20).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 40).Draw(rt, "changes") {
				i := rapid.IntRange(0, len(all)-1).Draw(rt, "slot")
				all[i] = key.Draw(rt, "new")
				x.set(i, all[i])
			}
			if rapid.IntRange(0, 3).Draw(rt, "copied") == 0 {
				before := x
				x = x.clone()
				before.set(0, -1)
			}
			want, least := -1, none
			for i, k := range all {
				if k < least {
					want, least = i, k
				}
			}
			if got, k := x.min(); got != want || k != least {
				rt.Fatalf("of %d keys %d wins with %v, want %d with %v", len(all), got, k, want, least)
			}
		}
	})
}

// TestCandidatesLackLeast: the nodes that are looked at for a hold are the first
// of all in the order of what they lack.
func TestCandidatesLackLeast(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		e := NewEngine(begin)
		e.Update(bigCluster(t, rapid.IntRange(1, 300).Draw(rt, "nodes")).View(), nil, true)
		for i := range e.slots.node {
			e.slots.take(i, api.Resources{CPUs: api.MilliCPU(4000 * rapid.IntRange(0, 8).Draw(rt, "taken"))})
		}
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: 30_000, Mem: 1 << 30}}}}
		spec.Normalize()
		job := &api.Job{Spec: spec}
		c := e.findClass(&api.Partition{Path: api.DefaultPartition}, job)
		c.catchUp()
		var want []int
		for i := range e.slots.node {
			want = append(want, i)
		}
		slices.SortStableFunc(want, func(a, b int) int { return cmp.Compare(c.lack(a), c.lack(b)) })
		want = want[:min(maxHoldNodes, len(want))]
		if got := newPass(e, t0).candidates(&entry{job: job}, c); !slices.Equal(got, want) {
			rt.Errorf("candidates %v, want %v", got, want)
		}
	})
}

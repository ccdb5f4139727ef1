package scheduler

import (
	"slices"
	"testing"

	"github.com/mesita/mesita/api"
)

// A copied order is the one that building makes, also of an order that a job
// sits at and that has not seen the newest changes.
func TestCopiedOrderIsAsBuilt(t *testing.T) {
	for _, placement := range []api.Placement{api.PlaceSpread, api.PlaceClosest, api.PlaceWeighted} {
		for _, spread := range []string{"", "zone"} {
			e := NewEngine(begin)
			e.Update(bigCluster(t, 50).View(), nil, true)
			spec := &api.JobSpec{Kind: api.KindService, Name: "web", TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Spread: spread, Request: api.Request{CPUs: 3000, Mem: 1 << 30}}}}
			spec.Normalize()
			one, two := &api.Partition{Path: "one", Placement: placement}, &api.Partition{Path: "two", Placement: placement}
			one.Normalize()
			two.Normalize()
			c := e.findClass(one, &api.Job{Spec: spec})
			c.catchUp()
			s := &seat{c: c, job: &api.Job{Spec: spec}, count: map[int]int{}}
			for i := range 20 {
				e.slots.take(i%7, c.need)
				s.taken(i % 7)
			}
			s.bar(30)
			e.slots.take(9, c.need) // by somebody else

			twin := e.findClass(two, &api.Job{Spec: spec})
			if twin == c || len(twin.groups) == 0 {
				t.Fatal("it was not copied")
			}
			twin.catchUp()
			built := newClass(&e.slots, two, spec)
			built.catchUp()
			same(t, placement, spread, twin, built)

			smaller := *spec
			smaller.CPUs = 500
			like := e.findClass(two, &api.Job{Spec: &smaller})
			built = newClass(&e.slots, two, &smaller)
			built.catchUp()
			same(t, placement, spread, like, built)
			if !newClass(&e.slots, two, &smaller).buildLike(c) {
				t.Error("the conditions were looked at again")
			}
			drained := *e.slots.node[3]
			drained.Drain = true
			e.slots.node[3] = &drained
			e.slots.touch(3)
			if newClass(&e.slots, two, &smaller).buildLike(c) {
				t.Error("a node that changed was not looked at")
			}

			before := slices.Clone(keysOf(c))
			e.slots.take(11, c.need)
			twin.catchUp()
			if !slices.Equal(keysOf(c), before) {
				t.Errorf("%s: a change of the copy reached the other", placement)
			}
		}
	}
	var anywhere api.Partition
	if orderKey(&anywhere, new(api.JobSpec)) == orderKey(&api.Partition{Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}}}, new(api.JobSpec)) {
		t.Error("partitions of different nodes share an order")
	}
}

func same(t *testing.T, placement api.Placement, spread string, got, want *class) {
	t.Helper()
	if !slices.Equal(keysOf(got), keysOf(want)) || !slices.Equal(got.ok, want.ok) || !slices.Equal(got.where, want.where) || !slices.Equal(got.rank, want.rank) {
		t.Errorf("%s, spread over %q: the order differs from one that is built", placement, spread)
	}
	for g := range want.groups {
		if !slices.Equal(got.groups[g].members, want.groups[g].members) {
			t.Errorf("%s, spread over %q: group %d has %v, want %v", placement, spread, g, got.groups[g].members, want.groups[g].members)
		}
	}
}

func keysOf(c *class) (out []float64) {
	for _, g := range c.groups {
		if g.draw != nil {
			out = append(out, g.draw.sum...)
		} else {
			out = append(out, g.best.key...)
		}
	}
	return out
}

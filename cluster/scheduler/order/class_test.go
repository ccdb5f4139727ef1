package order

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mesita/mesita/api"
)

// A copied order is the one that building makes, also of an order that a job
// sits at and that has not seen the newest changes.
func TestCopiedOrderIsAsBuilt(t *testing.T) {
	for _, placement := range []api.Placement{api.PlaceSpread, api.PlaceClosest, api.PlaceWeighted} {
		for _, spread := range []string{"", "zone"} {
			slots := some(t, 50)
			book := NewBook(slots, MaxBytes)
			spec := &api.JobSpec{Kind: api.KindService, Name: "web", TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Spread: spread, Request: api.Request{CPUs: 3000, Mem: 1 << 30}}}}
			spec.Normalize()
			one, two := &api.Partition{Path: "one", Placement: placement}, &api.Partition{Path: "two", Placement: placement}
			one.Normalize()
			two.Normalize()
			c := book.Find(one, spec)
			c.CatchUp()
			s := &Seat{Class: c, job: &api.Job{Spec: spec}, count: map[int]int{}}
			for i := range 20 {
				slots.Take(i%7, c.Need)
				s.Taken(i % 7)
			}
			s.Bar(30)
			slots.Take(9, c.Need) // by somebody else

			twin := book.Find(two, spec)
			if twin == c || len(twin.groups) == 0 {
				t.Fatal("it was not copied")
			}
			twin.CatchUp()
			built := NewClass(slots, two, spec)
			built.CatchUp()
			same(t, placement, spread, twin, built)

			smaller := *spec
			smaller.CPUs = 500
			like := book.Find(two, &smaller)
			built = NewClass(slots, two, &smaller)
			built.CatchUp()
			same(t, placement, spread, like, built)
			if !NewClass(slots, two, &smaller).buildLike(c) {
				t.Error("the conditions were looked at again")
			}
			drained := *slots.Node[3]
			drained.Drain = true
			slots.Node[3] = &drained
			slots.touch(3)
			if NewClass(slots, two, &smaller).buildLike(c) {
				t.Error("a node that changed was not looked at")
			}

			before := slices.Clone(keysOf(c))
			slots.Take(11, c.Need)
			twin.CatchUp()
			if !slices.Equal(keysOf(c), before) {
				t.Errorf("%s: a change of the copy reached the other", placement)
			}
		}
	}
	var anywhere api.Partition
	if Key(&anywhere, new(api.JobSpec)) == Key(&api.Partition{Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}}}, new(api.JobSpec)) {
		t.Error("partitions of different nodes share an order")
	}
	one, two := &api.Partition{Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a rack=1"}}}, &api.Partition{Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}, {Attr: "rack", Op: "=", Value: "1"}}}
	if Key(one, new(api.JobSpec)) == Key(two, new(api.JobSpec)) {
		t.Error("conditions that read alike share an order")
	}
}

func same(t *testing.T, placement api.Placement, spread string, got, want *Class) {
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

func keysOf(c *Class) (out []float64) {
	for _, g := range c.groups {
		if g.draw != nil {
			out = append(out, g.draw.sum...)
		} else {
			out = append(out, g.best.key...)
		}
	}
	return out
}

// some has n nodes of 32 cores and 128 GiB in four zones.
func some(tb testing.TB, n int) *Slots {
	tb.Helper()
	s := &Slots{ids: map[string]int{}}
	for i := range n {
		node := &api.Node{ID: fmt.Sprintf("id%05d", i), Name: fmt.Sprint("n", i), State: api.NodeReady, Attrs: map[string]string{"zone": fmt.Sprint("z", i%4)},
			Resources: api.Resources{CPUs: 32_000, Mem: 128 << 30, Ports: api.Ranges{{First: 20000, Last: 29999}}}}
		s.add(node, node.Resources, api.Resources{}, node.Resources)
	}
	return s
}

// What is kept is bounded, and continues without an error once it was forgotten.
func TestTrimKeepsTheNewest(t *testing.T) {
	slots := some(t, 60)
	var all []*Class
	book := NewBook(slots, 1<<30)
	for i := range 40 {
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: api.MilliCPU(100 + i), Mem: 1 << 20}}}}
		spec.Normalize()
		all = append(all, book.Find(&api.Partition{Path: api.DefaultPartition}, spec))
		book.Use(all[i])
	}
	kept := func() (sum int64) {
		for _, c := range all {
			sum += c.size()
		}
		return sum
	}
	whole := kept()
	for _, share := range []int64{4, 2, 1 << 40} {
		book.Max, slots.made = whole/share, 1<<40
		book.Trim(slices.Values(all))
		if n := kept(); n > book.Max || share == 4 && n == 0 {
			t.Errorf("%d bytes are kept of at most %d", n, book.Max)
		}
		for i, c := range all[:len(all)-1] {
			if c.size() > 0 && all[i+1].size() == 0 {
				t.Errorf("class %d is kept, and %d, which was used later, is not", i, i+1)
			}
		}
		for _, c := range all {
			book.Use(c)
			if slot, _ := c.groups[0].best.min(); slot < 0 {
				t.Error("an order that is made again has no first")
			}
		}
	}
}

// What a change of a node makes of shared conditions is counted, too.
func TestCopiesAreCounted(t *testing.T) {
	slots := some(t, 60)
	book := NewBook(slots, 1<<30)
	part := &api.Partition{Path: api.DefaultPartition}
	var all []*Class
	for i := range 40 {
		spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: api.MilliCPU(100 + i), Mem: 1 << 20}}}}
		spec.Normalize()
		all = append(all, book.Find(part, spec))
	}
	before := slots.made
	drained := *slots.Node[3]
	drained.Drain = true
	slots.Node[3] = &drained
	slots.touch(3)
	for _, c := range all {
		book.Use(c)
	}
	if got, want := slots.made-before, int64(len(all)*len(slots.Node)*perSlot); got != want {
		t.Errorf("%d bytes of copies are counted of %d", got, want)
	}
}

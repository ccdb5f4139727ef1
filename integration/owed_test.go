package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// What is on offer in a partition uses up nothing of its guarantee against its own jobs:
// in any tree, when nothing more is decided, no task waits that a guarantee covers beside
// what its own partition's tasks hold, as long as those who borrowed have the room. Below
// one guarantee it is its own order that counts: there a job that asks for more than is
// left of the guarantee may have room kept from one that does not.
func TestAGuaranteeIsForJobsBeforeItIsForOffers(t *testing.T) {
	beside := 0
	draw.Check(t, func(rt *rapid.T) {
		nodes := make([]api.Resources, rapid.IntRange(1, 4).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = api.Resources{CPUs: 4000, Mem: 4 << 30}
		}
		l := &lending{shared: newShared(rt, nodes), rt: rt}
		policy := rapid.SampledFrom([]api.Policy{api.PolicyFIFO, api.PolicyPriority, api.PolicyFair, api.PolicySJF})
		l.partition(&api.Partition{Path: "a", Policy: policy.Draw(rt, "policy of a"), Guarantee: l.cpus("guarantee of a", 0, 2*len(nodes))})
		within := int(l.View().Partition("a").Guarantee.CPUs / 1000)
		l.partition(&api.Partition{Path: "a/x", Guarantee: l.cpus("guarantee of a/x", 0, within)})
		l.partition(&api.Partition{Path: "a/y"})
		l.partition(&api.Partition{Path: "b", Policy: policy.Draw(rt, "policy of b"), Guarantee: l.cpus("guarantee of b", 0, 2*len(nodes))})
		paths := rapid.SampledFrom([]string{"default", "default", "a", "a/x", "a/y", "b"})
		for range rapid.IntRange(2, 8).Draw(rt, "steps") {
			if l.now = l.now.Add(time.Hour); rapid.Bool().Draw(rt, "offers") {
				l.offer(rapid.IntRange(1, 6).Draw(rt, "offers"))
			}
			for range rapid.IntRange(0, 3).Draw(rt, "jobs") {
				j := batchOf(paths.Draw(rt, "partition"), rapid.IntRange(1, 4).Draw(rt, "tasks"), api.MilliCPU(1000*rapid.IntRange(1, 3).Draw(rt, "cpus")), 1<<20)
				j.Priority = rapid.IntRange(0, 2).Draw(rt, "priority")
				l.submit("ann", j)
			}
			beside += l.owed(func(*api.Job, string) {})
			l.settle()
			l.checkLoans()
			covered := map[string][]*api.Job{}
			l.owed(func(j *api.Job, top string) { covered[top] = append(covered[top], j) })
			for top, jobs := range covered {
				if len(jobs) == l.waiting(top) {
					for _, j := range jobs {
						l.nobodyHasItsRoom(j, top)
					}
				}
			}
		}
	})
	if beside == 0 {
		t.Error("no guarantee was used by offers: the test shows nothing")
	}
}

// owed yields the waiting jobs that the guarantee covers which counts against other trees,
// and tells how many it covers beside their partition's offers alone.
func (l *lending) owed(yield func(j *api.Job, top string)) (beside int) {
	v := l.View()
	for j := range v.LiveJobs() {
		if j.Counts.Pending == 0 {
			continue
		}
		top, _, _ := strings.Cut(j.Spec.Partition, "/")
		most, held, own := v.Partition(top).Guarantee.CPUs, api.MilliCPU(0), v.Usage(j.Spec.Partition).Offered.CPUs
		for p := range v.Partitions() {
			if api.PathWithin(p.Path, top) {
				held += api.MilliCPU(charged(v, p.Path))
			}
		}
		switch need := j.Spec.CPUs; {
		case most == 0 || held-own+need > most:
			continue
		case held+need > most:
			beside++
		}
		yield(j, top)
	}
	return beside
}

// waiting is how many jobs wait in a tree.
func (l *lending) waiting(top string) (n int) {
	for j := range l.View().LiveJobs() {
		if j.Counts.Pending > 0 && api.PathWithin(j.Spec.Partition, top) {
			n++
		}
	}
	return n
}

func (l *lending) nobodyHasItsRoom(j *api.Job, top string) {
	v := l.View()
	for n := range v.Nodes() {
		if room := l.roomOf(v, n.ID, j.Spec.Partition); room >= j.Spec.CPUs {
			l.rt.Fatalf("%s waits for %v, which the guarantee of %s covers; %s could give %v:\n%s", j.ID, j.Spec.CPUs, top, n.Name, room, l.picture())
		}
	}
}

// roomOf is what a node could give to a partition's jobs: what is free, what is on offer in
// the partition, and what those hold to whom nothing is guaranteed.
func (l *lending) roomOf(v *fsm.View, node, path string) api.MilliCPU {
	lent := func(other string) bool { return other == api.DefaultPartition }
	room := v.Free(node).CPUs
	for o := range v.Offers() {
		if o.NodeID == node && (o.Partition == path || lent(o.Partition)) {
			room += o.Resources.CPUs
		}
	}
	for t := range v.NodeTasks(node) {
		if lent(t.Partition) {
			room += t.Resources.CPUs
		}
	}
	return room
}

func (l *lending) picture() string {
	var b strings.Builder
	v := l.View()
	for p := range v.Partitions() {
		u := v.Usage(p.Path)
		fmt.Fprintf(&b, "%s: guarantee %v, tasks %v, offers %v, %d wait\n", p.Path, p.Guarantee.CPUs, u.Allocated.CPUs, u.Offered.CPUs, u.Pending)
	}
	for t := range v.Tasks() {
		fmt.Fprintf(&b, "task %s of %s: %v on %s\n", t.ID, t.Partition, t.Resources.CPUs, t.Node)
	}
	for o := range v.Offers() {
		fmt.Fprintf(&b, "offer %s of %s: %v on %s\n", o.ID, o.Partition, o.Resources.CPUs, o.NodeID)
	}
	return b.String()
}

// The offers that end for whom a guarantee covers beside them are as few as do, and all of
// those beside it below one guarantee are taken into account together.
func TestOffersBelowAGuaranteeAreGivenBackTogether(t *testing.T) {
	four := api.Resources{CPUs: 4000, Mem: 4 << 30}
	for _, c := range []struct {
		name   string
		path   string // of the job
		cpus   api.MilliCPU
		gang   int
		offers map[string]api.MilliCPU // by partition, on a node of its own each
		stand  int
	}{
		{"its own", "a/x", 2000, 0, map[string]api.MilliCPU{"a/x": 4000}, 0},
		{"as few as do", "a/x", 1000, 0, map[string]api.MilliCPU{"a/x": 3000, "a/y": 1000}, 1},
		{"its own first", "a/x", 1000, 0, map[string]api.MilliCPU{"a/x": 1000, "a/y": 3000}, 1},
		{"its siblings'", "a", 2000, 0, map[string]api.MilliCPU{"a/x": 1000, "a/y": 3000}, 1},
		{"all together", "a", 4000, 0, map[string]api.MilliCPU{"a/x": 2000, "a/y": 2000}, 0},
		{"a gang", "a/x", 2000, 2, map[string]api.MilliCPU{"a/x": 4000}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShared(t, []api.Resources{four, four, four})
			s.partition(&api.Partition{Path: "a", Guarantee: api.Amounts{CPUs: 4000}})
			s.partition(&api.Partition{Path: "a/x"})
			s.partition(&api.Partition{Path: "a/y"})
			made := &fsm.OfferMake{Meta: s.meta()}
			for i, path := range []string{"a/x", "a/y"} {
				if n := c.offers[path]; n > 0 {
					made.Offers = append(made.Offers, &api.Offer{ID: "o-" + path, Partition: path, NodeID: fmt.Sprint("id", i), Resources: api.Resources{CPUs: n, Mem: 1 << 20}, Expires: s.now.Add(time.Hour)})
				}
			}
			s.do(made)
			s.submit("ann", batchOf("default", 12, 1000, 1<<20))
			s.settle()
			j := batchOf(c.path, 1, c.cpus, 1<<20)
			if j.Constraints = []api.Constraint{{Attr: "zone", Op: "=", Value: "2"}}; c.gang > 0 {
				j.Array, j.Gang = "", c.gang
			}
			id := s.submit("ann", j)
			before := s.preempt
			s.settle()
			stand := 0
			for range s.View().Offers() {
				stand++
			}
			want := max(1, c.gang)
			if got := s.View().Job(id).Counts.Running; got != want || stand != c.stand || s.preempt-before != want*int(c.cpus)/1000 {
				t.Errorf("%d of %d run, %d of others were preempted, and %d offers stand, want %d", got, want, s.preempt-before, stand, c.stand)
			}
		})
	}
}

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// Whatever jobs and frameworks ask for, and whatever ends: what partitions are
// charged is what their tasks and offers hold, at every entry; no limit is passed by
// both together; whom a guarantee covers does not wait for room that is on offer
// beyond another's; and nobody else takes what is on offer within a guarantee.
func TestOffersAreLoans(t *testing.T) {
	ended := 0
	draw.Check(t, func(rt *rapid.T) {
		nodes := make([]api.Resources, rapid.IntRange(1, 4).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = api.Resources{CPUs: 4000, Mem: 4 << 30}
		}
		l := &lending{shared: newShared(rt, nodes), rt: rt}
		l.partition(&api.Partition{Path: "a", Guarantee: l.cpus("guarantee of a", 0, 4*len(nodes)/2)})
		l.partition(&api.Partition{Path: "b", Guarantee: l.cpus("guarantee of b", 0, 4*len(nodes)/2), Limit: l.cpus("limit of b", 2*len(nodes), 4*len(nodes))})
		l.partition(&api.Partition{Path: "c", Limit: l.cpus("limit of c", 2, 6)})
		l.partition(&api.Partition{Path: "c/d", Weight: 3000})
		for range rapid.IntRange(3, 10).Draw(rt, "steps") {
			l.now = l.now.Add(time.Second)
			switch rapid.SampledFrom([]string{"jobs", "offers", "offers", "ends", "declines"}).Draw(rt, "step") {
			case "jobs":
				l.submit("ann", batchOf(l.path(), rapid.IntRange(1, 6).Draw(rt, "tasks"), 1000, 1<<20))
			case "offers":
				l.offer(rapid.IntRange(1, 4).Draw(rt, "offers"))
			case "ends":
				for task := range l.View().Tasks() {
					if task.Holds() && task.State == api.TaskRunning && rapid.Bool().Draw(rt, "ends") {
						l.report(task, api.TaskFinished, false)
					}
				}
			case "declines":
				l.do(&fsm.OfferRemove{Meta: l.meta(), IDs: []string{fmt.Sprint("o", rapid.IntRange(0, max(l.made-1, 0)).Draw(rt, "declined"))}})
			}
			l.checkLoans()
			l.pass()
			l.nobodyWaitsForALoan()
			l.obey()
		}
		ended += l.ended
	})
	if ended == 0 {
		t.Error("no offer was taken back: the test shows nothing")
	}
}

// lending is a cluster with frameworks.
type lending struct {
	*shared
	rt    *rapid.T
	made  int // offers
	ended int // those that were taken back
}

// Wants has frameworks in all partitions that want another offer.
func (l *lending) Wants(string) int { return 1 }

var _ allocator.Claimant = (*lending)(nil)

func (l *lending) path() string {
	return rapid.SampledFrom([]string{"default", "a", "b", "c", "c/d"}).Draw(l.rt, "partition")
}

func (l *lending) cpus(name string, least, most int) api.Amounts {
	return api.Amounts{CPUs: api.MilliCPU(rapid.IntRange(least, most).Draw(l.rt, name)) * 1000}
}

// offer makes so many offers of what is free, in the order of a round.
func (l *lending) offer(n int) {
	v := l.View()
	r := allocator.Begin(v, l)
	free := map[string]api.Resources{}
	for node := range v.Nodes() {
		free[node.ID] = v.Free(node.ID)
	}
	c := &fsm.OfferMake{Meta: l.meta()}
	for path := r.Next(); path != "" && len(c.Offers) < n; path = r.Next() {
		some := api.Resources{CPUs: api.MilliCPU(rapid.IntRange(1, 4).Draw(l.rt, "offered")) * 1000, Mem: 1 << 20}
		node := fmt.Sprint("id", rapid.IntRange(0, len(free)-1).Draw(l.rt, "node"))
		if !free[node].Fits(some) || r.Room(path, some) != "" {
			r.Done(path)
			continue
		}
		free[node] = free[node].Minus(some)
		r.Charge(path, some)
		c.Offers = append(c.Offers, &api.Offer{ID: fmt.Sprint("o", l.made), Partition: path, NodeID: node, Resources: some, Created: l.now, Expires: l.now.Add(time.Minute)})
		l.made++
	}
	if beyond := rapid.Bool().Draw(l.rt, "an offer beyond the limit"); beyond {
		c.Offers = append(c.Offers, &api.Offer{ID: fmt.Sprint("o", l.made), Partition: "c", NodeID: "id0", Resources: api.Resources{CPUs: 4000}})
		l.made++
	}
	l.do(c)
}

// pass lets the scheduler decide once, and checks each entry.
func (l *lending) pass() {
	changes, all := l.watch.Take()
	l.engine.Update(l.View(), changes, all)
	cmds, _ := l.engine.Decide(l.now)
	for _, c := range append(cmds, controller.Decide(l.View(), l.now, nil, true)...) {
		before := l.View()
		if _, err := l.Propose(context.Background(), c); err != nil {
			l.rt.Fatalf("%v", err)
		}
		l.checkLoans()
		if p, ok := c.(*fsm.TaskPlace); ok {
			l.checkTaken(before, p)
		}
	}
}

func charged(v *fsm.View, path string) int64 {
	u := v.Usage(path)
	return int64(u.Charged().CPUs)
}

// checkTaken checks that a guarantee keeps what is on offer within it from whom none covers.
func (l *lending) checkTaken(before *fsm.View, c *fsm.TaskPlace) {
	stands := map[string]bool{}
	for o := range l.View().Offers() {
		stands[o.ID] = true
	}
	by := map[string]string{}
	for _, p := range c.Placements {
		task := l.View().TaskOf(p.Job, p.Index)
		if !task.Holds() {
			l.rt.Fatalf("%s was decided on this state, and refused: %+v", task.ID, p)
		}
		for _, id := range p.Rescind {
			by[id] = task.Partition
			if stands[id] {
				l.rt.Fatalf("offer %s stands beside the task that takes its room", id)
			}
		}
	}
	for o := range before.Offers() {
		winner, taken := by[o.ID]
		switch {
		case !taken && !stands[o.ID]:
			l.rt.Fatalf("offer %s is gone by itself", o.ID)
		case !taken:
			continue
		}
		l.ended++
		mine, its := before.Partition(winner), before.Partition(o.Partition)
		if winner != o.Partition && charged(before, winner) >= int64(mine.Guarantee.CPUs) && charged(before, o.Partition) <= int64(its.Guarantee.CPUs) {
			l.rt.Fatalf("%s has %d of the %d that it is guaranteed and took offer %s of %v from %s, which has %d of %d", winner, charged(before, winner), mine.Guarantee.CPUs,
				o.ID, o.Resources, o.Partition, charged(before, o.Partition), its.Guarantee.CPUs)
		}
	}
}

// checkLoans recounts what partitions and nodes are charged.
func (l *lending) checkLoans() {
	v := l.View()
	part, node := map[string]api.Resources{}, map[string]api.Resources{}
	add := func(path, on string, r api.Resources) {
		for up := path; up != ""; up = api.ParentPath(up) {
			part[up] = part[up].Add(r)
		}
		node[on] = node[on].Add(r)
	}
	for task := range v.Tasks() {
		if task.Holds() {
			add(task.Partition, task.NodeID, task.Held())
		}
	}
	for o := range v.Offers() {
		add(o.Partition, o.NodeID, o.Resources)
	}
	for _, s := range (allocator.Planner{}).Status(v) {
		if got := s.Charged(); !got.Equal(part[s.Path]) {
			l.rt.Fatalf("%s is charged %v, its tasks and offers are %v", s.Path, got, part[s.Path])
		}
		if most := s.Limit.CPUs; most > 0 && part[s.Path].CPUs > most {
			l.rt.Fatalf("%s holds %v, above its limit of %v", s.Path, part[s.Path], most)
		}
	}
	for n := range v.Nodes() {
		if !n.Resources.Fits(node[n.ID]) {
			l.rt.Fatalf("%s gives %v of %v", n.Name, node[n.ID], n.Resources)
		}
	}
}

// nobodyWaitsForALoan checks that no task for which a guarantee stands waits for room
// of which enough is free, or on offer beyond another guarantee.
func (l *lending) nobodyWaitsForALoan() {
	v := l.View()
	need := api.Resources{CPUs: 1000, Mem: 1 << 20}
	for p := range v.Partitions() {
		u := v.Usage(p.Path)
		if u.Pending == 0 || charged(v, p.Path)+1000 > int64(p.Guarantee.CPUs) {
			continue
		}
		for n := range v.Nodes() {
			free := v.Free(n.ID)
			for o := range v.Offers() {
				if other := v.Partition(o.Partition); o.NodeID == n.ID && charged(v, o.Partition)-1000 >= int64(other.Guarantee.CPUs) {
					free = free.Add(o.Resources)
				}
			}
			if free.Fits(need) {
				l.rt.Fatalf("%s has %d of the %v that it is guaranteed, and %d tasks wait beside %v on %s", p.Path, charged(v, p.Path), p.Guarantee.CPUs, u.Pending, free, n.Name)
			}
		}
	}
}

// What a guarantee takes back for one task may be offers and tasks, for a gang what
// is on offer on several nodes, and below a limit an offer on any.
func TestLoansEndForWhomThereIsNoOtherRoom(t *testing.T) {
	four := api.Resources{CPUs: 4000, Mem: 4 << 30}
	offer := func(s *shared, id, path, node string, cpus api.MilliCPU) {
		s.do(&fsm.OfferMake{Meta: s.meta(), Offers: []*api.Offer{{ID: id, Partition: path, NodeID: node, Resources: api.Resources{CPUs: cpus}, Expires: s.now.Add(time.Hour)}}})
	}
	runs := func(s *shared, job string, want int) {
		t.Helper()
		s.settle()
		offers := 0
		for range s.View().Offers() {
			offers++
		}
		if got := s.View().Job(job).Counts.Running; got != want || offers > 0 {
			t.Errorf("%d tasks run, want %d; %d offers stand", got, want, offers)
		}
	}
	t.Run("offers and tasks", func(t *testing.T) {
		s := newShared(t, []api.Resources{four})
		s.partition(&api.Partition{Path: "a", Guarantee: api.Amounts{CPUs: 4000}})
		s.submit("ann", batchOf("default", 2, 1000, 1<<20))
		s.settle()
		offer(s, "o1", "default", "id0", 2000)
		runs(s, s.submit("ann", batchOf("a", 1, 4000, 1<<20)), 1)
	})
	t.Run("a gang", func(t *testing.T) {
		s := newShared(t, []api.Resources{four, four})
		s.partition(&api.Partition{Path: "a", Guarantee: api.Amounts{CPUs: 6000}})
		offer(s, "o1", "default", "id0", 4000)
		offer(s, "o2", "default", "id1", 4000)
		gang := batchOf("a", 2, 3000, 1<<20)
		gang.Array, gang.Gang = "", 2
		runs(s, s.submit("ann", gang), 2)
	})
	t.Run("below a limit", func(t *testing.T) {
		s := newShared(t, []api.Resources{four, four})
		s.partition(&api.Partition{Path: "a", Limit: api.Amounts{CPUs: 4000}})
		offer(s, "o1", "a", "id0", 4000)
		runs(s, s.submit("ann", batchOf("a", 1, 2000, 1<<20)), 1)
	})
	t.Run("a limit that sank", func(t *testing.T) {
		s := newShared(t, []api.Resources{four, four})
		s.partition(&api.Partition{Path: "a", Limit: api.Amounts{CPUs: 8000}})
		job := s.submit("ann", batchOf("a", 2, 1000, 1<<20))
		s.settle()
		offer(s, "o1", "a", "id0", 2000)
		s.partition(&api.Partition{Path: "a", Limit: api.Amounts{CPUs: 2000}})
		runs(s, job, 2)
	})
}

// What is on offer is for whom it would be free to: room that the first of a queue
// waits for, on nodes or below a limit, is not taken by those behind it that end later,
// be it free or on offer.
func TestTheFirstKeepsWhatIsOnOffer(t *testing.T) {
	two := api.Resources{CPUs: 2000, Mem: 1 << 20}
	for _, c := range []struct {
		name        string
		node, limit api.MilliCPU
		offered     string // to a framework of which partition
	}{
		{"free", 6000, 0, ""},
		{"its partition's", 6000, 0, "p"},
		{"another's, which has more", 6000, 0, "other"},
		{"below a limit, free", 16000, 6000, ""},
		{"below a limit", 16000, 6000, "p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShared(t, []api.Resources{{CPUs: c.node, Mem: 4 << 30}, {CPUs: 16000, Mem: 4 << 30}})
			s.partition(&api.Partition{Path: "p", Limit: api.Amounts{CPUs: c.limit}})
			s.partition(&api.Partition{Path: "other"})
			on := func(zone, path string, tasks int, cpus api.MilliCPU, d time.Duration) string {
				j := batchOf(path, tasks, cpus, 1<<20)
				j.Time, j.Constraints = api.Duration(d), []api.Constraint{{Attr: "zone", Op: "=", Value: zone}}
				id := s.submit("ann", j)
				s.settle()
				return id
			}
			on("1", "other", 1, 16000, 0)
			first := on("0", "p", 1, 2000, time.Hour)
			if c.offered != "" {
				s.do(&fsm.OfferMake{Meta: s.meta(), Offers: []*api.Offer{{ID: "o1", Partition: c.offered, NodeID: "id0", Resources: two, Expires: s.now.Add(3 * time.Hour)}}})
			}
			large := on("0", "p", 1, 6000, time.Hour)
			late, early := on("0", "p", 1, 2000, 2*time.Hour), on("0", "p", 1, 2000, time.Hour)
			runs := func(id string) bool { return s.View().Job(id).Counts.Running > 0 }
			if runs(large) || runs(late) || !runs(early) {
				t.Errorf("large %v, late %v, early %v: only the one that ends in time may start behind the large one", runs(large), runs(late), runs(early))
			}
			s.now = s.now.Add(time.Hour)
			for _, id := range []string{first, early} {
				if runs(id) {
					s.report(s.View().TaskOf(id, 0), api.TaskFinished, false)
				}
			}
			s.settle()
			if !runs(large) {
				t.Error("the large one does not run once the others have ended")
			}
		})
	}
}

// What is on offer is free to the jobs of its partition, and to who may take it back
// below a limit of both, so the order of what waits is the same without it.
func TestTheOrderIsTheSameBesideOffers(t *testing.T) {
	for _, offered := range []string{"a/x", "a/y"} {
		for _, tasks := range []int{1, 12} { // more than all room is for
			t.Run(fmt.Sprint(offered, "/", tasks), func(t *testing.T) {
				order := func(offers bool) (out []string) {
					s := newShared(t, []api.Resources{{CPUs: 8000, Mem: 4 << 30}})
					s.partition(&api.Partition{Path: "a", Limit: api.Amounts{CPUs: 4000}})
					s.partition(&api.Partition{Path: "a/x"})
					s.partition(&api.Partition{Path: "a/y"})
					s.submit("bob", batchOf("default", 4, 1000, 1<<20))
					s.settle()
					if offers {
						s.do(&fsm.OfferMake{Meta: s.meta(), Offers: []*api.Offer{{ID: "o1", Partition: offered, NodeID: "id0", Resources: api.Resources{CPUs: 4000}, Expires: s.now.Add(time.Hour)}}})
					}
					s.submit("ann", batchOf("a/x", tasks, 1000, 1<<20))
					s.submit("bob", batchOf("default", tasks, 1000, 1<<20))
					changes, all := s.watch.Take()
					s.engine.Update(s.View(), changes, all)
					s.engine.InOrder(s.now).Continue(func(p scheduler.Place) bool {
						out = append(out, fmt.Sprint(p.Job.Spec.Partition, " ", p.Tasks, " ", p.Limit))
						return true
					})
					return out
				}
				if free, beside := order(false), order(true); !slices.Equal(free, beside) {
					t.Errorf("beside offers\n%s\nand without\n%s", strings.Join(beside, "\n"), strings.Join(free, "\n"))
				}
			})
		}
	}
}

// A guarantee keeps of several offers of one node what is within it, as it does of one.
func TestAGuaranteeKeepsOffersTogether(t *testing.T) {
	four := api.Resources{CPUs: 4000, Mem: 4 << 30}
	for _, c := range []struct {
		guarantee api.MilliCPU // of whom the offers are
		taken     bool
	}{{0, true}, {2000, false}} {
		s := newShared(t, []api.Resources{four, four})
		s.partition(&api.Partition{Path: "a", Guarantee: api.Amounts{CPUs: 4000}})
		s.partition(&api.Partition{Path: "b", Guarantee: api.Amounts{CPUs: c.guarantee}})
		for _, id := range []string{"o1", "o2"} {
			s.do(&fsm.OfferMake{Meta: s.meta(), Offers: []*api.Offer{{ID: id, Partition: "b", NodeID: "id0", Resources: api.Resources{CPUs: 2000}, Expires: s.now.Add(time.Hour)}}})
		}
		j := batchOf("a", 1, 4000, 1<<20)
		j.Constraints = []api.Constraint{{Attr: "zone", Op: "=", Value: "0"}}
		id := s.submit("ann", j)
		s.settle()
		stand := 0
		for range s.View().Offers() {
			stand++
		}
		if runs := s.View().Job(id).Counts.Running == 1; runs != c.taken || (stand == 0) != c.taken {
			t.Errorf("b is guaranteed %v: a's job runs: %v, %d offers stand", c.guarantee, runs, stand)
		}
	}
}

// What a guarantee keeps of what is on offer, it keeps where the partition above it
// holds more than its own guarantee, too.
func TestANestedGuaranteeKeepsItsOffers(t *testing.T) {
	for _, kept := range []api.MilliCPU{0, 4000} { // for whom the offer is
		four := api.Resources{CPUs: 4000, Mem: 4 << 30}
		s := newShared(t, []api.Resources{four, four})
		s.partition(&api.Partition{Path: "x", Guarantee: api.Amounts{CPUs: 4000}})
		s.partition(&api.Partition{Path: "x/a", Guarantee: api.Amounts{CPUs: kept}})
		s.partition(&api.Partition{Path: "w"})
		j := batchOf("x", 4, 1000, 1<<20)
		j.Constraints = []api.Constraint{{Attr: "zone", Op: "=", Value: "0"}}
		s.submit("ann", j)
		s.settle()
		s.do(&fsm.OfferMake{Meta: s.meta(), Offers: []*api.Offer{{ID: "o1", Partition: "x/a", NodeID: "id1", Resources: api.Resources{CPUs: 4000}, Expires: s.now.Add(time.Hour)}}})
		id := s.submit("bob", batchOf("w", 1, 1000, 1<<20))
		s.settle()
		if runs := s.View().Job(id).Counts.Running == 1; runs != (kept == 0) {
			t.Errorf("x/a is guaranteed %v, of which %v is on offer: who is guaranteed nothing runs there: %v", kept, four.CPUs, runs)
		}
	}
}

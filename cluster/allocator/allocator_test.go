package allocator

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

var t0 = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC) // a Monday

// cluster makes a store with four nodes of four cores and 8 GiB; the first two
// are in zone a, the others in zone b.
func cluster(t testing.TB) *fsm.Store {
	t.Helper()
	s := fsm.NewStore(nil)
	cmds := []fsm.Command{&fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: t0}, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{},
		Node: &api.Node{ID: "id0", Name: "n0"}}, &fsm.TokenCreate{Meta: fsm.Meta{At: t0}, Token: &api.Token{ID: "t", Hash: "h"}}}
	for i := range 4 {
		id := fmt.Sprint("id", i)
		if i > 0 {
			cmds = append(cmds, &fsm.NodeJoin{Meta: fsm.Meta{At: t0}, Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		cmds = append(cmds, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: id, Hello: api.NodeHello{Addr: "x:1", Attrs: map[string]string{"zone": string("aabb"[i])},
			Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
	}
	do(t, s, cmds...)
	return s
}

func do(t testing.TB, s *fsm.Store, cmds ...fsm.Command) {
	t.Helper()
	res, err := s.Propose(context.Background(), cmds...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func put(t testing.TB, s *fsm.Store, p *api.Partition) {
	t.Helper()
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: p})
}

func putOf(p *api.Partition) *fsm.PartitionPut {
	return &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: p}
}

// submit makes a batch of one-core tasks, of which the first so many run.
func submit(t testing.TB, s *fsm.Store, partition string, tasks, run int) *api.Job {
	t.Helper()
	spec := &api.JobSpec{Kind: api.KindBatch, Partition: partition, Array: fmt.Sprintf("0-%d", tasks-1),
		TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}, Placing: api.Placing{Request: api.Request{CPUs: 1000, Mem: 1 << 30}}}}
	spec.Normalize()
	res, err := s.Propose(context.Background(), &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
	if err != nil || res[0].Err != nil {
		t.Fatal(err, res)
	}
	j := res[0].Value.(*api.Job)
	place := &fsm.TaskPlace{Meta: fsm.Meta{At: t0}}
	report := &fsm.TaskReport{Meta: fsm.Meta{At: t0}}
	free := map[string]api.MilliCPU{}
	for n := range s.View().Nodes() {
		free[n.ID] = s.View().Free(n.ID).CPUs
	}
	for i := range run {
		node := ""
		for k := range 4 { // the next one that has room
			if id := fmt.Sprint("id", (i+k)%4); node == "" && free[id] >= 1000 {
				node = id
				free[id] -= 1000
			}
		}
		place.Placements = append(place.Placements, fsm.Placement{Job: j.ID, Index: i, Attempt: 1, NodeID: node})
		report.Statuses = append(report.Statuses, api.TaskStatus{Task: api.TaskID(j.ID, i), Attempt: 1, NodeID: node, State: api.TaskRunning, Time: t0})
	}
	if run > 0 {
		do(t, s, place, report)
	}
	return j
}

func cpus(n float64) api.Amounts { return api.Amounts{CPUs: api.MilliCPU(n * 1000)} }

func status(t testing.TB, s *fsm.Store, path string) api.PartitionStatus {
	t.Helper()
	for _, st := range (Planner{}).Status(s.View()) {
		if st.Path == path {
			return st
		}
	}
	t.Fatalf("no partition %s", path)
	return api.PartitionStatus{}
}

func TestFairShares(t *testing.T) {
	s := cluster(t)
	put(t, s, &api.Partition{Path: "a"})
	put(t, s, &api.Partition{Path: "b", Weight: 3000})
	put(t, s, &api.Partition{Path: "c", Guarantee: cpus(4)})
	put(t, s, &api.Partition{Path: "d", Limit: cpus(0.5)})
	put(t, s, &api.Partition{Path: "e", Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}}, Weight: 100_000})
	put(t, s, &api.Partition{Path: "e/f"})
	put(t, s, &api.Partition{Path: "g"})
	put(t, s, &api.Partition{Path: "h", Weight: 100_000, TaskRules: api.TaskRules{MaxRunning: 1}})
	submit(t, s, "h", 20, 1) // of which no more may run
	for _, p := range []string{"a", "b", "c", "d", "e/f"} {
		submit(t, s, p, 20, 0)
	}
	do(t, s, &fsm.JobHold{Meta: fsm.Meta{At: t0}, ID: submit(t, s, "g", 20, 0).ID}) // which wants nothing now
	// e may have what zone a has, half of the cluster, c its guarantee of a
	// quarter, d its limit of a 32nd, h what it holds, a 16th; a and b share the rest, one to three.
	rest := 1 - 0.5 - 0.25 - 1.0/32 - 1.0/16
	for path, want := range map[string]float64{"a": rest / 4, "b": rest * 3 / 4, "c": 0.25, "d": 1.0 / 32, "e": 0.5, "e/f": 0.5, "g": 0, "h": 1.0 / 16, "default": 0} {
		if got := status(t, s, path).Fair; math.Abs(got-want) > 1e-6 {
			t.Errorf("the fair share of %s is %v, want %v", path, got, want)
		}
	}
	if c := status(t, s, "e/f").Capacity; c.CPUs != 8000 {
		t.Errorf("the pool of e/f has %v cpus: it may use only the nodes that e may", c.CPUs)
	}
}

func TestStatusOfLentAndBorrowed(t *testing.T) {
	s := cluster(t)
	put(t, s, &api.Partition{Path: "a", Guarantee: cpus(6)})
	put(t, s, &api.Partition{Path: "b", Guarantee: cpus(2)})
	submit(t, s, "a", 2, 2)
	submit(t, s, "b", 5, 5)
	a, b := status(t, s, "a"), status(t, s, "b")
	if a.Lent.CPUs != 4000 || !a.Borrowed.IsZero() || b.Borrowed.CPUs != 3000 || !b.Lent.IsZero() {
		t.Errorf("a lent %v and borrowed %v, b lent %v and borrowed %v", a.Lent, a.Borrowed, b.Lent, b.Borrowed)
	}
	if math.Abs(b.Share-5.0/16) > 1e-9 {
		t.Errorf("b's share is %v", b.Share)
	}
}

func TestPlanWarns(t *testing.T) {
	s := cluster(t)
	pl := Planner{Now: func() time.Time { return t0 }}
	put(t, s, &api.Partition{Path: "a", Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}}})
	c, err := pl.Plan(s.View(), putOf(&api.Partition{Path: "a/none", Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "b"}}}))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "no node matches") {
		t.Errorf("a selector that contradicts its parent's: %v, %v", c.Warnings, err)
	}
	c, err = pl.Plan(s.View(), putOf(&api.Partition{Path: "big", Guarantee: cpus(9), Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "a"}}}))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "more than the 8 that its nodes have") {
		t.Errorf("a guarantee above what its nodes have: %q, %v", c.Warnings, err)
	}
}

// guaranteed is what partitions are guaranteed now, in cpus.
func guaranteed(s *fsm.Store, paths ...string) []float64 {
	var out []float64
	for _, p := range paths {
		out = append(out, s.View().Partition(p).Guaranteed().CPUs.Cores())
	}
	return out
}

// step lets an allocator decide once and applies it.
func step(t testing.TB, s *fsm.Store, a *adjuster, now time.Time) (next time.Time) {
	t.Helper()
	cmds, next := a.decide(s.View(), now)
	if len(cmds) > 0 {
		do(t, s, cmds...)
	}
	if again, _ := a.decide(s.View(), now); len(again) > 0 {
		t.Fatalf("it does not come to rest: %+v", again[0])
	}
	return next
}

func TestGuaranteesFollowDemand(t *testing.T) {
	s := cluster(t)
	put(t, s, &api.Partition{Path: "low", Priority: 1, Adjust: &api.Adjust{Min: cpus(1), Max: cpus(12)}})
	put(t, s, &api.Partition{Path: "high", Priority: 5, Adjust: &api.Adjust{Min: cpus(2), Max: cpus(10)}})
	put(t, s, &api.Partition{Path: "fixed", Guarantee: cpus(3)})
	a := &adjuster{low: map[string]time.Time{}}
	now := t0
	expect := func(when string, want ...float64) {
		t.Helper()
		if got := guaranteed(s, "low", "high"); !slices.Equal(got, want) {
			t.Fatalf("%s: low and high are guaranteed %v, want %v", when, got, want)
		}
	}
	step(t, s, a, now)
	expect("without demand", 1, 2)
	do(t, s, &fsm.OfferMake{Meta: fsm.Meta{At: now}, Offers: []*api.Offer{{ID: "o", Partition: "high", NodeID: "id0", Resources: api.Resources{CPUs: 4000}, Expires: now.Add(time.Hour)}}})
	step(t, s, a, now)
	expect("what is on offer is not demand", 1, 2)
	submit(t, s, "low", 20, 0)
	step(t, s, a, now)
	expect("low wants 20, and 16 less the 3 fixed and the other's 2 are there", 11, 2)
	high := submit(t, s, "high", 20, 0)
	step(t, s, a, now)
	expect("high goes first, up to its maximum", 3, 10)
	do(t, s, &fsm.JobStop{Meta: fsm.Meta{At: now}, ID: high.ID})
	if next := step(t, s, a, now); !next.Equal(now.Add(calm)) {
		t.Errorf("it looks again at %v", next)
	}
	expect("demand just fell", 3, 10)
	now = now.Add(calm)
	step(t, s, a, now)
	step(t, s, a, now)
	expect("a minute later", 11, 2)
	e := s.RecentEvents(1)[0]
	if e.Kind != api.EventPartitionMoved || e.Actor != "allocator" || !strings.Contains(e.Message, "demand") {
		t.Errorf("the last change is told as %+v", e)
	}
}

// Whatever minimums, maximums, fixed guarantees and demand there are, no more is
// promised than the cluster has, whoever is first has its minimum if it is there,
// and nothing that is wanted is left.
func TestNoMoreIsPromisedThanThereIs(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := cluster(t) // of 16 cpus
		a := &adjuster{low: map[string]time.Time{}}
		left := int64(16)
		if n := r.Int64N(10); n > 0 {
			put(t, s, &api.Partition{Path: "fixed", Guarantee: cpus(float64(n))})
			left -= n
		}
		type part struct{ least, most, wants int64 }
		parts := make([]part, 1+r.IntN(4))
		var names []string
		for i := range parts {
			p := part{least: r.Int64N(10), wants: r.Int64N(20)}
			p.most = p.least + 1 + r.Int64N(12)
			name := fmt.Sprint("p", i)
			put(t, s, &api.Partition{Path: name, Priority: 9 - i, Adjust: &api.Adjust{Min: cpus(float64(p.least)), Max: cpus(float64(p.most))}})
			if p.wants > 0 {
				submit(t, s, name, int(p.wants), 0)
			}
			parts[i], names = p, append(names, name)
		}
		step(t, s, a, t0)
		var sum, wanted int64
		for i, g := range guaranteed(s, names...) {
			p := parts[i]
			is := int64(g)
			if first := min(p.least, left-sum); is < first || is > max(p.most, 0) {
				t.Errorf("seed %d: %s, of %+v, is promised %d with %d left", seed, names[i], p, is, left-sum)
			}
			sum += is
			wanted += min(p.most, max(p.least, p.wants))
		}
		if sum != min(left, wanted) {
			t.Errorf("seed %d: %d are promised of %d, and %d wanted: %+v", seed, sum, left, wanted, parts)
		}
	}
}

// The loop moves guarantees by the clock alone.
func TestGuaranteesFollowTimetable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cluster(t)
		time.Sleep(time.Until(t0))
		w, err := api.ParseWindow("mon-fri 08:00-18:00 UTC cpus=8")
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, &api.Partition{Path: "day", Guarantee: api.Amounts{CPUs: 1000, Mem: 1 << 30}, Adjust: &api.Adjust{Hours: []api.Window{w}}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- New(s, time.Now, slog.New(slog.DiscardHandler)).Run(ctx) }()
		for _, c := range []struct {
			after time.Duration
			want  float64
		}{{0, 1}, {119 * time.Minute, 1}, {2 * time.Minute, 8}, {9 * time.Hour, 8}, {time.Hour, 1}, {5 * 24 * time.Hour, 1}, {48*time.Hour - 5*time.Hour, 8}} {
			time.Sleep(c.after)
			synctest.Wait()
			if got := guaranteed(s, "day"); got[0] != c.want {
				t.Errorf("at %s it is guaranteed %v, want %v", time.Now().UTC().Format("Mon 15:04"), got, c.want)
			}
		}
		if m := s.View().Partition("day").Guaranteed().Mem; m != 1<<30 {
			t.Errorf("the window names no memory, and %v is guaranteed", m)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What a parent is guaranteed beyond its children's guarantees is for all of
// them; between two of them only their own count.
func TestEntitlementInATree(t *testing.T) {
	s := cluster(t)
	put(t, s, &api.Partition{Path: "ml", Guarantee: cpus(8)})
	put(t, s, &api.Partition{Path: "ml/train", Guarantee: cpus(2)})
	put(t, s, &api.Partition{Path: "ml/try"})
	put(t, s, &api.Partition{Path: "web", Guarantee: cpus(2)})
	submit(t, s, "ml/train", 20, 2)
	submit(t, s, "ml/try", 20, 4)
	submit(t, s, "web", 4, 2)
	submit(t, s, "default", 20, 4)
	one := api.Resources{CPUs: 1000}
	check := func(when string, winner, victim string, want bool) {
		t.Helper()
		if got := Begin(s.View()).MayReclaim(winner, victim, one, one); got != want {
			t.Errorf("%s: %s takes from %s: %v", when, winner, victim, got)
		}
	}
	check("ml has 6 of 8", "ml/train", "default", true)
	check("ml has 6 of 8", "ml/try", "default", true)
	check("train has what it is guaranteed", "ml/train", "ml/try", false)
	check("web has what it is guaranteed, and only that", "ml/try", "web", false)
	check("web has what it is guaranteed", "web", "default", false)
	check("nobody owes default", "default", "web", false)
	submit(t, s, "ml/try", 4, 4) // ml has 10 of 8
	check("ml has more than it is guaranteed", "ml/train", "default", false)
	check("ml borrows", "web", "ml/try", false) // web's own is met
	put(t, s, &api.Partition{Path: "ml/train", Guarantee: cpus(3)})
	check("train has 2 of 3, try borrowed within ml", "ml/train", "ml/try", true)
	check("that is not default's to give", "ml/train", "default", false)
}

// Who borrowed memory gives back memory, and keeps the CPUs that it is guaranteed.
func TestEachResourceIsLentByItself(t *testing.T) {
	gib := api.Bytes(1 << 30)
	g := api.Amounts{CPUs: 4000, Mem: 2 * gib}
	task := func(cpus api.MilliCPU, mem api.Bytes) api.Resources { return api.Resources{CPUs: cpus, Mem: mem} }
	for name, c := range map[string]struct {
		used, lost api.Resources
		want       bool
	}{
		"of its guaranteed CPUs, as it borrows memory":                {task(4100, 3*gib+64<<20), task(1000, 16<<20), false},
		"more memory than it borrowed":                                {task(4100, 3*gib+64<<20), task(100, 3*gib), false},
		"memory that it borrowed":                                     {task(2000, 4*gib), task(100, 2*gib), true},
		"memory that it borrowed, and all CPUs with it":               {task(2000, 4*gib), task(2000, gib), true},
		"CPUs that it borrowed":                                       {task(8000, gib), task(1000, gib/8), true},
		"the last of them":                                            {task(5000, gib), task(1000, gib/8), true},
		"more than the last":                                          {task(5000, gib), task(1001, gib/8), false},
		"of its guaranteed CPUs, of which it has just those":          {task(4000, 3*gib+64<<20), task(1000, 16<<20), false},
		"all its guaranteed CPUs, as it borrows a little memory":      {task(4000, 2*gib+50<<20), task(4000, 50<<20), false},
		"CPUs that it borrowed, with memory just above its guarantee": {task(8000, 2*gib+100<<20), task(1000, gib/5), true},
		"what is within both":                                         {task(4000, 2*gib), task(100, gib/8), false},
		"of both what it borrowed":                                    {task(5000, 3*gib), task(1000, gib), true},
		"of one what it borrowed, of one what not":                    {task(5000, 3*gib), task(1000, 2*gib), false},
		"what comes next, at the guarantee":                           {task(4000, gib), api.Resources{}, true},
		"what comes next, below it":                                   {task(3000, gib), api.Resources{}, false},
	} {
		if got := beyond(g, c.used, c.lost); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !beyond(api.Amounts{GPUs: 2}, api.Resources{CPUs: 1000, GPUs: 1}, task(1000, 1)) {
		t.Error("CPUs that nobody was promised are not lent, as the partition has too few GPUs")
	}
}

package offer

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/fsm"
)

var t0 = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

// bench is a cluster of nodes of four CPUs and 8 GiB, with a clock that is set.
type bench struct {
	t        testing.TB
	store    *fsm.Store
	desk     *Desk
	maker    *Maker
	now      time.Time
	held     map[string]api.Resources
	left     func() // is called as a pass begins
	takeBack func() // what was declined last
	wrote    int    // log entries of offers, made or ended
}

type claims func(string) int

func (c claims) Wants(p string) int { return c(p) }

func newBench(t testing.TB, nodes int) *bench {
	t.Helper()
	b := &bench{t: t, store: fsm.NewStore(nil), now: t0, left: func() {}}
	b.desk = NewDesk(func() time.Time { return b.now })
	b.maker = New(Config{Store: b.store, Desk: b.desk, Now: func() time.Time { return b.now }, Log: slog.New(slog.DiscardHandler),
		Left:  func() (uint64, map[string]api.Resources) { b.left(); return b.store.View().Index(), b.held },
		Begin: func(v *fsm.View, wants func(string) int) Round { return allocator.Begin(v, claims(wants)) }})
	b.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: b.meta(), Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id0", Name: "n0"}},
		&fsm.TokenCreate{Meta: b.meta(), Token: &api.Token{ID: "t", Hash: "h"}})
	for i := range nodes {
		id := fmt.Sprint("id", i)
		if i > 0 {
			b.do(&fsm.NodeJoin{Meta: b.meta(), Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		b.do(&fsm.NodeHello{Meta: b.meta(), ID: id, Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
	}
	return b
}

func (b *bench) meta() fsm.Meta { return fsm.Meta{At: b.now} }

func (b *bench) do(cmds ...fsm.Command) []fsm.Result {
	b.t.Helper()
	res, err := b.store.Propose(context.Background(), cmds...)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			b.t.Fatal(r.Err)
		}
	}
	return res
}

// connect has a framework take offers in partitions.
func (b *bench) connect(id string, partitions ...string) {
	b.t.Helper()
	b.do(&fsm.FrameworkPut{Meta: b.meta(), Connect: true, Framework: &api.Framework{ID: id, Name: id, Session: "s", Partitions: partitions}})
	b.desk.Connect(id, "s", nil, func(string, *api.Node) bool { return true })
}

// pass makes offers, and returns those that are new.
func (b *bench) pass() (out []*api.Offer, next time.Time) {
	b.t.Helper()
	_, out, next = b.maker.look(b.now)
	if len(out) > 0 {
		if n := b.do(&fsm.OfferMake{Meta: b.meta(), Offers: out})[0].Value.(int); n != len(out) {
			b.t.Fatalf("%d of %d offers that were decided stand", n, len(out))
		}
		b.wrote++
	}
	return out, next
}

// decline gives offers back, with a filter.
func (b *bench) decline(span time.Duration, offers ...*api.Offer) {
	b.t.Helper()
	c := &fsm.OfferRemove{Meta: b.meta(), Reason: "declined"}
	for _, o := range offers {
		c.IDs = append(c.IDs, o.ID)
	}
	b.do(c)
	b.wrote++
	for _, o := range offers {
		b.takeBack = b.desk.Refuse(o.Framework, o.Partition, o.NodeID, o.Resources, api.ReservedSum(o.Reserved), span, true)
	}
}

func owners(offers []*api.Offer) map[string]int {
	out := map[string]int{}
	for _, o := range offers {
		out[o.Framework]++
	}
	return out
}

func TestAllThatIsLeftIsOffered(t *testing.T) {
	b := newBench(t, 3)
	if out, _ := b.pass(); len(out) != 0 {
		t.Fatalf("%d offers to nobody", len(out))
	}
	b.connect("a", api.DefaultPartition)
	out, _ := b.pass()
	if len(out) != 3 || !out[0].Resources.Equal(api.Resources{CPUs: 4000, Mem: 8 << 30}) || !out[0].Expires.Equal(t0.Add(DefaultTimeout)) {
		t.Fatalf("offers %+v", out)
	}
	if again, _ := b.pass(); len(again) != 0 {
		t.Fatalf("what is on offer is offered again: %+v", again)
	}
}

func TestWhatWasDeclinedIsNotOfferedWhileItCounts(t *testing.T) {
	b := newBench(t, 1)
	b.connect("a", api.DefaultPartition)
	b.connect("b", api.DefaultPartition)
	first, _ := b.pass()
	b.decline(time.Hour, first...)
	second, _ := b.pass()
	if len(second) != 1 || second[0].Framework == first[0].Framework {
		t.Fatalf("after one declined it, it goes to %v", owners(second))
	}
	b.decline(time.Hour, second...)
	if out, next := b.pass(); len(out) != 0 || next.IsZero() {
		t.Fatalf("offers %v that both declined, or no time to look again: %v", owners(out), next)
	}
	b.desk.Revive(first[0].Framework, nil)
	out, _ := b.pass()
	if len(out) != 1 || out[0].Framework != first[0].Framework {
		t.Fatalf("who asks to see it again is not offered it: %v", owners(out))
	}
	b.decline(time.Hour, out...)
	b.do(&fsm.NodeHello{Meta: b.meta(), ID: "id0", Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 5000, Mem: 8 << 30}}})
	if out, _ := b.pass(); len(out) != 1 {
		t.Fatal("more than was declined is not offered")
	}
}

func TestSuppressedPartitionsGetNothing(t *testing.T) {
	b := newBench(t, 2)
	b.connect("a", api.DefaultPartition)
	b.desk.Suppress("a", []string{api.DefaultPartition})
	if out, _ := b.pass(); len(out) != 0 {
		t.Fatalf("offers %v", owners(out))
	}
	b.desk.Revive("a", []string{"other"})
	if out, _ := b.pass(); len(out) != 0 {
		t.Fatal("another partition was revived")
	}
	b.desk.Revive("a", nil)
	if out, _ := b.pass(); len(out) != 2 {
		t.Fatal("it was revived and is offered nothing")
	}
}

func TestHeldRoomIsNotOffered(t *testing.T) {
	b := newBench(t, 2)
	b.connect("a", api.DefaultPartition)
	b.held = map[string]api.Resources{"id0": {CPUs: 4000, Mem: 1 << 30}, "id1": {CPUs: 1000, Mem: 1 << 30}}
	out, _ := b.pass()
	if len(out) != 1 || out[0].NodeID != "id1" || !out[0].Resources.Equal(api.Resources{CPUs: 3000, Mem: 7 << 30}) {
		t.Fatalf("offers %+v", out)
	}
}

func TestOffersStayBelowLimitsAndSharesDecide(t *testing.T) {
	b := newBench(t, 4)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "small", Limit: api.Amounts{CPUs: 2000}, Weight: 1000}},
		&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "big", Weight: 1000}})
	b.connect("small-1", "small")
	b.connect("big-1", "big")
	b.connect("big-2", "big")
	out, _ := b.pass()
	of := map[string]api.Resources{}
	for _, o := range out {
		of[o.Framework] = of[o.Framework].Add(o.Resources)
	}
	if c := of["small-1"].CPUs; c > 2000 || c < 1900 {
		t.Errorf("the partition with a limit of 2 CPUs is offered %s", c)
	}
	if of["big-1"].CPUs == 0 || of["big-2"].CPUs == 0 {
		t.Errorf("one framework has all of its partition: %v", of)
	}
}

// Frameworks that want nothing cost nearly nothing, however many, and none is passed over
// for ever.
func TestDecliningFrameworksRest(t *testing.T) {
	b := newBench(t, 3)
	for i := range 50 {
		b.connect(fmt.Sprint("f", i), api.DefaultPartition)
	}
	seen := map[string]int{}
	b.declineAll(seen, t0.Add(15*time.Minute))
	if len(seen) != 50 {
		t.Fatalf("%d of 50 frameworks were offered something in the first minutes", len(seen))
	}
	b.wrote = 0
	clear(seen)
	b.declineAll(seen, b.now.Add(time.Hour))
	if perMinute := float64(b.wrote) / 60; perMinute > 2.1 {
		t.Errorf("%.1f log entries a minute", perMinute)
	}
	if len(seen) != 50 {
		t.Errorf("%d of 50 frameworks were offered something in an hour", len(seen))
	}
}

// Whatever frameworks do: no two offers have the same room, none has what a task has, and
// in the end somebody has all that is left.
func TestRandomFrameworks(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBench(t, 1+r.IntN(4))
		for range 60 {
			b.now = b.now.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
			id := fmt.Sprint("f", r.IntN(3))
			switch f := b.store.View().Framework(id); {
			case f == nil:
				b.connect(id, api.DefaultPartition)
			case r.IntN(10) == 0:
				b.connect(id, api.DefaultPartition)
			case r.IntN(4) == 0 && f.Connected:
				b.desk.Revive(id, nil)
			}
			b.pass()
			for o := range b.store.View().Offers() {
				switch r.IntN(4) {
				case 0:
					b.decline(time.Duration(r.IntN(6))*time.Second, o)
				case 1:
					b.accept(o, r)
				}
			}
			b.check()
		}
	}
}

// accept starts something in a part of an offer.
func (b *bench) accept(o *api.Offer, r *rand.Rand) {
	b.t.Helper()
	b.start(o, fmt.Sprint("t", r.Uint32()), min(o.Resources.CPUs, api.MilliCPU(100*(1+r.IntN(20)))))
}

// start starts a task in a part of an offer.
func (b *bench) start(o *api.Offer, id string, cpus api.MilliCPU) {
	b.t.Helper()
	need := api.Resources{CPUs: cpus, Mem: 64 << 20}
	res := b.do(&fsm.FrameworkAccept{Meta: b.meta(), Framework: o.Framework, Session: "s", Offers: []string{o.ID}, Tasks: []fsm.FrameworkLaunch{
		{Task: &api.FrameworkTask{ID: id, Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"x"}}}}, Resources: need}}})
	if a := res[0].Value.(*fsm.Accepted); a.Invalid != "" || a.Refused[0] != "" {
		b.t.Fatalf("an offer that stands is refused: %+v", a)
	}
}

// end has a task end.
func (b *bench) end(id string) {
	b.t.Helper()
	v := b.store.View()
	for f := range v.Frameworks() {
		if task := v.FrameworkTask(f.ID, id); task != nil {
			b.do(&fsm.TaskReport{Meta: b.meta(), Statuses: []api.TaskStatus{{Task: task.ID, Attempt: task.Attempt, NodeID: task.NodeID, State: api.TaskFinished, Reason: api.ReasonExited, Time: b.now}}})
			return
		}
	}
	b.t.Fatalf("there is no task %s", id)
}

func (b *bench) check() {
	b.t.Helper()
	v := b.store.View()
	for n := range v.Nodes() {
		used := api.Resources{}
		for task := range v.NodeTasks(n.ID) {
			used = used.Add(task.Held())
		}
		for o := range v.Offers() {
			if o.NodeID == n.ID {
				used = used.Add(o.Resources)
			}
		}
		if !n.Resources.Fits(used) {
			b.t.Fatalf("node %s has %s, and %s are used and on offer", n.Name, n.Resources, used)
		}
	}
}

// Who takes a part of each offer is offered the rest as soon as it asked for, time after
// time: it declines nothing.
func TestWhoTakesSomethingIsNotSlowedDown(t *testing.T) {
	b := newBench(t, 1)
	b.connect("a", api.DefaultPartition)
	for i := range 10 {
		out, _ := b.pass()
		if len(out) != 1 {
			t.Fatalf("after %d times it is offered nothing", i)
		}
		b.start(out[0], fmt.Sprint("t", i), 100)
		b.desk.Refuse("a", api.DefaultPartition, out[0].NodeID, b.store.View().Free(out[0].NodeID), api.Resources{}, 5*time.Second, false)
		if again, next := b.pass(); len(again) != 0 || next.Sub(b.now) != 5*time.Second {
			t.Fatalf("after %d times the rest is offered %v, or in %s", i, again, next.Sub(b.now))
		}
		b.now = b.now.Add(5 * time.Second)
	}
}

// A partition's nodes are those that the partitions above it may use, too.
func TestOffersAreOfNodesOfThePartitionsAbove(t *testing.T) {
	b := newBench(t, 2)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "ml", Weight: 1000, Nodes: []api.Constraint{{Attr: "node.name", Op: "=", Value: "n1"}}}},
		&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "ml/train", Weight: 1000}})
	b.connect("a", "ml/train")
	if out, _ := b.pass(); len(out) != 1 || out[0].NodeID != "id1" {
		t.Errorf("offers %v", out)
	}
}

// declineAll has all offers declined for the usual time until then, and counts in seen
// how many each framework had.
func (b *bench) declineAll(seen map[string]int, until time.Time) {
	for b.now.Before(until) {
		out, next := b.pass()
		for who, n := range owners(out) {
			seen[who] += n
		}
		switch {
		case len(out) > 0:
			b.decline(5*time.Second, out...)
		case next.After(b.now):
			b.now = next
		default:
			b.now = until
		}
	}
}

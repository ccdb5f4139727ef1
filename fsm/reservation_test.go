package fsm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// At every index, under random frameworks and operators that reserve, use and
// give back, partitions that are bounded, drained and removed, tasks that are frozen, and
// nodes that drain, shrink and are lost: no limit is passed, what is held never exceeds capacity, what is used
// or offered of a reservation never exceeds it, and sums are what a slow recount finds, also
// of a snapshot.
func TestReservationsAddUp(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(14) {
		s := NewStore(nil)
		g := newGenerator(3*seed + 2)
		run := func(c Command) {
			before := s.View()
			out, err := s.Do(t.Context(), c)
			if err != nil && api.ErrorCode(err) == api.CodeInternal {
				t.Fatal(err)
			}
			if err != nil {
				noteRefused(seen, err.Error())
			} else if a, ok := out.(*Accepted); ok {
				for _, why := range a.Converted {
					noteRefused(seen, why)
				}
			}
			checkSums(t, s.View())
			if before.Cluster() != nil {
				limits(t.Fatalf, c, before, s.View())
			}
			noteDone(seen, c, before, s.View())
		}
		run(testInit())
		run(&TokenCreate{Meta: g.meta(), Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}})
		for i := range 3 {
			run(&NodeJoin{Meta: g.meta(), Token: "t1", Hash: "h", NodeID: nodeID(i), Name: fmt.Sprint("n", i)})
			h := testHello(8000)
			h.Level = int(Newest)
			run(&NodeHello{Meta: g.meta(), ID: nodeID(i), Hello: h})
		}
		for _, path := range []string{"ml", "ml/train"} {
			run(&PartitionPut{Meta: g.meta(), Partition: &api.Partition{Path: path}})
		}
		for range 600 {
			v := s.View()
			if c := g.freezing(v); c != nil && g.IntN(3) == 0 {
				run(c)
			}
			switch k := g.IntN(44); {
			case k == 0:
				n := v.Node(nodeID(g.IntN(3)))
				run(&NodeState{Meta: g.meta(), ID: n.ID, State: api.NodeUnreachable, Since: n.Since})
			case k == 1 && g.IntN(10) == 0:
				run(&NodeRemove{Meta: g.meta(), ID: nodeID(g.IntN(3)), Force: true})
			case k < 4:
				h := testHello([]api.MilliCPU{8000, 8000, 8000, 8000, 8000, 8000, 2000, 500}[g.IntN(8)])
				h.Level = int(Newest)
				run(&NodeHello{Meta: g.meta(), ID: nodeID(g.IntN(3)), Hello: h})
			case k == 4:
				run(&NodeDrain{Meta: g.meta(), ID: nodeID(g.IntN(3)), Drain: g.IntN(10) == 0})
			case k == 5:
				run(g.bounds([]int{1, 8, 12}[seed%3]))
			case k == 6:
				run(g.giveBack(v, nodeID(g.IntN(3)), "ml"))
			case k == 7:
				for i := range 3 {
					run(g.giveBack(v, nodeID(i), "ml/train"))
				}
				run(&PartitionRemove{Meta: g.meta(), Path: []string{"ml", "ml/train", "ml/train"}[g.IntN(3)], Drain: g.IntN(3) > 0})
			case k == 8:
				run(g.sharing(v))
			case k == 9 || k == 10:
				run(g.report(v))
			case k < 16:
				run(g.reservationChange(v))
			case k < 22:
				if f := v.Framework(frameworkID(g.IntN(3))); f != nil && len(f.Partitions) > 0 {
					run(g.offerReserved(v, f))
				}
			default:
				run(g.framework(v))
			}
			noteSeen(seen, s.View())
		}
		back := NewStore(nil)
		if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil || !bytes.Equal(snapshotBytes(t, back), snapshotBytes(t, s)) {
			t.Fatalf("a snapshot is another one once it is restored: %v", err)
		}
		checkSums(t, back.View())
	}
	for _, what := range []string{"reservation", "reservation offered", "reservation used", "volume", "volume offered", "volume used", "volume destroyed", "volume in use", "two volumes", "limit", "limit reached", "not guaranteed", "drained partition", "removed partition", "frozen", "thawed", "shrunk"} {
		if seen[what] == 0 {
			t.Errorf("no %s was there: %v", what, seen)
		}
	}
}

// noteDone notes what a random command came to.
func noteDone(seen map[string]int, c Command, before, after *View) {
	switch c := c.(type) {
	case *PartitionRemove:
		if was := before.Partition(c.Path); was != nil && after.Partition(c.Path) == nil {
			seen["removed partition"]++
		}
	case *TaskThaw:
		for _, v := range c.Victims {
			if t := after.TaskOf(v.Job, v.Index); t != nil && t.Framework != nil && len(t.Framework.Reserved) > 0 && before.TaskOf(v.Job, v.Index).Frozen && !t.Frozen {
				seen["thawed"]++
			}
		}
	case *ReservationChange:
		for r := range before.Reservations(c.NodeID) {
			if r.Volume != nil && after.Reservation(c.NodeID, r.ID) == nil {
				seen["volume destroyed"]++
			}
		}
	case *NodeHello:
		for r := range before.Reservations(c.ID) {
			if now := after.Reservation(c.ID, r.ID); now == nil || now.Resources.CPUs < r.Resources.CPUs {
				seen["shrunk"]++
			}
		}
	}
	for t := range after.FrozenTasks() {
		if t.Frozen && t.Framework != nil && len(t.Framework.Reserved) > 0 {
			seen["frozen"]++
		}
	}
	for p := range after.Partitions() {
		if p.Drain {
			seen["drained partition"]++
		}
		if p.LimitHard {
			seen["limit"]++
		}
	}
}

// noteRefused notes why a step was not done.
func noteRefused(seen map[string]int, why string) {
	for word, what := range map[string]string{"by its limit": "limit reached", "is guaranteed": "not guaranteed", "is in use": "volume in use", "already": "two volumes"} {
		if strings.Contains(why, word) {
			seen[what]++
		}
	}
}

func noteSeen(seen map[string]int, v *View) {
	for n := range v.Nodes() {
		for r := range v.Reservations(n.ID) {
			what := "reservation"
			if r.Volume != nil {
				what = "volume"
			}
			seen[what]++
			if !r.Offered.Equal(api.Resources{}) {
				seen[what+" offered"]++
			}
			if !r.Used.Equal(api.Resources{}) {
				seen[what+" used"]++
			}
		}
	}
}

package fsm

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// lending is a partition that may hold so many CPUs, with services that wait for one
// each and a gang of two.
func lending(t *testing.T, limit int64) *world {
	w := newWorld(t, Newest, 4)
	w.do(&PartitionPut{Meta: w.at(), Partition: &api.Partition{Path: "lim", Limit: api.Amounts{CPUs: api.MilliCPU(limit * 1000)}}})
	for _, name := range []string{"a", "b"} {
		w.do(&JobCreate{Meta: w.at(), Spec: inLim(name, api.KindService, 1)})
	}
	gang := inLim("gang", api.KindBatch, 2)
	gang.Gang = 2
	w.do(&JobCreate{Meta: w.at(), Spec: gang})
	return w
}

func inLim(name string, kind api.Kind, tasks int) *api.JobSpec {
	s := testSpec(kind, name, tasks)
	s.Partition, s.CPUs, s.Mem, s.Ports = "lim", 1000, 0, nil
	return s
}

func (w *world) offers(cpus ...api.MilliCPU) {
	w.Helper()
	c := &OfferMake{Meta: w.at()}
	for i, n := range cpus {
		c.Offers = append(c.Offers, &api.Offer{ID: fmt.Sprint("o", i), Partition: "lim", NodeID: nodeID(0), Resources: api.Resources{CPUs: n}, Expires: w.now.Add(time.Hour)})
	}
	w.do(c)
}

// puts places task 0 of services and all of the gang, and returns how many were.
func (w *world) puts(ps ...Placement) int {
	w.Helper()
	for i := range ps {
		ps[i].Attempt, ps[i].NodeID = 1, nodeID(1)
	}
	n, err := w.Do(w.Context(), &TaskPlace{Meta: w.at(), Placements: ps})
	if err != nil {
		w.Fatal(err)
	}
	return n.(int)
}

func (w *world) holds(cpus api.MilliCPU) {
	w.Helper()
	if u := w.View().Usage("lim"); u.Charged().CPUs != cpus {
		w.Errorf("the partition holds %v in tasks and %v on offer, want %v in all", u.Allocated.CPUs, u.Offered.CPUs, cpus)
	}
}

// Tasks and offers together stay below a limit, whatever became of that with which they
// were decided.
func TestTasksAndOffersTogetherStayBelowALimit(t *testing.T) {
	taking := Placement{Job: "a", Rescind: []string{"o0"}}
	gang := []Placement{{Job: "gang"}, {Job: "gang", Index: 1}}
	t.Run("the one that ends the offer is refused", func(t *testing.T) {
		w := lending(t, 2)
		w.offers(2000)
		w.do(&JobStop{Meta: w.at(), ID: "a"})
		if n := w.puts(taking, Placement{Job: "b"}); n != 0 {
			t.Errorf("%d are placed", n)
		}
		if n := w.puts(taking, gang[0], gang[1]); n != 0 {
			t.Errorf("%d of a gang are placed", n)
		}
		w.holds(2000)
	})
	t.Run("an offer was made meanwhile", func(t *testing.T) {
		w := lending(t, 2)
		w.offers(1000)
		if n := w.puts(gang...); n != 0 {
			t.Errorf("%d of a gang are placed beside the offer", n)
		}
		if n := w.puts(Placement{Job: "a"}, Placement{Job: "b"}); n != 1 {
			t.Errorf("%d are placed beside the offer, want 1", n)
		}
		w.holds(2000)
	})
	t.Run("what ends an offer counts on it", func(t *testing.T) {
		w := lending(t, 3)
		w.offers(2000, 1000)
		if n := w.puts(taking, Placement{Job: "b"}); n != 2 {
			t.Errorf("%d are placed, want 2", n)
		}
		w.holds(3000)
	})
	t.Run("so does a gang", func(t *testing.T) {
		w := lending(t, 3)
		w.offers(1000, 1000, 1000)
		first, second := gang[0], gang[1]
		first.Rescind, second.Rescind = []string{"o0"}, []string{"o1"}
		if n := w.puts(first, second); n != 2 {
			t.Errorf("%d are placed, want 2", n)
		}
		w.holds(3000)
	})
	t.Run("a limit of what it does not ask for is not in its way", func(t *testing.T) {
		w := lending(t, 3)
		w.do(&OfferMake{Meta: w.at(), Offers: []*api.Offer{{ID: "o", Partition: "lim", NodeID: nodeID(0), Resources: api.Resources{Mem: 2 << 20}, Expires: w.now.Add(time.Hour)}}})
		w.do(&PartitionPut{Meta: w.at(), Partition: &api.Partition{Path: "lim", Limit: api.Amounts{CPUs: 3000, Mem: 1 << 20}}})
		if n := w.puts(Placement{Job: "a"}); n != 1 {
			t.Errorf("%d are placed, want 1", n)
		}
	})
}

// An offer that a placement, or several of a gang, name twice ends once, and gives its
// room once.
func TestAnOfferEndsOnceHoweverOftenItIsNamed(t *testing.T) {
	w := newWorld(t, Newest, 1)
	room := w.View().Free(nodeID(0)).CPUs
	w.do(&PartitionPut{Meta: w.at(), Partition: &api.Partition{Path: "lim"}})
	large, gang := inLim("large", api.KindService, 1), inLim("gang", api.KindBatch, 2)
	large.CPUs, gang.CPUs, gang.Gang = room, room/2, 2
	w.do(&JobCreate{Meta: w.at(), Spec: large}, &JobCreate{Meta: w.at(), Spec: gang})
	w.offers(2000, 2000)
	put := func(ps ...Placement) int {
		t.Helper()
		for i := range ps {
			ps[i].Attempt, ps[i].NodeID = 1, nodeID(0)
		}
		n, err := w.Do(t.Context(), &TaskPlace{Meta: w.at(), Placements: ps})
		if err != nil {
			t.Fatal(err)
		}
		return n.(int)
	}
	if put(Placement{Job: "large", Rescind: []string{"o0", "o0"}}) != 0 {
		t.Error("a task has the room of an offer that stands")
	}
	if put(Placement{Job: "gang", Rescind: []string{"o0"}}, Placement{Job: "gang", Index: 1, Rescind: []string{"o0"}}) != 0 {
		t.Error("a gang has the room of an offer that stands")
	}
	if put(Placement{Job: "large", Rescind: []string{"o0", "o1", "o0"}}) != 1 {
		t.Error("both offers give their room, and it is not placed")
	}
	told := map[string]int{}
	for _, e := range w.RecentEvents(ringSize) {
		if e.Kind == api.EventOfferGone {
			told[e.Object]++
		}
	}
	if told["o0"] != 1 || told["o1"] != 1 {
		t.Errorf("it is told that they ended: %v", told)
	}
}

package offer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What a partition has reserved goes to its frameworks alone, also where nothing else is
// left of the node, and in the offer of what is left where something is.
func TestReservedRoomIsOfferedInItsPartition(t *testing.T) {
	for name, reserve := range map[string]api.Resources{
		"part of a node": {CPUs: 1000, Mem: 1 << 30},
		"all of it":      {CPUs: 4000, Mem: 8 << 30},
	} {
		b := newBench(t, 1)
		b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web", Weight: 1000}}, &fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "ml", Weight: 9000}})
		b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: "id0", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "web", Resources: reserve}}})
		b.connect("w", "web")
		b.connect("m", "ml")
		out, _ := b.pass()
		all := api.Resources{}
		for _, o := range out {
			all = all.Add(o.Whole())
			if reserved := api.ReservedSum(o.Reserved); o.Partition == "web" && !reserved.Equal(reserve) || o.Partition != "web" && len(o.Reserved) > 0 {
				t.Errorf("%s: %s is offered %s, reserved %s", name, o.Framework, o.Resources, reserved)
			}
		}
		if !all.Equal(api.Resources{CPUs: 4000, Mem: 8 << 30}) || owners(out)["w"] != 1 {
			t.Errorf("%s: offers %v have %s", name, owners(out), all)
		}
		if more, _ := b.pass(); len(more) != 0 {
			t.Errorf("%s: %d are made beside them", name, len(more))
		}
	}
}

// What was declined of it rests as any room does, and is offered at once where it is more.
func TestReservedRoomThatIsDeclined(t *testing.T) {
	b := newBench(t, 1)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web"}})
	reserve := func(r api.Resources) {
		b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: "id0", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "web", Resources: r}}})
	}
	reserve(api.Resources{CPUs: 1000, Mem: 1 << 30})
	b.connect("w", "web")
	out, _ := b.pass()
	if len(out) != 1 {
		t.Fatalf("%d offers", len(out))
	}
	b.decline(time.Hour, out...)
	if again, _ := b.pass(); len(again) != 0 {
		t.Errorf("%d offers after it was declined", len(again))
	}
	reserve(api.Resources{CPUs: 500})
	if again, _ := b.pass(); len(again) != 1 || api.ReservedSum(again[0].Reserved).CPUs != 1500 {
		t.Errorf("offers %+v once more is reserved", again)
	}
}

// What nobody takes is not asked about again and again, as many as are asked.
func TestReservedRoomThatNobodyTakesIsLeft(t *testing.T) {
	b := newBench(t, 101)
	all := api.Resources{CPUs: 4000, Mem: 8 << 30}
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web"}})
	for n := range 101 {
		b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: fmt.Sprint("id", n), Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "web", Resources: all}}})
	}
	for i := range maxReservedLooks/101 + 1 {
		id := fmt.Sprint("f", i)
		b.connect(id, "web")
		for n := range 101 {
			b.desk.Refuse(id, "web", fmt.Sprint("id", n), api.Resources{}, all, time.Hour, true)
		}
	}
	for range 3 {
		out, next := b.pass()
		if len(out) != 0 || !next.After(b.now) {
			t.Fatalf("%d offers, and the next pass %s from now", len(out), next.Sub(b.now))
		}
		b.now = next
	}
}

// A pass makes as much as fits a command and what is told of it; the next ones make the rest.
func TestReservedRoomIsOfferedByAndBy(t *testing.T) {
	b := newBench(t, 30)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web"}})
	for n := range 30 {
		var steps []fsm.ReservationStep
		for i := range api.MaxNodeReservations {
			s := fsm.ReservationStep{Kind: fsm.StepReserve, Partition: "web", Labels: map[string]string{"i": fmt.Sprint(i)}, Resources: api.Resources{CPUs: 1}}
			for k := range 15 {
				s.Labels[fmt.Sprint(k)] = strings.Repeat("x", 250)
			}
			steps = append(steps, s)
		}
		b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: fmt.Sprint("id", n), Steps: steps})
	}
	b.connect("w", "web")
	all, passes := map[string]bool{}, 0
	for ; len(all) < 30 && passes < 30; passes++ {
		out, _ := b.pass()
		if len(out) == 0 || len(out) > 6 {
			t.Fatalf("pass %d: %d offers", passes, len(out))
		}
		for _, o := range out {
			all[o.NodeID] = true
		}
	}
	if len(all) != 30 || passes < 5 {
		t.Errorf("%d nodes are offered after %d passes", len(all), passes)
	}
}

package offer

import (
	"fmt"
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

// What is reserved and what is not are refused each by itself: a refusal of one says nothing of
// the other.
func TestReservedAndOtherRoomAreRefusedEachByItself(t *testing.T) {
	b := newBench(t, 1)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web"}})
	reserve := func(r api.Resources) {
		b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: "id0", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "web", Resources: r}}})
	}
	b.connect("w", "web")
	out, _ := b.pass()
	b.decline(time.Hour, out...)
	for range 2 {
		reserve(api.Resources{CPUs: 1000, Mem: 1 << 30})
		out, _ := b.pass()
		if len(out) != 1 || !out[0].Resources.Equal(api.Resources{}) || len(out[0].Reserved) != 1 {
			t.Fatalf("offers %+v, not what is reserved alone", out)
		}
		b.decline(time.Hour, out...)
		if again, _ := b.pass(); len(again) != 0 {
			t.Fatalf("offers %+v of what was declined bit by bit", again)
		}
	}
}

// A refusal counts beside the ones before it: one of less, or for less long, ends none. Of
// one spot no more are kept than a few, those that last.
func TestRefusalsCountBesideOneAnother(t *testing.T) {
	all, some := api.Resources{CPUs: 4000, Mem: 8 << 30}, api.Resources{CPUs: 2000, Mem: 4 << 30}
	for name, later := range map[string]func(r refusals, at spot){
		"of less":      func(r refusals, at spot) { r.add(at, some, time.Minute, t0, true, false) },
		"for a moment": func(r refusals, at spot) { r.add(at, all, time.Second, t0, true, false) },
		"taken back": func(r refusals, at spot) {
			r.remove(at, r.add(at, all.Add(some), 24*time.Hour, t0, false, false))
		},
		"many": func(r refusals, at spot) {
			for i := range 3 * maxAtSpot {
				r.add(at, api.Resources{CPUs: api.MilliCPU(i), Disk: 1}, time.Minute, t0, true, false)
			}
		},
	} {
		r, at := refusals{}, spot{"web", "id0"}
		r.add(at, all, time.Hour, t0, true, false)
		later(r, at)
		if again := r.until(at, all, t0.Add(time.Minute)); again.Before(t0.Add(time.Hour)) {
			t.Errorf("%s: it may be offered again at %s", name, again)
		}
		if n := len(r[at]); n > maxAtSpot {
			t.Errorf("%s: %d refusals", name, n)
		}
	}
}

// Reserved room that all of its partition declined rests as any room does: many who decline it
// again and again cost little, and nobody is left out.
func TestReservedRoomThatAllDeclinedRests(t *testing.T) {
	b := newBench(t, 1)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web"}})
	b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: "id0", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "web", Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}}})
	for i := range 20 {
		b.connect(fmt.Sprint("f", i), "web")
	}
	seen := map[string]int{}
	b.declineAll(seen, t0.Add(15*time.Minute))
	b.wrote = 0
	clear(seen)
	if b.declineAll(seen, b.now.Add(time.Hour)); b.wrote > 2*60+10 {
		t.Errorf("%d log entries in an hour", b.wrote)
	}
	if len(seen) != 20 {
		t.Errorf("%d of 20 frameworks were offered something in an hour", len(seen))
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

// A pass makes as much as fits a command; the next ones make the rest.
func TestReservedRoomIsOfferedByAndBy(t *testing.T) {
	const nodes = 60
	b := newBench(t, nodes)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "web"}})
	for n := range nodes {
		var steps []fsm.ReservationStep
		for i := range api.MaxNodeReservations {
			s := fsm.ReservationStep{Kind: fsm.StepReserve, Partition: "web", Labels: map[string]string{"i": fmt.Sprint(i)}, Resources: api.Resources{CPUs: 1}}
			steps = append(steps, s)
		}
		b.do(&fsm.ReservationChange{Meta: b.meta(), NodeID: fmt.Sprint("id", n), Steps: steps})
	}
	b.connect("w", "web")
	all, passes := map[string]bool{}, 0
	for ; len(all) < nodes && passes < nodes; passes++ {
		out, _ := b.pass()
		if entry, err := fsm.Encode(&fsm.OfferMake{Offers: out}); err != nil || len(out) == 0 || len(entry) > 1<<20 {
			t.Fatalf("pass %d: %d offers, %d bytes: %v", passes, len(out), len(entry), err)
		}
		for _, o := range out {
			all[o.NodeID] = true
		}
	}
	if len(all) != nodes || passes < 2 {
		t.Errorf("%d nodes are offered after %d passes", len(all), passes)
	}
}

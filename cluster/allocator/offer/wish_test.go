package offer

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// waiting is two nodes, of each of which a task of "a" has half, and "big", which waits for
// all of one. Both were told of what is free, and "big" does not want it.
func waiting(t *testing.T) *bench {
	b := newBench(t, 2)
	b.connect("a", api.DefaultPartition)
	out, _ := b.pass()
	for _, o := range out {
		b.start(o, "t"+o.NodeID, 2000)
	}
	b.connect("big", api.DefaultPartition)
	b.desk.Request("big", []api.OfferRequest{{Partition: api.DefaultPartition, Need: api.Resources{CPUs: 4000, Mem: 1 << 30}}})
	return b
}

// What becomes free of one node is kept for who waits for all of it, and of no other.
func TestRoomIsKeptForWhoWaits(t *testing.T) {
	b := waiting(t)
	out, next := b.pass()
	if len(out) != 1 || !next.Equal(t0.Add(keepFor)) {
		t.Fatalf("offers %v, and looks again at %v", owners(out), next)
	}
	kept := map[string]string{"id0": "id1", "id1": "id0"}[out[0].NodeID]
	b.decline(time.Hour, out...)
	for range 3 { // whoever else there is
		b.now = b.now.Add(time.Minute)
		out, _ = b.pass()
		for _, o := range out {
			if o.NodeID == kept {
				t.Fatalf("%s is offered a part of what is kept", o.Framework)
			}
		}
		b.decline(0, out...)
	}
	b.end("t" + kept)
	out, _ = b.pass()
	var got *api.Offer
	for _, o := range out {
		if o.NodeID == kept {
			got = o
		}
	}
	if got == nil || got.Framework != "big" || got.Resources.CPUs != 4000 {
		t.Fatalf("offers %v", owners(out))
	}
	b.decline(0, out...)
	b.desk.Revive("a", nil)
	if out, _ = b.pass(); owners(out)["a"] == 0 {
		t.Errorf("it keeps what it was offered and did not want: %v", owners(out))
	}
}

// Nothing is kept for ever, nor for who is gone, nor more than half of the nodes.
func TestRoomIsNotKeptForEver(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"in time":    func(b *bench) { b.now = b.now.Add(keepFor) },
		"it is gone": func(b *bench) { b.desk.Leave("big", "s") },
		"it says so": func(b *bench) { b.desk.Request("big", nil) },
		"suppressed": func(b *bench) { b.desk.Suppress("big", []string{api.DefaultPartition}) },
	} {
		b := waiting(t)
		first, _ := b.pass()
		end(b)
		if more, _ := b.pass(); len(first)+len(more) != 2 {
			t.Errorf("%s: %d and %d offers", name, len(first), len(more))
		}
	}
	b := waiting(t)
	b.connect("big2", api.DefaultPartition)
	b.desk.Request("big2", []api.OfferRequest{{Partition: api.DefaultPartition, Need: api.Resources{CPUs: 4000}}})
	if out, _ := b.pass(); len(out) != 1 {
		t.Errorf("%d of two nodes are kept", 2-len(out))
	}
}

// Who says what it waits for is offered it before others, if there is such, and the least
// that has it.
func TestWhatIsWaitedForIsOfferedFirst(t *testing.T) {
	b := newBench(t, 2)
	b.connect("a", api.DefaultPartition)
	b.connect("b", api.DefaultPartition)
	first, _ := b.pass()
	for _, o := range first {
		b.start(o, "t"+o.NodeID, map[string]api.MilliCPU{"id0": 1000, "id1": 100}[o.NodeID])
	}
	for _, who := range []string{"a", "b"} {
		b.desk.Request(who, nil)
	}
	b.desk.Request("b", []api.OfferRequest{{Partition: api.DefaultPartition, Need: api.Resources{CPUs: 2000}}})
	out, _ := b.pass()
	for _, o := range out {
		if want := map[string]string{"id0": "b", "id1": "a"}[o.NodeID]; o.Framework != want {
			t.Errorf("%s is offered to %s", o.NodeID, o.Framework)
		}
	}
	if len(out) != 2 {
		t.Errorf("%d offers", len(out))
	}
}

// shared is a cluster of two nodes in which partition "rich" has much of both, framework "r"
// there waits for something, and "p", which has nothing in another partition, for nothing.
func shared(t *testing.T, guarantee api.MilliCPU) *bench {
	b := newBench(t, 2)
	b.do(&fsm.PartitionPut{Meta: b.meta(), Partition: &api.Partition{Path: "rich", Weight: 1000, Guarantee: api.Amounts{CPUs: guarantee}}})
	b.connect("r", "rich")
	out, _ := b.pass()
	for _, o := range out {
		b.start(o, "t"+o.NodeID, 2000)
	}
	b.connect("p", api.DefaultPartition)
	return b
}

// Who waits for something has it when the turn of its partition comes, and not before.
func TestAWishDoesNotJumpTheOrder(t *testing.T) {
	for guarantee, want := range map[api.MilliCPU]string{0: "p", 8000: "r"} {
		b := shared(t, guarantee)
		b.held = map[string]api.Resources{"id1": {CPUs: 4000}} // one room is free
		b.desk.Request("r", []api.OfferRequest{{Partition: "rich", Need: api.Resources{CPUs: 1000}}})
		out, _ := b.pass()
		if len(out) != 1 || out[0].Framework != want {
			t.Errorf("with a guarantee of %s the room is offered to %v", guarantee, owners(out))
		}
	}
}

// Nothing is kept from who would be served before, unless a guarantee covers it.
func TestNothingIsKeptOutOfTurn(t *testing.T) {
	for guarantee, kept := range map[api.MilliCPU]int{0: 0, 8000: 1} {
		b := shared(t, guarantee)
		b.desk.Request("r", []api.OfferRequest{{Partition: "rich", Need: api.Resources{CPUs: 3000}}})
		if out, _ := b.pass(); len(out) != 2-kept {
			t.Errorf("with a guarantee of %s there are offers to %v", guarantee, owners(out))
		}
	}
}

// What no node can have takes no node from others that wait.
func TestAWishForNoNodeKeepsNone(t *testing.T) {
	b := waiting(t)
	b.connect("a2", api.DefaultPartition)
	b.desk.Request("a2", []api.OfferRequest{{Partition: api.DefaultPartition, NodeID: "gone", Need: api.Resources{CPUs: 1000}}})
	if out, _ := b.pass(); len(out) != 1 {
		t.Errorf("%d of two nodes are kept", 2-len(out))
	}
}

package gossip

import (
	"testing"
	"time"

	"github.com/mesita/mesita/gossip/gossiptest"
)

// What a node says of itself it says at once, and continues; its goodbye is out in less
// than one interval of gossip, also where one does not answer, and known to all once those
// whom chance told nothing more have asked.
func TestNobodyWaitsForAnIntervalOfGossip(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7} {
		for _, deaf := range []bool{false, true} {
			bubble(t, func(t *testing.T, net *gossiptest.Network) {
				nodes := startAll(t, net, n)
				last := nodes[n-1]
				others := nodes[:n-1]
				begin := time.Now()
				for range 10 {
					check(t, last.UpdateMeta(last.self()))
				}
				if took := time.Since(begin); took > time.Millisecond {
					t.Errorf("of %d: to tell took %s", n, took)
				}
				if deaf && n > 2 {
					net.Isolate(others[0].addr, true)
					others = others[1:]
				}
				begin = time.Now()
				last.stop()
				if took := time.Since(begin); took > time.Second {
					t.Errorf("of %d, one of them deaf %v: the goodbye took %s", n, deaf, took)
				}
				for _, o := range others {
					within(t, 10*time.Second, "it has left", func() bool { return o.state(idOf(n)) == Left })
				}
			})
		}
	}
}

// What a node said before its goodbye may come after it: it has left all the same, until
// it starts again.
func TestAGoodbyeIsNotTakenBack(t *testing.T) {
	m := newMembers("here", func(EventType, Member) {})
	state := func() State {
		got, _ := m.get("n")
		return got.State
	}
	said := Meta{ID: "n", Boot: 7}
	m.present(said, EventJoin)
	m.leaves(said)
	m.present(said, EventUpdate)
	if m.suspect("n"); state() != Left {
		t.Errorf("it said goodbye and does not answer, and is %s", state())
	}
	if m.absent(said); state() != Left {
		t.Errorf("it said goodbye, and is %s", state())
	}
	said.Boot++
	m.present(said, EventJoin)
	if m.absent(said); state() != Failed {
		t.Errorf("it started again and was killed, and is %s", state())
	}
}

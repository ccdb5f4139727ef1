package cluster

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/gossip"
)

// What a node says of itself later does not take back what it said before: an
// older copy of its folder does not know better.
func TestSightingsOnlyGrow(t *testing.T) {
	var s sightings
	say := func(m gossip.Meta) { s.note([]gossip.Member{{Meta: m}}) }
	say(gossip.Meta{ID: "b", Starts: 4, Term: 7, LastTerm: 6, LastIndex: 900})
	say(gossip.Meta{ID: "b", Starts: 3, Term: 5, LastTerm: 5, LastIndex: 1000})
	say(gossip.Meta{ID: "c", Starts: 1})
	want := server.Sighting{Term: 7, LastTerm: 6, LastIndex: 900, Starts: 4}
	if got := s.get("b"); got != want {
		t.Errorf("b was seen at %+v", got)
	}
	say(gossip.Meta{ID: "b", Starts: 5, Term: 8, LastTerm: 8, LastIndex: 10})
	if got := s.get("b"); got != (server.Sighting{Term: 8, LastTerm: 8, LastIndex: 10, Starts: 5}) {
		t.Errorf("b was seen at %+v", got)
	}
	for i := range 2 * knownNodes {
		say(gossip.Meta{ID: string(rune(i))})
	}
	if len(s.of) > knownNodes || s.get("b").Starts != 5 {
		t.Errorf("%d nodes are remembered, b at %+v", len(s.of), s.get("b"))
	}
}

// Nodes answer while others are asked yet.
func TestManyAnswerAtOnce(t *testing.T) {
	at, asked := map[string]string{}, map[string]bool{}
	for i := range mostAsked {
		at[fmt.Sprint(i)] = ""
	}
	got := askAll(at, asked, func(id, _ string) (s server.Sighting, err error) {
		switch id {
		case "7":
			err = api.Errorf(api.CodeNotFound, "its program is older")
		case "8":
			err = errors.New("it does not answer")
		}
		return s, err
	})
	if len(got) != mostAsked-2 || len(asked) != mostAsked-1 || asked["8"] {
		t.Errorf("%d told, %d answered", len(got), len(asked))
	}
}

// A start is later than the one before for whoever hears of it, whatever the
// clock says and whether it can be remembered or not.
func TestStartsAreInOrderWhateverTheClock(t *testing.T) {
	a := agentIn(t, datadir.Node{NodeID: "a1", Name: "fir", Cluster: "pine"})
	last := uint64(0)
	for _, clock := range []uint64{2_000_000_000_000_000_001, 5, 2_000_000_000_000_000_001, 1_000, 3_000_000_000_000_000_000} {
		self, err := a.dir.Load()
		if err != nil {
			t.Fatal(err)
		}
		b := &Agent{cfg: a.cfg, log: a.log, dir: a.dir, store: a.store, self: self, started: clock}
		if err := b.countStart(); err != nil {
			t.Fatal(err)
		}
		if told := b.meta().Boot; told <= last || told < clock {
			t.Errorf("with the clock at %d a start tells %d after %d", clock, told, last)
		}
		last = b.meta().Boot
	}
	self, err := a.dir.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(a.dir.File("node.json.new"), 0o700); err != nil { // nothing can be written
		t.Fatal(err)
	}
	b := &Agent{cfg: a.cfg, log: a.log, dir: a.dir, store: a.store, self: self, started: 7}
	if err := b.countStart(); err == nil || b.meta().Boot <= last {
		t.Errorf("a start that cannot be kept tells %d after %d, %v", b.meta().Boot, last, err)
	}
}

// A folder whose count of starts an older program dropped is no older copy, until
// those who may have seen more were asked; one that has its count is.
func TestADroppedCountIsNoOlderCopy(t *testing.T) {
	a := agentIn(t, datadir.Node{NodeID: "a1", Name: "fir", Cluster: "pine"})
	start := func(fresh bool) *Agent {
		t.Helper()
		self, err := a.dir.Load()
		if err != nil {
			t.Fatal(err)
		}
		b := &Agent{cfg: a.cfg, log: a.log, dir: a.dir, store: a.store, self: self, fresh: fresh}
		if err := b.countStart(); err != nil {
			t.Fatal(err)
		}
		return b
	}
	start(true)
	if err := start(false).judgeStarts(5, true); err == nil {
		t.Error("a copy of a new folder is not noticed")
	}
	if err := a.changeSelf(func(n *datadir.Node) { n.Starts = 0 }); err != nil { // the older program
		t.Fatal(err)
	}
	for _, c := range []struct {
		seen       uint64
		all, older bool
	}{{0, false, false}, {50, false, false}, {60, true, false}, {61, true, false}, {62, false, false}, {90, false, true}} {
		b := start(false)
		if err := b.judgeStarts(c.seen, c.all); (err != nil) != c.older || b.meta().Starts < c.seen {
			t.Errorf("%d starts were seen: %v, and it tells %d", c.seen, err, b.meta().Starts)
		}
	}
}

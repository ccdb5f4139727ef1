package cluster

import (
	"testing"

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

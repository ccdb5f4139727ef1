package fsm

import (
	"bytes"
	"testing"

	"github.com/mesita/mesita/api"
)

// A demoted node may vote no more, until it is promoted, and the CA's key is due to be
// changed; the last that may vote stays.
func TestTheRightToVoteIsTaken(t *testing.T) {
	for level := range Newest + 1 {
		s := storeAt(t, level)
		for _, c := range []Command{&TokenCreate{Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}}, &NodeJoin{Token: "t", Hash: "h", NodeID: nodeID(7), Name: "elm"},
			&NodeJoin{Token: "t", Hash: "h", NodeID: nodeID(8), Name: "ash", VoterOnly: true}} {
			if _, err := s.Do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		may := s.View().MayVote()
		_, err := s.Do(t.Context(), &NodeDemote{ID: nodeID(7)})
		if level < 4 {
			if api.ErrorCode(err) != api.CodeConflict || s.View().MayVote() != may || s.View().Authority().CADue != 0 {
				t.Errorf("level %d: %v", level, err)
			}
			continue
		}
		if v := s.View(); err != nil || !v.Node(nodeID(7)).WorkerOnly || v.MayVote() != may-1 || v.Authority().CADue != 1 {
			t.Errorf("level %d: %v, %+v", level, err, v.Node(nodeID(7)))
		}
		back := NewStore(nil)
		if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil || back.View().Authority().CADue != 1 {
			t.Errorf("a snapshot forgets that the key is due: %v", err)
		}
		_, again := s.Do(t.Context(), &NodeDemote{ID: nodeID(7)})
		_, none := s.Do(t.Context(), &NodeDemote{ID: "none"})
		_, voter := s.Do(t.Context(), &NodeDemote{ID: nodeID(8)})
		if again != nil || api.ErrorCode(none) != api.CodeNotFound || api.ErrorCode(voter) != api.CodeConflict {
			t.Errorf("%v, %v, %v", again, none, voter)
		}
		var last error
		for n := range s.View().Nodes() {
			if n.ID != nodeID(8) {
				_, last = s.Do(t.Context(), &NodeDemote{ID: n.ID})
			}
		}
		if last != nil || s.View().MayVote() != 1 {
			t.Errorf("%v, %d may vote", last, s.View().MayVote())
		}
		if _, err := s.Do(t.Context(), &NodeRemove{ID: nodeID(8)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Do(t.Context(), &NodePromote{ID: nodeID(7)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Do(t.Context(), &NodeDemote{ID: nodeID(7)}); api.ErrorCode(err) != api.CodeConflict || s.View().MayVote() != 1 {
			t.Errorf("the last that may vote: %v", err)
		}
	}
}

// The key is not changed by what was decided before another node lost the right to
// vote: that one may get the log still. Nor is what is due forgotten by that.
func TestADebtOfBeforeIsNotPaid(t *testing.T) {
	s := storeAt(t, Newest)
	do := func(c Command, want api.Code) {
		t.Helper()
		if _, err := s.Do(t.Context(), c); api.ErrorCode(err) != want {
			t.Fatalf("%T: %v, want %q", c, err, want)
		}
	}
	begin := func(due uint64) *CARotate {
		a := s.View().Authority()
		return &CARotate{Step: a.CAStep, Due: due, Cert: []byte("c"), Key: []byte("k"), Pin: "p", Cross: []byte("x")}
	}
	do(&TokenCreate{Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}}, "")
	for n := range 3 {
		do(&NodeJoin{Token: "t", Hash: "h", NodeID: nodeID(70 + n), Name: "elm" + string(rune('a'+n))}, "")
	}
	asked := begin(0) // by an admin, while nothing is due
	do(&NodeDemote{ID: nodeID(70)}, "")
	do(asked, api.CodeConflict)
	decided := begin(1)
	do(&NodeRemove{ID: nodeID(71), Force: true}, "")
	do(&NodeDemote{ID: nodeID(72)}, "")
	do(decided, api.CodeConflict)
	if a := s.View().Authority(); a.CADue != 3 || a.CAStep != 0 || a.CANext != nil || a.CANextKey != nil {
		t.Errorf("%d are due at step %d", a.CADue, a.CAStep)
	}
	do(begin(3), "")
	if a := s.View().Authority(); a.CADue != 0 || a.CAStep != 1 {
		t.Errorf("%d are due at step %d", a.CADue, a.CAStep)
	}
}

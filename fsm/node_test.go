package fsm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// A node that was removed is not admitted again under its old key, which the
// proof of its removal names; below the level it is, as older programs do.
func TestRemovedKeyDoesNotJoin(t *testing.T) {
	for level := range Newest + 1 {
		s := storeAt(t, level)
		must := func(c Command) {
			t.Helper()
			if _, err := s.Do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		must(&TokenCreate{Token: &api.Token{ID: "tok", Kind: api.TokenJoin, Hash: "h"}})
		join := &NodeJoin{Token: "tok", Hash: "h", NodeID: nodeID(7), Name: "elm"}
		must(join)
		must(&NodeRemove{ID: nodeID(7)})
		_, err := s.Do(t.Context(), join)
		if level == 0 && err != nil || level > 0 && (api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "move the folder away")) {
			t.Errorf("level %d: %v", level, err)
		}
		other := *join
		other.NodeID, other.Name = nodeID(8), "fir"
		must(&other)
	}
}

// One start of a node's daemon holds its identity: another takes it over only
// from the one that the decision was made on, and the word of who lost it is
// refused. Who was turned away is an incident until the node starts anew.
func TestOneSessionHoldsANode(t *testing.T) {
	s := storeAt(t, 1)
	id, meta := nodeID(0), Meta{At: time.Unix(1e9, 0)}
	do := func(c Command) error { _, err := s.Do(t.Context(), c); return err }
	hello := func(session string) error {
		h := testHello(1000)
		h.Session = session
		return do(&NodeHello{Meta: meta, ID: id, Hello: h})
	}
	refused := func(err error) bool {
		var e *api.Error
		return errors.As(err, &e) && e.Code == api.CodeConflict && e.Field == api.FieldSession
	}
	if err := errors.Join(do(&NodeClaim{Meta: meta, ID: id, Session: "a"}), hello("a"), hello(""), do(&NodeClaim{Meta: meta, ID: id, Session: "a", Over: "x"})); err != nil {
		t.Fatal(err)
	}
	if err := hello("b"); !refused(err) || !refused(s.View().HoldsSession(id, "b")) || s.View().HoldsSession(id, "a") != nil || s.View().HoldsSession(id, "") != nil {
		t.Errorf("another session: %v", err)
	}
	if err := do(&NodeClaim{Meta: meta, ID: id, Session: "b", Over: "x"}); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("taken over from who does not hold it: %v", err)
	}
	for range 2 {
		if err := do(&NodeClaim{Meta: meta, ID: id, Session: "b", Over: "a", Refused: true, Addr: "10.0.0.9:5050"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.View().Copied(id); !strings.Contains(got, "10.0.0.9:5050") || s.View().Node(id).Session != "a" {
		t.Errorf("turned away: %q", got)
	}
	if err := errors.Join(do(&NodeClaim{Meta: meta, ID: id, Session: "b", Over: "a", Starts: 7}), hello("b")); err != nil || s.View().Copied(id) != "" || s.View().Node(id).DaemonStarts != 7 {
		t.Errorf("taken over: %v, %q", err, s.View().Copied(id))
	}
	if err := hello("a"); !refused(err) {
		t.Errorf("the one of before: %v", err)
	}
	if err := errors.Join(do(&NodeClaim{Meta: meta, ID: id, Session: "c", Over: "b", Refused: true}), do(&NodeRemove{Meta: meta, ID: id, Force: true})); err != nil || s.View().Copied(id) != "" {
		t.Errorf("removed: %v", err)
	}
	if err := do(&NodeClaim{Meta: meta, ID: id, Session: "d", Over: "b"}); api.ErrorCode(err) != api.CodeNotAllowed {
		t.Errorf("a removed node: %v", err)
	}
	if err := NewStore(nil).View().HoldsSession(id, "a"); err != nil {
		t.Error(err)
	}
}

// A hello that is earlier than the node it is about is asked for again: only one
// of a node that was removed is told so.
func TestHelloOfANodeThatIsNotThereYet(t *testing.T) {
	s, meta := NewStore(nil), Meta{At: time.Unix(1e9, 0)}
	do := func(c Command) error {
		_, err := s.Do(t.Context(), c)
		return err
	}
	hello := func() api.Code { return api.ErrorCode(do(&NodeHello{Meta: meta, ID: "a"})) }
	if got := hello(); got != api.CodeUnavailable {
		t.Errorf("before the cluster is made: %q", got)
	}
	init := &ClusterInit{Level: Newest, Meta: meta, Cluster: &api.Cluster{ID: "c"}, Authority: &api.Authority{}, Node: &api.Node{ID: "a", Name: "oak"}}
	if err := do(init); err != nil || hello() != "" {
		t.Errorf("once it is: %v", err)
	}
	if err := do(&NodeRemove{Meta: meta, ID: "a", Force: true}); err != nil || hello() != api.CodeNotAllowed {
		t.Errorf("once it was removed: %v", err)
	}
}

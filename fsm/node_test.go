package fsm

import (
	"bytes"
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

// Who joins with a token for workers may never vote, whatever it says of itself; a
// token that gives more lifts that, and none takes a right away. Voters that do
// not know such tokens never see one.
func TestATokenForWorkers(t *testing.T) {
	worker := &TokenCreate{Token: &api.Token{ID: "worker", Kind: api.TokenJoin, Hash: "h", WorkerOnly: true}}
	for _, level := range []Level{0, 1, 2} {
		if _, err := storeAt(t, level).Do(t.Context(), worker); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "workerOnly") {
			t.Errorf("level %d: %v", level, err)
		}
	}
	s := storeAt(t, Newest)
	do := func(c Command, want api.Code) {
		t.Helper()
		if _, err := s.Do(t.Context(), c); api.ErrorCode(err) != want {
			t.Errorf("%T: %v, want %q", c, err, want)
		}
	}
	join := func(token string, voterOnly bool, want api.Code, never bool) {
		t.Helper()
		c := &NodeJoin{Token: token, Hash: "h", NodeID: nodeID(7), Name: "elm", VoterOnly: voterOnly}
		do(c, want)
		if n := s.View().Node(nodeID(7)); (n != nil && n.WorkerOnly) != never {
			t.Errorf("after a join with %s: %+v", token, n)
		}
	}
	do(worker, "")
	do(&TokenCreate{Token: &api.Token{ID: "any", Kind: api.TokenJoin, Hash: "h"}}, "")
	join("worker", true, api.CodeNotAllowed, false)
	join("worker", false, "", true)
	join("worker", false, "", true) // its answer was lost
	do(&NodeHello{ID: nodeID(7), Hello: api.NodeHello{Addr: "x:1", VoterOnly: true, Resources: api.Resources{CPUs: 1}}}, "")
	if !s.View().Node(nodeID(7)).WorkerOnly {
		t.Error("a node says that it may vote")
	}
	back := NewStore(nil)
	if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil {
		t.Fatal(err)
	}
	if s = back; !s.View().Node(nodeID(7)).WorkerOnly || !s.View().Token("worker").WorkerOnly {
		t.Error("a snapshot forgets who may not vote")
	}
	join("any", false, "", false)
	join("worker", false, "", false)
}

// An admin gives a worker the right to vote later; a cluster that has voters which
// do not know that does not.
func TestTheRightToVoteIsGiven(t *testing.T) {
	for level := range Newest + 1 {
		s := storeAt(t, level)
		node := &NodeJoin{Token: "t", Hash: "h", NodeID: nodeID(7), Name: "elm"}
		for _, c := range []Command{&TokenCreate{Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h", WorkerOnly: level >= 3}}, node} {
			if _, err := s.Do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		may := s.View().MayVote()
		_, err := s.Do(t.Context(), &NodePromote{ID: nodeID(7)})
		if level < 4 {
			if api.ErrorCode(err) != api.CodeConflict || s.View().MayVote() != may {
				t.Errorf("level %d: %v", level, err)
			}
			continue
		}
		if err != nil || s.View().Node(nodeID(7)).WorkerOnly || s.View().MayVote() != may+1 {
			t.Errorf("level %d: %v, %+v", level, err, s.View().Node(nodeID(7)))
		}
		_, again := s.Do(t.Context(), &NodePromote{ID: nodeID(7)})
		_, none := s.Do(t.Context(), &NodePromote{ID: "none"})
		_, rm := s.Do(t.Context(), &NodeRemove{ID: nodeID(7)})
		_, gone := s.Do(t.Context(), &NodePromote{ID: nodeID(7)})
		if again != nil || rm != nil || api.ErrorCode(none) != api.CodeNotFound || api.ErrorCode(gone) != api.CodeConflict {
			t.Errorf("%v, %v, %v, %v", again, rm, none, gone)
		}
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

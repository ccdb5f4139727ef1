package cluster

import (
	"bytes"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// A removal changes the key, one step at a time, each once all nodes that are
// there have done the one before; whoever leads continues from where it is. A node
// that is away is not waited for.
func TestRemovalChangesTheGossipKey(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := fsm.NewStore(nil)
	do := func(c fsm.Command) {
		t.Helper()
		if _, err := s.Do(t.Context(), c); err != nil {
			t.Fatalf("%T: %v", c, err)
		}
	}
	meta := fsm.Meta{At: now}
	do(&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: now},
		Authority: &api.Authority{GossipKey: bytes.Repeat([]byte{1}, 32)}, Node: &api.Node{ID: "a", Name: "a"}})
	do(&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}})
	for _, id := range []string{"a", "b", "away", "gone", "later"} {
		if id != "a" {
			do(&fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: id, Name: id})
		}
		do(&fsm.NodeHello{Meta: meta, ID: id, Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 1}}})
	}
	do(&fsm.NodeState{Meta: meta, ID: "away", State: api.NodeDown, Since: s.View().Node("away").Since})
	steps := map[string]uint64{}
	next := func(at time.Time) bool {
		t.Helper()
		var members []gossip.Member
		for id, step := range steps {
			members = append(members, gossip.Member{ID: id, Meta: gossip.Meta{ID: id, Ring: step}})
		}
		cmd, _ := nextKeyStep(s.View(), members, at)
		if cmd != nil {
			cmd.Meta = fsm.Meta{At: at}
			do(cmd)
		}
		return cmd != nil
	}
	if next(now) {
		t.Error("the key changes for nothing")
	}
	for round, begin := range []func() time.Time{
		func() time.Time { do(&fsm.NodeRemove{Meta: meta, ID: "gone", Force: true}); return now },
		func() time.Time { do(&fsm.NodeRemove{Meta: meta, ID: "later", Force: true}); return now },
		func() time.Time { return now.Add(gossipKeyLife) }, // nobody was removed
	} {
		at, before := begin(), s.View().Authority()
		base := uint64(3 * round)
		for step := base + 1; step <= base+3; step++ {
			if !next(at) || s.View().Authority().GossipStep != step {
				t.Fatalf("round %d: no step %d: %+v", round, step, s.View().Authority().GossipStep)
			}
			if step < base+3 {
				steps["a"] = step
				if next(at) {
					t.Errorf("step %d is left while b has not done it", step)
				}
				steps["b"], steps["later"] = step, step
			}
		}
		if after := s.View().Authority(); bytes.Equal(after.GossipKey, before.GossipKey) || after.GossipNext != nil {
			t.Errorf("round %d: the key is %x after %x", round, after.GossipKey, before.GossipKey)
		}
		if round < 2 && next(at) {
			t.Errorf("round %d: the key changes again", round)
		}
	}
}

// What a node knows of the keys is on its disk before it says so, and never goes
// back; keepers keep theirs.
func TestANodeKeepsItsKeys(t *testing.T) {
	key := func(i byte) []byte { return bytes.Repeat([]byte{i}, 32) }
	n := datadir.Node{GossipKey: key(1)}
	if !bytes.Equal(n.KeepersKey(), key(1)) {
		t.Error("no key for keepers")
	}
	n.TakeRing(&api.GossipRing{Step: 1, Send: key(1), Also: [][]byte{key(2)}})
	n.TakeRing(&api.GossipRing{Step: 2, Send: key(2), Also: [][]byte{key(1)}})
	if !bytes.Equal(n.KeepersKey(), key(1)) || !bytes.Equal(n.GossipKey, key(2)) || n.GossipStep != 2 {
		t.Errorf("%+v", n)
	}
	joined := datadir.Node{GossipKey: key(2)}
	joined.TakeRing(&api.GossipRing{Step: 2, Send: key(2), Keeper: key(1)})
	if !bytes.Equal(joined.KeepersKey(), key(1)) {
		t.Error("who joins later derives another key for keepers")
	}
	a := agentIn(t, datadir.Node{NodeID: "me", Name: "oak", GossipKey: key(3), GossipStep: 6})
	for _, r := range []*api.GossipRing{nil, {Step: 7, Send: []byte("short")}, {Step: 6, Send: key(9)}, {Step: 5, Send: key(9)}} {
		a.takeRing(r)
	}
	if !bytes.Equal(a.self.GossipKey, key(3)) {
		t.Errorf("went back to %+v", a.self)
	}
}

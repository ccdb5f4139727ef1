package cluster

import (
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/fsm"
)

// A voter whose clock is ahead by more than certificates live takes the other
// voters' all the same, before it has read the state that knows them: else it
// would never read it. Others than those it does not take.
func TestVotersAreMembersBeforeTheStateIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.store = fsm.NewStore(nil)
		_, tr := raft.NewInmemTransport("10.0.0.1:5050")
		mem := raft.NewInmemStore()
		var err error
		a.raft, err = consensus.Open(consensus.Config{NodeID: "n1", Store: a.store, Transport: tr, Log: a.log, LogStore: mem, StableStore: mem, SnapshotStore: raft.NewInmemSnapshotStore()})
		if err != nil {
			t.Fatal(err)
		}
		a.stack = newStack()
		a.stack.start("raft", a.raft.Run)
		defer a.stack.stop()
		if a.isMemberOrVotes("n1") {
			t.Error("a member of nothing")
		}
		if err := a.raft.Bootstrap("10.0.0.1:5050"); err != nil {
			t.Fatal(err)
		}
		if a.isMember("n1") || !a.isMemberOrVotes("n1") || a.isMemberOrVotes("n2") {
			t.Errorf("known: %v; as a voter: %v; another: %v", a.isMember("n1"), a.isMemberOrVotes("n1"), a.isMemberOrVotes("n2"))
		}
	})
}

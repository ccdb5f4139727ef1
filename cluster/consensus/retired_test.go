package consensus

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// countedAsks counts how often a node asks whether it could be elected.
type countedAsks struct {
	*fastHearts
	n *atomic.Int64
}

func (c *countedAsks) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	c.n.Add(1)
	return c.fastHearts.RequestPreVote(id, addr, args, resp)
}

// A voter that was replaced while it was away learns it from whom it asks for a
// vote, is quiet from then on, and takes part again when a leader wants it to.
func TestAReplacedVoterGoesQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const x = 3
		var asked atomic.Int64
		c := newMemCluster(t, 4, func(i int, cfg *Config) {
			if i == x {
				cfg.Transport = &countedAsks{cfg.Transport.(*fastHearts), &asked}
			}
		})
		if c.leader() != 0 {
			t.Fatal("another leads")
		}
		c.cut(x)
		c.settle(5 * time.Second)
		if err := c.nodes[0].Remove(t.Context(), c.nodes[x].id); err != nil {
			t.Fatal(err)
		}
		c.nodes[0].must(t, createJob("meanwhile"))
		asked.Store(0)
		c.link(x)
		c.settle(5 * time.Second)
		if asked.Swap(0) == 0 {
			t.Fatal("it never asked")
		}
		if c.nodes[x].HasConfiguration() {
			t.Error("it takes itself for a member")
		}
		c.settle(10 * time.Minute)
		if n := asked.Load(); n > 0 {
			t.Errorf("it asked for a vote %d times in ten minutes", n)
		}
		if err := c.nodes[0].AddVoter(t.Context(), c.nodes[x].id, "a3"); err != nil {
			t.Fatal(err)
		}
		c.settle(time.Second)
		if !c.nodes[x].HasConfiguration() || c.nodes[x].store.View().Job("meanwhile") == nil {
			t.Error("it does not take part again")
		}
		c.cut(0)
		c.cut(1)
		c.settle(5 * time.Second)
		c.link(1) // so that it is needed
		c.cut(0)
		c.settle(10 * time.Second)
		c.nodes[c.leader(0)].must(t, createJob("with-x"))
	})
}

// Who knows less than a voter that asks does not tell it that it is none: it may
// have missed that it became one.
func TestOnlyWhoKnowsMoreRetiresAVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		last, err := c.nodes[1].Standing()
		if err != nil {
			t.Fatal(err)
		}
		ask := func(term, index uint64) bool {
			return c.nodes[1].retires(&raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ID: []byte("n9")}, LastLogTerm: term, LastLogIndex: index}) != nil
		}
		if !ask(last.LastTerm, last.LastIndex-1) || ask(last.LastTerm, last.LastIndex) || ask(last.LastTerm+1, 1) {
			t.Error("it judges whom it knows nothing about")
		}
	})
}

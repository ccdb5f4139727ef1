package consensus

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// asks is a request for a vote of a node that says to be at an address.
func asks(t *testing.T, n *member, id, addr string, term uint64) bool {
	t.Helper()
	last, err := n.Standing()
	if err != nil {
		t.Fatal(err)
	}
	to := n.cfg.Transport.(*fastHearts).InmemTransport
	tr := stranger(t, to)
	var resp raft.RequestVoteResponse
	err = tr.RequestVote(raft.ServerID(n.id), to.LocalAddr(), &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(addr)},
		Term:      term, LastLogIndex: last.LastIndex, LastLogTerm: last.LastTerm}, &resp)
	return err == nil && resp.Granted
}

// A vote is given to one node in a term, whatever addresses nodes have then, and
// also by a voter that was started anew, or stopped between the writes of a vote.
func TestAVoteIsOneNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		c.stop(0, 1)
		n := c.nodes[2]
		c.settle(10 * time.Second) // until it neither leads nor follows
		term := n.raft.CurrentTerm() + 10
		if !asks(t, n, "n0", "a0", term) {
			t.Fatal("no vote was given")
		}
		for range 2 {
			if asks(t, n, "n1", "a0", term) {
				t.Error("a second node, at the address of the first, got the vote of the same term")
			}
			if !asks(t, n, "n0", "a7", term) {
				t.Error("the vote is not given again to whom it was given, which has another address now")
			}
			c.stop(2)
			c.restart(2, disks[2], nil)
			n = c.nodes[2]
		}
		c.stop(2) // as if it had been killed in the middle of a vote for another
		l, err := disk.OpenLog(filepath.Join(disks[2].dir, disk.LogName), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{disk.KeyTerm, disk.KeyVoteTerm} {
			if err := l.SetUint64([]byte(key), term+1); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		c.restart(2, disks[2], nil)
		if n = c.nodes[2]; asks(t, n, "n0", "a0", term+1) {
			t.Error("a vote of an earlier term counts in this one")
		}
		if !asks(t, n, "n1", "a0", term+2) {
			t.Error("no vote is given in the next term")
		}
	})
}

// Whoever voted is known to have done so when the vote is out: a voter that loses
// its log at once does not take the leader of a term before for the newest.
func TestAVoteIsKnownOutsideOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, disks := diskVoters(t)
		c.stop(0, 1)
		c.settle(10 * time.Second)
		n := c.nodes[2]
		keep := n.Node.cfg.Remember
		n.Node.cfg.Remember = func(s Standing) error {
			time.Sleep(time.Second) // fake: a slow disk
			return keep(s)
		}
		term := n.raft.CurrentTerm() + 10
		if !asks(t, n, "n0", "a0", term) {
			t.Fatal("no vote was given")
		}
		disks[2].mu.Lock()
		defer disks[2].mu.Unlock()
		if got := disks[2].before; got == nil || got.Term != term || got.LastIndex == 0 {
			t.Errorf("it voted in term %d, and outside of its log is: %+v", term, got)
		}
	})
}

// A full disk, where the log has room left in its file, is not a reason not to vote.
func TestAVoteThatCannotBeKnownOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := diskVoters(t)
		c.stop(0, 1)
		c.settle(10 * time.Second)
		n := c.nodes[2]
		n.Node.cfg.Remember = func(Standing) error { return fmt.Errorf("no space") }
		if term := n.raft.CurrentTerm() + 10; !asks(t, n, "n0", "a0", term) || asks(t, n, "n1", "a1", term) {
			t.Error("it does not vote as it should")
		}
	})
}

// While a leader is heard nobody else gets a vote, and that one does, by its id: one
// that just lost the lead may stand again at once.
func TestTheLeaderMayAskAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		leader := c.leader()
		follower, other := c.nodes[(leader+1)%3], c.nodes[(leader+2)%3]
		term := follower.raft.CurrentTerm() + 1
		if asks(t, follower, other.id, "a0", term) {
			t.Error("another got a vote while the leader is heard")
		}
		if !asks(t, follower, c.nodes[leader].id, "a0", term) {
			t.Error("the leader asked anew, and got no vote")
		}
	})
}

package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// The lead goes to the voter that is named, and to no other node.
func TestTheLeadGoesToWhoIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		for range 2 {
			old := c.leader()
			to := (old + 2) % 3 // once at least not whom raft would choose
			if err := c.nodes[old].TransferTo(t.Context(), c.config(to).NodeID); err != nil {
				t.Fatal(err)
			}
			c.settle(time.Second)
			if now := c.leader(); now != to {
				t.Errorf("n%d leads, want n%d", now, to)
			}
		}
		if c.nodes[c.leader()].TransferTo(t.Context(), "nobody") == nil {
			t.Error("the lead was handed to nobody")
		}
	})
}

func TestThreeNodesFailOverAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		old := c.leader()
		c.nodes[old].must(t, createJob("a"))

		term, cancel, err := c.nodes[old].AwaitLeadership(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		c.cut(old)
		began := time.Now()
		for c.nodes[old].IsLeader() || !c.nodes[(old+1)%3].IsLeader() && !c.nodes[(old+2)%3].IsLeader() {
			c.settle(5 * time.Millisecond)
			if time.Since(began) > 5*time.Second {
				t.Fatal("no new leader")
			}
		}
		t.Logf("new leader after %v", time.Since(began))
		<-term.Done()
		if !errors.Is(context.Cause(term), ErrNotLeader) {
			t.Errorf("the term ended with %v", context.Cause(term))
		}
		if _, err := c.nodes[old].Propose(t.Context(), nil); err != nil {
			t.Errorf("nothing proposed: %v", err)
		}
		now := c.leader(old)
		c.nodes[now].must(t, createJob("b"), createJob("c"))

		c.link(old)
		c.settle(5 * time.Second)
		c.nodes[c.leader()].must(t, createJob("d"))
		c.settle(time.Second)
		want := c.nodes[0].bytes(t)
		for i, n := range c.nodes {
			if !bytes.Equal(n.bytes(t), want) {
				t.Errorf("the state of n%d differs", i)
			}
			if n.store.View().Job("d") == nil || !n.CaughtUp() {
				t.Errorf("n%d lacks the last entry, or does not know that it has it", i)
			}
		}
	})
}

func TestProposeWithoutQuorumIsUnknownAndThenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		c.cut(l)
		_, err := c.nodes[l].Propose(t.Context(), cmds("x", 1))
		if api.ErrorCode(err) != api.CodeUnknown {
			t.Errorf("while cut off: %v", err)
		}
		_, err = c.nodes[l].Propose(t.Context(), cmds("y", 1))
		if !errors.Is(err, ErrNotLeader) || api.ErrorCode(err) != api.CodeUnavailable {
			t.Errorf("after the lead is lost: %v", err)
		}
		if err := c.nodes[l].Barrier(t.Context()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("barrier: %v", err)
		}
		c.link(l)
		c.settle(5 * time.Second)
	})
}

func TestFollowersHearOfACommitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		c.settle(10 * time.Second)
		c.nodes[l].must(t, createJob("a"))
		c.settle(2 * announceAfter)
		for i, n := range c.nodes {
			if n.store.View().Job("a") == nil {
				t.Errorf("n%d has not heard of the commit after %v", i, 2*announceAfter)
			}
		}
	})
}

func TestIdleWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		before := c.nodes[c.leader()].LastIndex()
		c.settle(2 * time.Minute)
		if after := c.nodes[c.leader()].LastIndex(); after != before {
			t.Errorf("the log grew from %d to %d", before, after)
		}
	})
}

func TestLeaderHandsOverWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		began := time.Now()
		if err := c.nodes[l].end(); err != nil {
			t.Fatal(err)
		}
		c.settle(20 * time.Millisecond)
		c.leader(l)
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if _, err := c.nodes[l].Propose(t.Context(), cmds("x", 1)); api.ErrorCode(err) != api.CodeUnavailable {
			t.Errorf("propose after the end: %v", err)
		}
	})
}

func TestMembersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		gone := (l + 1) % 3
		if err := c.nodes[l].Remove(t.Context(), c.nodes[gone].id); err != nil {
			t.Fatal(err)
		}
		c.settle(time.Minute)
		if got := c.nodes[l].Voters(); len(got) != 2 {
			t.Errorf("voters: %v", got)
		}
		if c.nodes[gone].IsLeader() || c.leader() != l {
			t.Error("the removed node disturbed the others")
		}
		if err := c.nodes[l].AddVoter(t.Context(), c.nodes[gone].id, fmt.Sprintf("a%d", gone)); err != nil {
			t.Fatal(err)
		}
		if err := c.nodes[l].Demote(t.Context(), c.nodes[gone].id); err != nil {
			t.Fatal(err)
		}
		c.settle(time.Second)
		members, err := c.nodes[gone].Members()
		if err != nil || len(members) != 3 || members[gone].Voter {
			t.Errorf("members: %v, %v", members, err)
		}
		if err := c.nodes[(l+2)%3].AddVoter(t.Context(), "n9", "a9"); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower added a voter: %v", err)
		}
	})
}

// That a node takes no part in Raft is known once it is committed, and at the leader.
func TestWhoIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		gone, other := c.nodes[(l+1)%3].id, (l+2)%3
		out := func(i int, want bool) {
			t.Helper()
			if got := c.nodes[i].Lacks(gone); got != want {
				t.Errorf("%s says out: %v", c.nodes[i].id, got)
			}
		}
		out(l, false)
		c.cut(other)
		c.cut((l + 1) % 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.nodes[l].Remove(ctx, gone); err == nil || !c.nodes[l].IsLeader() {
			t.Fatalf("it is removed without a quorum: %v", err)
		}
		if members, err := c.nodes[l].Members(); err != nil || len(members) != 2 {
			t.Fatalf("its log says %v, %v", members, err)
		}
		out(l, false)
		c.link(other)
		c.link((l + 1) % 3)
		c.settle(time.Minute)
		l = c.leader()
		if err := c.nodes[l].Remove(t.Context(), gone); err != nil && c.nodes[l].id != gone {
			t.Fatal(err)
		}
		c.settle(time.Minute)
		l = c.leader()
		out(l, true)
		for i := range c.nodes {
			if i != l {
				out(i, false)
			}
		}
	})
}

func TestVoterThatDoesNotAnswerDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 1, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := c.nodes[0].AddVoter(ctx, "n1", "a1")
		if api.ErrorCode(err) != api.CodeTimeout {
			t.Errorf("%v", err)
		}
		c.nodes[0].must(t, createJob("a")) // it still decides alone
	})
}

func TestSlowDiskMakesElectionsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disks [3]*flakyLogs
		c := newMemCluster(t, 3, func(i int, cfg *Config) { disks[i] = flaky(cfg) })
		for _, d := range disks {
			d.delay.Store(int64(250 * time.Millisecond))
		}
		for i := range 5 {
			c.nodes[c.leader()].must(t, createJob(fmt.Sprint("slow", i)))
		}
		c.settle(time.Second)
		l := c.leader()
		for i, n := range c.nodes {
			if got := n.Stats().Patience; got != 4 {
				t.Errorf("n%d: patience %d", i, got)
			}
			wait, election := 4*heartbeatTimeout, 4*heartbeatTimeout
			if i == l {
				wait, election = heartbeatTimeout, handoverTimeout
			}
			if s := n.raft.ReloadableConfig(); s.ElectionTimeout != election || s.HeartbeatTimeout != wait {
				t.Errorf("n%d: election %v, heartbeat %v", i, s.ElectionTimeout, s.HeartbeatTimeout)
			}
		}
		before := c.nodes[l].Stats().Term
		c.settle(time.Minute)
		if c.leader() != l || c.nodes[l].Stats().Term != before {
			t.Error("the lead changed on a slow disk")
		}
		c.cut(l)
		began := time.Now()
		for !c.nodes[(l+1)%3].IsLeader() && !c.nodes[(l+2)%3].IsLeader() {
			c.settle(50 * time.Millisecond)
			if time.Since(began) > 30*time.Second {
				t.Fatal("no election was won on a slow disk")
			}
		}
		t.Logf("new leader on a slow disk after %v", time.Since(began))
		c.link(l)
		for _, d := range disks {
			d.delay.Store(0)
		}
		for i := range paceSamples + 30 {
			c.settle(3 * time.Second)
			c.nodes[c.leader()].must(t, createJob(fmt.Sprint("fast", i)))
		}
		if got := c.nodes[c.leader()].Stats().Patience; got != 1 {
			t.Errorf("patience %d once the disk is fast", got)
		}
	})
}

func TestFullDiskStepsDownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk *flakyLogs
		c := newMemCluster(t, 1, func(_ int, cfg *Config) { disk = flaky(cfg) })
		n := c.nodes[0]
		full := error(syscall.ENOSPC)
		disk.fail.Store(&full)
		_, err := n.Propose(t.Context(), cmds("x", 1))
		if api.ErrorCode(err) != api.CodeUnknown || n.Healthy() == nil || !strings.Contains(n.Healthy().Error(), "free some space") {
			t.Errorf("propose: %v, healthy: %v", err, n.Healthy())
		}
		c.settle(time.Minute)
		if n.IsLeader() {
			t.Error("it leads with a full disk")
		}
		disk.fail.Store(nil)
		c.settle(5 * time.Second)
		n.must(t, createJob("y"))
		if err := n.Healthy(); err != nil {
			t.Error(err)
		}
	})
}

func TestEndsWithAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk *flakyLogs
		c := newMemCluster(t, 1, func(_ int, cfg *Config) { disk = flaky(cfg) })
		full := error(syscall.ENOSPC)
		disk.fail.Store(&full)
		_, _ = c.nodes[0].Propose(t.Context(), cmds("x", 1))
		c.settle(time.Minute)
		if err := c.nodes[0].end(); err != nil {
			t.Error(err)
		}
	})
}

package consensus

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// killedAfterCut is a log store of a node that is killed between cutting the
// end of the log off and writing what comes in its place.
type killedAfterCut struct {
	*raft.InmemStore
	dead atomic.Bool
}

func (k *killedAfterCut) DeleteRange(from, to uint64) error {
	k.dead.Store(true)
	return k.InmemStore.DeleteRange(from, to)
}

func (k *killedAfterCut) StoreLogs(l []*raft.Log) error {
	if k.dead.Load() {
		return errors.New("killed")
	}
	return k.InmemStore.StoreLogs(l)
}

// What a leader had cut off a log is not a loss: not to the node, that was killed
// before it had written more, and not to those that saw it with the longer log.
// What is lost beside that is one.
func TestACutIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const a = 0
		var stores [3]*raft.InmemStore
		var disks [3]*voterDisk
		kept := func(i int, logs raft.LogStore) func(*Config) {
			return func(cfg *Config) {
				disks[i].config(cfg)
				cfg.Dir, cfg.LogStore, cfg.StableStore, cfg.SnapshotStore = "", logs, stores[i], raft.NewInmemSnapshotStore()
			}
		}
		c := newMemCluster(t, 3, func(i int, cfg *Config) {
			stores[i], disks[i] = raft.NewInmemStore(), &voterDisk{}
			kept(i, stores[i])(cfg)
		})
		if c.leader() != a {
			t.Fatal("another leads")
		}
		c.cut(a)
		go func() { _, _ = c.nodes[a].Propose(t.Context(), cmds("lost", 3)) }() // nobody agrees
		c.settle(5 * time.Second)
		if c.leader(a) == a {
			t.Fatal("nobody else leads")
		}
		seen, err := c.nodes[a].Standing()
		if err != nil {
			t.Fatal(err)
		}
		c.stop(a)
		logs := &killedAfterCut{InmemStore: stores[a]}
		c.restart(a, disks[a], kept(a, logs))
		for range 50 {
			if c.settle(100 * time.Millisecond); logs.dead.Load() {
				break
			}
		}
		disks[a].mu.Lock()
		atKill := *disks[a].before
		disks[a].mu.Unlock()
		if !logs.dead.Load() {
			t.Fatal("nothing was cut off")
		}
		c.stop(a, 1, 2)
		if have, _ := c.nodes[a].stores.standing(); !have.Behind(seen) {
			t.Fatalf("its log still has what was cut off: %+v", have)
		}
		disks[a].before = &atKill
		asked := func(cfg *Config) {
			kept(a, stores[a])(cfg)
			cfg.Ask = func(context.Context) (Standing, error) { return seen, nil }
		}
		c.restart(a, disks[a], asked)
		c.restart(1, disks[1], kept(1, stores[1]))
		c.settle(10 * time.Second)
		if err := c.nodes[a].Damaged(); err != nil {
			t.Fatalf("A says of itself: %v", err)
		}
		c.nodes[c.leader()].must(t, createJob("after"))
		c.stop(a)
		have, err := c.nodes[a].stores.standing()
		if err != nil {
			t.Fatal(err)
		}
		if disks[a].before.CutIndex != 0 {
			t.Errorf("it still makes up for a cut that is long over: %+v", *disks[a].before)
		}
		if err := stores[a].DeleteRange(have.LastIndex, have.LastIndex); err != nil {
			t.Fatal(err)
		}
		c.restart(a, disks[a], kept(a, stores[a]))
		if c.nodes[a].Damaged() == nil {
			t.Error("a real loss is not noticed")
		}
	})
}

// standingNode is a node with a log of so many entries of term 2, in term 3, that
// remembers what it is given.
func standingNode(t *testing.T, entries uint64, before *Standing) (n *Node, kept *voterDisk) {
	t.Helper()
	logs, kept := raft.NewInmemStore(), &voterDisk{before: before}
	for i := range entries {
		if err := logs.StoreLog(&raft.Log{Index: i + 1, Term: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if err := logs.SetUint64([]byte(disk.KeyTerm), 3); err != nil {
		t.Fatal(err)
	}
	n = &Node{stores: &stores{logs: logs, stable: logs, snaps: raft.NewInmemSnapshotStore()}}
	kept.config(&n.cfg)
	n.cfg.Log = slog.New(slog.DiscardHandler)
	if err := n.inspect(); err != nil {
		t.Fatal(err)
	}
	return n, kept
}

// What was cut off excuses that it is missing, and nothing before it.
func TestACutExcusesNothingBeforeIt(t *testing.T) {
	before := Standing{Term: 3, LastTerm: 2, LastIndex: 15, CutTerm: 2, CutIndex: 20}
	for entries, damaged := range map[uint64]bool{14: true, 15: false, 20: false} {
		if n, _ := standingNode(t, entries, &before); (n.Damaged() != nil) != damaged {
			t.Errorf("with %d entries, of which 15 were left by a cut: %v", entries, n.Damaged())
		}
	}
}

// How far a node has come may be kept at any moment, also between the note of a cut
// and the cut.
func TestACutStaysNotedUntilItIsMade(t *testing.T) {
	n, kept := standingNode(t, 20, nil)
	n.noteCut(16, 20)
	n.keepStanding()
	if n, _ := standingNode(t, 15, kept.before); n.Damaged() != nil {
		t.Errorf("killed after the cut: %v", n.Damaged())
	}
	if n, _ := standingNode(t, 21, kept.before); n.noted != (Standing{Term: 3, LastTerm: 2, LastIndex: 21}) {
		t.Errorf("beyond the cut it keeps %+v", n.noted)
	}
}

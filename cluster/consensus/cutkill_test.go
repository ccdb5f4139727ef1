package consensus

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
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

// What a leader had cut off a log is no loss: not to the node, that was killed
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

package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// The node that makes a cluster leads before its first entry is written, for as
// long as its disk takes. It says nothing of itself before: it would be told that
// it was removed, and that it speaks for the node though no session was recorded.
func TestNothingIsSaidBeforeTheClusterIsMade(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.self, a.session, a.addr = &datadir.Node{NodeID: "n1", Name: "oak", Cluster: "pine"}, newSession(), "10.0.0.1:5050"
		a.makes = true
		a.pending = &datadir.Pending{Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: a.cfg.Now()}, Authority: &api.Authority{CACert: ca.CertPEM(), CAKey: ca.KeyPEM(), Pin: ca.Pin()}}
		if err := a.dir.SavePending(a.pending); err != nil {
			t.Fatal(err)
		}
		a.store = fsm.NewStore(nil)
		_, tr := raft.NewInmemTransport("10.0.0.1:5050")
		mem := raft.NewInmemStore()
		if a.raft, err = consensus.Open(consensus.Config{NodeID: "n1", Store: a.store, Transport: tr, Log: a.log, LogStore: mem, StableStore: mem, SnapshotStore: raft.NewInmemSnapshotStore()}); err != nil {
			t.Fatal(err)
		}
		a.store.SetProposer(a.raft)
		a.stack = newStack()
		a.stack.start("raft", a.raft.Run)
		defer a.stack.stop()
		if err := a.raft.Bootstrap(a.addr); err != nil {
			t.Fatal(err)
		}
		if _, cancel, err := a.raft.AwaitLeadership(t.Context()); err != nil {
			t.Fatal(err)
		} else {
			defer cancel()
		}
		said := make(chan error, 2)
		go func() { said <- a.claimSession(t.Context()) }()
		go func() { said <- a.hello(t.Context(), &api.NodeHello{Addr: a.addr}) }()
		time.Sleep(5 * time.Second) // fake: that of a disk
		if err := a.finishNewCluster(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-said; err != nil {
				t.Error(err)
			}
		}
		if n := a.store.View().Node("n1"); n == nil || n.State != api.NodeReady || n.Session != a.session || n.Level != int(fsm.Newest) {
			t.Errorf("the cluster knows of its node: %+v", n)
		}
		if found, err := a.dir.Have("new-cluster.json"); err != nil || len(found) > 0 {
			t.Errorf("it would be made again: %v, %v", found, err)
		}
		// A node on which that was not noted may follow another by now, and makes none.
		again := &Agent{makes: true, store: a.store}
		if err := again.awaitCluster(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

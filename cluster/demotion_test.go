package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/hashicorp/raft"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// A demoted node erases its log once the leader says that it is out of Raft, and not
// before: neither as it hears of no leader there, or cannot write its log, nor while
// the leader does not say so.
func TestADemotedNodeIsToldThatItIsOut(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer string
		status int
		erases bool
	}{
		"it is out": {`{"state":"member","out":true}`, 200, true}, "it votes still": {`{"state":"member"}`, 200, false},
		"the leader does not know now": {`{"code":"unavailable","message":"not now"}`, 503, false}, "nobody leads": {},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			elm, id := holderOf(t, ca, "elm")
			addr := serveAs(t, elm, guardOf(first).tell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/internal/member" || r.URL.Query().Get("id") != "me" {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.answer))
				if !c.erases {
					cancel()
				}
			})))
			a := demoted(t, id)
			oak, _ := holderOf(t, ca, "oak")
			a.peers = newPeers(oak, func(string) (string, bool) { return addr, true }, guardOf(first), func() {})
			defer a.peers.close()
			a.leader.asked = time.Now().Add(time.Hour) // nobody else is asked who leads
			if c.status != 0 {
				a.leader.id = id
			} else {
				cancel()
			}
			if err := a.awaitDemotion(ctx); errors.Is(err, errDemoted) != c.erases || a.self.Demoted != c.erases {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// demoted is a node whose log says that it votes, with another, and which hears of no
// leader there, but by its feed that it may not vote.
func demoted(t *testing.T, other string) *Agent {
	t.Helper()
	a := agentIn(t, datadir.Node{NodeID: "me", Name: "oak", Cluster: "pine"})
	inRaft(t, a, "me", other)
	a.ownNode.Store(&api.Node{ID: "me", Name: "oak", State: api.NodeReady, WorkerOnly: true})
	a.fed.Store(true)
	return a
}

// inRaft has an agent take part in Raft, where these nodes vote.
func inRaft(t *testing.T, a *Agent, voters ...string) {
	t.Helper()
	id := a.self.NodeID
	_, tr := raft.NewInmemTransport("10.0.0.1:5050")
	mem, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(id)
	var servers []raft.Server
	for i, voter := range voters {
		servers = append(servers, raft.Server{ID: raft.ServerID(voter), Address: raft.ServerAddress(fmt.Sprintf("10.0.0.%d:5050", i+1))})
	}
	err := raft.BootstrapCluster(cfg, mem, mem, snaps, tr, raft.Configuration{Servers: servers})
	if err == nil {
		a.raft, err = consensus.Open(consensus.Config{NodeID: id, Store: a.store, Transport: tr, Log: a.log, LogStore: mem, StableStore: mem, SnapshotStore: snaps})
	}
	if err != nil {
		t.Fatal(err)
	}
	a.stack = newStack()
	a.stack.start("raft", a.raft.Run)
	t.Cleanup(func() { _ = a.stack.stop() })
}

package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/gossip/gossiptest"
)

var testKey = bytes.Repeat([]byte{7}, 32)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type node struct {
	*Gossip
	addr string
	tr   *gossiptest.Transport
	stop func() // Run ends, with a goodbye
}

func addrOf(i int) string { return fmt.Sprintf("10.0.0.%d:5050", i) }
func idOf(i int) string   { return fmt.Sprintf("id-%02d", i) }

func metaOf(i int, addr string) Meta {
	return Meta{ID: idOf(i), Name: fmt.Sprintf("n%d", i), Addr: addr, Version: "1.0.0", Boot: uint64(time.Now().UnixNano())}
}

// bubble runs a test on fake time; memberlist leaves probes behind for a while.
func bubble(t *testing.T, f func(*testing.T, *gossiptest.Network)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) })
		f(t, gossiptest.New())
	})
}

func start(t *testing.T, net *gossiptest.Network, i int, addr string, change func(*Config)) *node {
	t.Helper()
	tr := net.Transport(addr)
	meta := metaOf(i, addr)
	cfg := Config{NodeID: meta.ID, Name: meta.Name, ClusterID: "pine", Key: testKey, Meta: meta, Transport: tr, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	})
	t.Cleanup(stop)
	return &node{Gossip: g, addr: addr, tr: tr, stop: stop}
}

func startAll(t *testing.T, net *gossiptest.Network, n int) []*node {
	t.Helper()
	var nodes []*node
	for i := range n {
		nodes = append(nodes, start(t, net, i+1, addrOf(i+1), nil))
		if i > 0 {
			if met, err := nodes[i].Join(t.Context(), []string{addrOf(1)}); err != nil || met != 1 {
				t.Fatalf("join: %d, %v", met, err)
			}
		}
	}
	within(t, 10*time.Second, "all see all", func() bool { return allSee(nodes, n) })
	return nodes
}

func allSee(nodes []*node, n int) bool {
	for _, x := range nodes {
		if x.count(Alive) != n {
			return false
		}
	}
	return true
}

func (n *node) count(s State) int {
	c := 0
	for _, m := range n.Members() {
		if m.State == s {
			c++
		}
	}
	return c
}

func (n *node) state(id string) State {
	m, ok := n.members.get(id)
	if !ok {
		return -1
	}
	return m.State
}

// within polls on fake time and returns how long it took.
func within(t *testing.T, limit time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !cond() {
		if time.Since(begin) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

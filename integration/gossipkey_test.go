package integration

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// gossipKeyOf is what a node's folder says of the key.
func gossipKeyOf(t *testing.T, n *lab.Node) (key []byte, step uint64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.Dir, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		GossipKey  []byte
		GossipStep uint64
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f.GossipKey, f.GossipStep
}

// Once a node was removed the others have another key of gossip; one that was off
// meanwhile gets it when it comes back.
func TestARemovedNodeHasNoGossipKey(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	tok := l.Nodes[0].Token(api.TokenRequest{Kind: api.TokenJoin, Voter: true})
	removed := l.AddNode(6)
	removed.Launch("join", l.Nodes[0].IP, "--token", tok)
	removed.AwaitReady()
	removed.Terminate()
	l.Nodes = l.Nodes[:4]
	old, _ := gossipKeyOf(t, removed)
	leader := l.Leader()
	off := l.Other(leader)
	off.Terminate() // three of five voters are left
	l.Await(lab.Patience, "it to be missed", func() bool {
		for _, m := range leader.Members() {
			if m.Name == off.Name {
				return m.State == api.NodeUnreachable || m.State == api.NodeDown
			}
		}
		return false
	})
	l.Await(lab.Patience, "the node to be removed", func() bool {
		return l.Leader().Call(http.MethodDelete, "/v1/nodes/"+removed.Name+"?force=1", nil, nil) == nil
	})
	changed := func(nodes ...*lab.Node) {
		t.Helper()
		l.Await(lab.Patience, "another key", func() bool {
			first, at := gossipKeyOf(t, nodes[0])
			for _, n := range nodes {
				if key, step := gossipKeyOf(t, n); step < 3 || step%3 != 0 || step != at || !bytes.Equal(key, first) || bytes.Equal(key, old) {
					return false
				}
			}
			return true
		})
	}
	var there []*lab.Node
	for _, n := range l.Nodes {
		if n != off {
			there = append(there, n)
		}
	}
	changed(there...)
	off.Start()
	changed(l.Nodes...)
	l.Await(lab.Patience, "all to be ready", func() bool {
		ready := 0
		for _, m := range leader.Members() {
			if m.State == api.NodeReady {
				ready++
			}
		}
		return ready == 4
	})
}

package gossip

import (
	"bytes"
	"testing"
	"time"

	"github.com/mesita/mesita/gossip/gossiptest"
)

// A key is changed under nodes that talk all the time: each step may come to one
// node earlier than to another. Who has the old key alone hears and says nothing
// afterwards.
func TestKeysChangeWhileNodesTalk(t *testing.T) {
	bubble(t, func(t *testing.T, net *gossiptest.Network) {
		nodes := startAll(t, net, 4)
		time.Sleep(10 * time.Second)
		old, next := testKey, bytes.Repeat([]byte{9}, 32)
		thief := nodes[3]
		nodes = nodes[:3]
		for _, step := range []struct {
			send []byte
			also [][]byte
		}{{old, [][]byte{next}}, {next, [][]byte{old}}, {next, nil}} {
			for _, n := range nodes {
				check(t, n.SetKeys(step.send, step.also))
				time.Sleep(5 * time.Second) // the others are at the step before
				for _, m := range n.Members() {
					if m.State != Alive && m.ID != idOf(4) {
						t.Errorf("%s thinks that %s is %v", n.del.self, m.ID, m.State)
					}
				}
			}
		}
		time.Sleep(time.Minute)
		for _, n := range nodes {
			if keys := n.keys.GetKeys(); len(keys) != 1 || !bytes.Equal(keys[0], next) {
				t.Errorf("%s takes what is sealed with %d keys", n.del.self, len(keys))
			}
			if m, _ := n.Member(idOf(4)); m.State == Alive {
				t.Errorf("%s hears who has the old key", n.del.self)
			}
			if m, _ := thief.Member(n.del.self); m.State == Alive {
				t.Errorf("who has the old key hears %s", n.del.self)
			}
		}
		if n, err := thief.Join(t.Context(), []string{addrOf(1)}); n != 0 || err == nil {
			t.Errorf("who has the old key joins again: %d, %v", n, err)
		}
		late := start(t, net, 5, addrOf(5), func(c *Config) { c.Key, c.Also = next, [][]byte{old} })
		if n, err := late.Join(t.Context(), []string{addrOf(1)}); n != 1 || err != nil {
			t.Errorf("who has the new key joins: %d, %v", n, err)
		}
		check(t, nodes[0].SetKeys(next, nil)) // again
		if nodes[0].SetKeys([]byte("short"), nil) == nil {
			t.Error("five bytes are a key")
		}
	})
}

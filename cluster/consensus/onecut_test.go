package consensus

import (
	"testing"
	"testing/synctest"
	"time"
)

// A follower that cannot hear the leader, while the other voter does, deposes
// nobody.
func TestLeaderStaysWhileOneLinkIsCut(t *testing.T) {
	for other := range 2 {
		synctest.Test(t, func(t *testing.T) {
			c := newMemCluster(t, 3, nil)
			l := c.leader()
			f := (l + 1 + other) % 3
			term := c.nodes[l].Stats().Term
			c.wires[l].Disconnect(c.wires[f].LocalAddr())
			c.wires[f].Disconnect(c.wires[l].LocalAddr())
			for range 60 {
				c.settle(time.Second)
				if now := c.leader(); now != l || c.nodes[l].Stats().Term != term {
					t.Fatalf("n%d leads in term %d, want n%d in term %d", now, c.nodes[now].Stats().Term, l, term)
				}
			}
			c.link(l)
			c.settle(5 * time.Second)
			if now := c.leader(); now != l || c.nodes[l].Stats().Term != term {
				t.Errorf("healed: n%d leads in term %d, want n%d in term %d", now, c.nodes[now].Stats().Term, l, term)
			}
		})
	}
}

package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/gossip/gossiptest"
)

// Two nodes come back with each other's address, after a goodbye or without one,
// sooner or later: all know soon where both are, and it stays so.
func TestExchangedAddresses(t *testing.T) {
	for _, polite := range []bool{true, false} {
		for _, away := range []time.Duration{100 * time.Millisecond, 2 * time.Second, 10 * time.Second, 2 * time.Minute} {
			t.Run(fmt.Sprintf("goodbye %v, away %s", polite, away), func(t *testing.T) {
				bubble(t, func(t *testing.T, net *gossiptest.Network) {
					nodes := startAll(t, net, 3)
					time.Sleep(20 * time.Second)
					for _, n := range nodes[1:] {
						if polite {
							n.stop()
						} else {
							check(t, n.tr.Shutdown())
						}
					}
					time.Sleep(away)
					two := start(t, net, 2, addrOf(3), nil)
					_, _ = two.Join(t.Context(), []string{addrOf(1), addrOf(2)}) // the one that is not there does not answer
					three := start(t, net, 3, addrOf(2), nil)
					_, _ = three.Join(t.Context(), []string{addrOf(1), addrOf(3)})
					all := []*node{nodes[0], two, three}
					right := func() bool {
						for _, n := range all {
							b, _ := n.Addr(idOf(2))
							c, _ := n.Addr(idOf(3))
							if b != addrOf(3) || c != addrOf(2) || n.count(Alive) != 3 {
								return false
							}
						}
						return true
					}
					began, wrong := time.Now(), time.Duration(0)
					for time.Since(began) < 3*time.Minute {
						time.Sleep(50 * time.Millisecond)
						if !right() {
							wrong = time.Since(began)
						}
					}
					if wrong > 40*time.Second {
						t.Errorf("somebody was wrong %s after both were back", wrong)
					}
				})
			})
		}
	}
}

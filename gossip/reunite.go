package gossip

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/mesita/mesita/backoff"
)

// How often a node that failed is met again; the longest is what a cut that
// lasted for long costs after its end.
const (
	reuniteFirst = time.Second
	reuniteMost  = 20 * time.Second
)

// reunite meets again those that failed, one at a time, until ctx is done. Both
// sides of a cut hold the other for dead, and memberlist speaks to the dead for
// 30 s only: without this neither would ever say a word to the other. While all
// are there it sleeps.
func (g *Gossip) reunite(ctx context.Context) {
	retry := backoff.New(reuniteFirst, reuniteMost)
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.members.lost:
		}
		retry.Reset()
		for lost := g.members.failed(); len(lost) > 0; lost = g.members.failed() {
			if !retry.Wait(ctx) {
				return
			}
			m := lost[rand.IntN(len(lost))]
			if _, err := g.meet(ctx, []string{m.Addr}); err == nil {
				g.log.Info("gossip: met a node again that had failed", "node", m.Name, "addr", m.Addr)
			}
		}
	}
}

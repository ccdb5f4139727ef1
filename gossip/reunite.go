package gossip

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/mesita/mesita/api/backoff"
)

// How often a node that failed is met again; the longest is what a cut that
// lasted for long costs after its end.
const (
	reuniteFirst = time.Second
	reuniteMost  = 20 * time.Second

	// Who stays away for longer than a cut lasts is looked for now and then.
	reuniteLong = time.Hour
	reuniteRare = 5 * time.Minute
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
		for lost := g.members.astray(); len(lost) > 0; lost = g.members.astray() {
			wait := retry.Next()
			if longGone(lost) {
				wait = reuniteRare
			}
			select {
			case <-ctx.Done():
				return
			case <-g.members.lost:
				retry.Reset()
				continue
			case <-time.After(wait):
			}
			m := lost[rand.IntN(len(lost))]
			if _, err := g.meet(ctx, []string{m.Addr}); err != nil {
				continue
			}
			if now, ok := g.members.get(m.ID); ok && now.State == Alive {
				g.log.Info("gossip: met a node again that had failed", "node", m.Name, "addr", m.Addr)
			}
		}
	}
}

func longGone(lost []Member) bool {
	for _, m := range lost {
		if time.Since(m.Since) < reuniteLong {
			return false
		}
	}
	return true
}

// Package backoff is how long to wait before something that failed is tried
// again. It owns the growth and the spread of the waits; it does not own how
// often or how long a caller tries. Every loop of the program that repeats a
// request uses it, so that nodes and clients that lost the same leader at the
// same moment do not come back at the same moment, again and again.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the waits of one loop, in turn. It is not for several goroutines.
type Backoff struct {
	first, most, next time.Duration
}

// New starts at first, and doubles up to most; both are positive.
func New(first, most time.Duration) *Backoff {
	return &Backoff{first: first, most: most, next: first}
}

// Next is the next wait: a random one between half and all of a bound that
// doubles each time. The half that is certain keeps a loop from being busy, the
// random half spreads those who failed together ("equal jitter", Brooker,
// Exponential Backoff And Jitter, 2015).
func (b *Backoff) Next() time.Duration {
	d := b.next
	if b.next = b.most; d < b.most/2 {
		b.next = 2 * d
	}
	return d/2 + rand.N(d/2+1)
}

// Reset begins anew, after something succeeded.
func (b *Backoff) Reset() { b.next = b.first }

// First reports whether no wait was handed out since the start or a Reset: a
// failure now is news.
func (b *Backoff) First() bool { return b.next == b.first }

// Wait waits for the next; it is false when ctx ended meanwhile.
func (b *Backoff) Wait(ctx context.Context) bool { return Pause(ctx, b.Next()) }

// Pause waits for d; it is false when ctx ended meanwhile.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Package loop is the one shape of all control loops: look at the state,
// decide, propose, and wait until something changed or a time has come.
//
// It owns the waiting; it does not own any decision. The scheduler, the
// allocator, the controller and the cluster agent's own loops run on it.
package loop

import (
	"context"
	"time"

	"github.com/mesita/mesita/fsm"
)

// idle is how long a loop waits when it has nothing to wait for.
const idle = time.Hour

// Changes is what changed since the last pass; with All set, anything may have.
type Changes struct {
	Objects map[fsm.Change]struct{}
	All     bool
}

// Loop is a pass over the state that is repeated.
type Loop struct {
	Store  *fsm.Store
	Tables []fsm.Table // whose changes ask for a pass
	Now    func() time.Time
	// Wake is asked for before each pass; nil, or a channel that closes when a
	// pass is needed for another reason.
	Wake func() <-chan struct{}
	// Pass does the work and says when to come again without a change; zero:
	// not needed.
	Pass func(ctx context.Context, c Changes) (next time.Time)
}

// Run repeats the pass until ctx ends: at first with everything changed.
func (l *Loop) Run(ctx context.Context) error {
	w := l.Store.Watch(l.Tables...)
	defer w.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var woken <-chan struct{}
		if l.Wake != nil {
			woken = l.Wake() // before the pass, so that no change is missed
		}
		var c Changes
		c.Objects, c.All = w.Take()
		next := l.Pass(ctx, c)
		wait := idle
		if !next.IsZero() {
			wait = min(idle, max(next.Sub(l.Now()), time.Millisecond))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
		case <-woken:
		case <-timer.C:
		}
	}
}

package mesos

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const (
	// comeBack is how long at least a framework that was connected to an earlier leader
	// has to connect again before it counts as gone.
	comeBack = 15 * time.Second
	// awayAfter is when at most one that did not connect again is noted as away: what it was
	// offered has ended by then, so that it has nothing more to lose, and its failover time
	// is counted from there.
	awayAfter = time.Minute
	// lookAgain is when a clock that is not to be trusted is asked again.
	lookAgain = 10 * time.Second
)

// wasRelayed reports whether a framework that left was connected by another node: that may
// be what stopped, and not the framework.
func (h *hub) wasRelayed(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.relayed[id]
}

// expire notes which frameworks are gone, and removes those that are for longer than they
// said. It says when the next one will be.
func (h *hub) expire(ctx context.Context, v *fsm.View) (next time.Time) {
	now := h.Now()
	soonest := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	var cmds []fsm.Command
	for f := range v.Frameworks() {
		if !f.Ended.IsZero() || h.of(f.ID) != nil {
			continue
		}
		due := f.Since.Add(time.Duration(f.Failover))
		if h.wasRelayed(f.ID) {
			due = f.Since.Add(max(time.Duration(f.Failover), comeBack))
		}
		if f.Connected {
			due = h.began.Add(max(min(time.Duration(f.Failover), awayAfter), comeBack))
		}
		switch {
		case now.Before(due):
			soonest(due)
		case f.Connected:
			cmds = append(cmds, &fsm.FrameworkLeave{Meta: fsm.Meta{At: now}, ID: f.ID, Session: f.Session})
		case !h.Forgets():
			soonest(now.Add(lookAgain))
		default:
			cmds = append(cmds, &fsm.FrameworkRemove{Meta: fsm.Meta{At: now}, ID: f.ID, Session: f.Session,
				Reason: "it was not connected for longer than its failover_timeout of " + f.Failover.String()})
		}
	}
	if len(cmds) == 0 {
		return next
	}
	results, err := h.Store.Propose(ctx, cmds...)
	if err != nil {
		if ctx.Err() == nil {
			h.Log.Warn("frameworks that are gone are not noted", "err", err)
		}
		soonest(now.Add(time.Second))
		return next
	}
	for _, r := range results {
		if code := api.ErrorCode(r.Err); r.Err != nil && code != api.CodeConflict && code != api.CodeNotFound {
			h.Log.Warn("a framework that is gone is not noted", "err", r.Err)
			soonest(now.Add(time.Second))
		}
	}
	return next
}

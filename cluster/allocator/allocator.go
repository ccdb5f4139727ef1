package allocator

import (
	"context"
	"log/slog"
	"time"

	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// Allocator moves guarantees and ends offers.
type Allocator struct {
	store  *fsm.Store
	now    func() time.Time
	log    *slog.Logger
	adjust adjuster
}

// New makes an allocator.
func New(store *fsm.Store, now func() time.Time, log *slog.Logger) *Allocator {
	return &Allocator{store: store, now: now, log: log, adjust: adjuster{low: map[string]time.Time{}}}
}

// Run works until ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	l := &loop.Loop{Store: a.store, Now: a.now, Pass: a.pass, Tables: []fsm.Table{fsm.TableOffers, fsm.TablePartitions, fsm.TableJobs}}
	return l.Run(ctx)
}

func (a *Allocator) pass(ctx context.Context, _ loop.Changes) time.Time {
	v, now := a.store.View(), a.now()
	cmds, next := a.adjust.decide(v, now)
	expire, due := Expire(v, now)
	next = sooner(next, due)
	if expire != nil {
		cmds = append(cmds, expire)
	}
	if len(cmds) == 0 {
		return next
	}
	if _, err := a.store.Propose(ctx, cmds...); err != nil {
		if ctx.Err() == nil {
			a.log.Warn("moving guarantees and ending offers failed; trying again", "err", err)
		}
		return now.Add(time.Second)
	}
	return next
}

// Adjust is the moves of guarantees that are due at once.
func Adjust(v *fsm.View, now time.Time) []fsm.Command {
	cmds, _ := (&adjuster{low: map[string]time.Time{}}).decide(v, now)
	return cmds
}

// Expire is the command that ends the offers whose time is over (nil: none),
// and when the next one is.
func Expire(v *fsm.View, now time.Time) (fsm.Command, time.Time) {
	var ids []string
	var next time.Time
	for o := range v.Offers() {
		switch {
		case !o.Expires.After(now):
			ids = append(ids, o.ID)
		case next.IsZero() || o.Expires.Before(next):
			next = o.Expires
		}
	}
	if len(ids) == 0 {
		return nil, next
	}
	return &fsm.OfferRemove{Meta: fsm.Meta{At: now, Actor: "allocator"}, IDs: ids, Reason: "expired"}, next
}

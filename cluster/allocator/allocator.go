// Package allocator decides who may have what: the order in which partitions
// are served, and how long offers stand.
//
// It owns fairness between partitions; it does not own where a task goes (the
// scheduler) nor which tasks there are (the controller). The cluster agent
// runs it on the leader and hands its order to the scheduler.
package allocator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Allocator orders partitions and ends offers.
type Allocator struct {
	store *fsm.Store
	now   func() time.Time
	log   *slog.Logger
}

// New makes an allocator.
func New(store *fsm.Store, now func() time.Time, log *slog.Logger) *Allocator {
	return &Allocator{store: store, now: now, log: log}
}

// Partitions lists the partitions by priority, then by weighted dominant share
// (Ghodsi et al., Dominant Resource Fairness, NSDI 2011), the smallest first.
func (a *Allocator) Partitions(v *fsm.View) []string {
	var parts []*api.Partition
	for p := range v.Partitions() {
		parts = append(parts, p)
	}
	if len(parts) > 1 {
		shares := dominantShares(v)
		slices.SortStableFunc(parts, func(x, y *api.Partition) int {
			return cmp.Or(cmp.Compare(y.Priority, x.Priority),
				cmp.Compare(shares[x.Path]/float64(x.Weight), shares[y.Path]/float64(y.Weight)))
		})
	}
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.Path
	}
	return out
}

// dominantShares is the largest share of any one resource that each partition
// holds.
func dominantShares(v *fsm.View) map[string]float64 {
	var total api.Resources
	used := map[string]api.Resources{}
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		total = total.Add(n.Resources)
		for t := range v.NodeTasks(n.ID) {
			used[t.Partition] = used[t.Partition].Add(t.Resources)
		}
	}
	share := func(part, whole int64) float64 {
		if whole <= 0 {
			return 0
		}
		return float64(part) / float64(whole)
	}
	out := map[string]float64{}
	for p, r := range used {
		out[p] = max(share(int64(r.CPUs), int64(total.CPUs)), share(int64(r.Mem), int64(total.Mem)), share(int64(r.Disk), int64(total.Disk)), share(r.GPUs, total.GPUs))
	}
	return out
}

// Run ends offers when their time is over, until ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	w := a.store.Watch(fsm.TableOffers)
	defer w.Close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
		case <-timer.C:
		}
		w.Take()
		cmd, next := Expire(a.store.View(), a.now())
		if cmd != nil {
			if _, err := a.store.Propose(ctx, cmd); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				a.log.Warn("ending offers failed; trying again", "err", fmt.Errorf("propose: %w", err))
				next = a.now().Add(time.Second)
			}
		}
		if next.IsZero() {
			next = a.now().Add(time.Hour)
		}
		timer.Reset(max(next.Sub(a.now()), time.Millisecond))
	}
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

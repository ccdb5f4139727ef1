package allocator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// calm is how long demand must be lower before a guarantee that follows it is
// lowered: one that moves with every task would promise nothing.
const calm = time.Minute

// adjuster moves the guarantees of partitions that may move.
type adjuster struct {
	low map[string]time.Time // since when a partition's demand is lower
}

// decide returns the changes that are due, and when to look again.
func (a *adjuster) decide(v *fsm.View, now time.Time) (cmds []fsm.Command, next time.Time) {
	var moving []*api.Partition
	for p := range v.Partitions() {
		if p.Adjust != nil {
			moving = append(moving, p)
		}
	}
	slices.SortStableFunc(moving, func(x, y *api.Partition) int { return cmp.Compare(y.Priority, x.Priority) })
	given := map[string]api.Amounts{} // to those decided before, by parent
	for _, p := range moving {
		target, cause, again := a.target(v, p, now)
		next = sooner(next, again)
		target = fitParent(v, p, target, moving, given)
		given[p.Parent()] = given[p.Parent()].Add(target)
		if !same(target, p.Guaranteed()) {
			cmds = append(cmds, &fsm.PartitionAdjust{Meta: fsm.Meta{At: now, Actor: "allocator"}, Path: p.Path, Guarantee: target, Cause: cause})
		}
	}
	return cmds, next
}

// target is the guarantee that a partition should have now.
func (a *adjuster) target(v *fsm.View, p *api.Partition, now time.Time) (g api.Amounts, cause string, next time.Time) {
	if len(p.Adjust.Hours) > 0 {
		g, cause = p.Guarantee, "its timetable names no guarantee for now"
		for _, w := range p.Adjust.Hours {
			if w.Holds(now) {
				for k, v := range w.Guarantee.Each { // what the window does not name stays
					g = g.With(k, v)
				}
				cause = fmt.Sprintf("timetable %s %s-%s", w.Days, w.From, w.To)
				break
			}
		}
		for _, w := range p.Adjust.Hours {
			next = sooner(next, w.Next(now))
		}
		return g, cause, next
	}
	u := v.Usage(p.Path)
	want, now2 := p.Guarantee, p.Guaranteed()
	lower, higher := false, false
	for k, most := range p.Adjust.Max.Each {
		// What is on offer was not asked for: were it demand, a guarantee would rise by
		// what it has offered. A task that starts on it is.
		demand := amountOf(u.Allocated, k) + u.Wanted.Of(k)
		x := min(most, max(p.Adjust.Min.Of(k), demand))
		lower, higher = lower || x < now2.Of(k), higher || x > now2.Of(k)
		want = want.With(k, x)
	}
	switch {
	case higher:
		delete(a.low, p.Path)
		return raise(want, now2), "demand rose", time.Time{}
	case !lower:
		delete(a.low, p.Path)
		return now2, "", time.Time{}
	}
	since, ok := a.low[p.Path]
	if !ok {
		since = now
		a.low[p.Path] = since
	}
	if due := since.Add(calm); due.After(now) {
		return now2, "", due
	}
	delete(a.low, p.Path)
	return want, "demand fell", time.Time{}
}

// raise is the larger of both, resource by resource.
func raise(a, b api.Amounts) api.Amounts {
	for k, v := range b.Each {
		if v > a.Of(k) {
			a = a.With(k, v)
		}
	}
	return a
}

// fitParent cuts a target to what is left of the parent's guarantee, or of the
// cluster, once the fixed guarantees and those decided before are taken. What
// the minimums of later ones need is left to them, but not by whoever is
// before them at its own minimum: so where there is not enough for all minimums,
// the first have theirs, and no more is promised than there is.
func fitParent(v *fsm.View, p *api.Partition, target api.Amounts, moving []*api.Partition, given map[string]api.Amounts) api.Amounts {
	has := api.AmountsOf(v.Capacity())
	if up := v.Partition(p.Parent()); up != nil {
		has = up.Guaranteed()
	}
	taken := given[p.Parent()]
	for q := range v.Partitions() {
		if q.Adjust == nil && q.Parent() == p.Parent() {
			taken = taken.Add(q.Guarantee)
		}
	}
	var later api.Amounts
	for _, q := range moving[slices.Index(moving, p)+1:] {
		if q.Parent() == p.Parent() {
			later = later.Add(q.Adjust.Min)
		}
	}
	for k, x := range target.Each {
		left := max(has.Of(k)-taken.Of(k), 0)
		target = target.With(k, min(x, max(left-later.Of(k), min(p.Adjust.Min.Of(k), left))))
	}
	return target
}

func same(a, b api.Amounts) bool {
	for k, v := range a.Each {
		if b.Of(k) != v {
			return false
		}
	}
	for k, v := range b.Each {
		if a.Of(k) != v {
			return false
		}
	}
	return true
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

package offer

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// refusals are what a framework refused, by where: of what nodes have left, or of what they
// have reserved. One counts beside the others until it ends, as a later one may be of less.
type refusals map[spot][]*refusal

// refusal is what was declined at a spot. It keeps away what is no more than that.
type refusal struct {
	room  api.Resources
	until time.Time
	times int // that it was, with no more room than before
}

// add notes one, unless that would be at one spot too many, and returns it. One that is too
// short to count ends those before it instead.
func (r refusals) add(at spot, room api.Resources, span time.Duration, now time.Time, declined, full bool) *refusal {
	old := r[at]
	if room.Equal(api.Resources{}) || full && old == nil {
		return nil
	}
	if span < least {
		delete(r, at)
		return nil
	}
	n := &refusal{room: room}
	if declined {
		for _, o := range old {
			if o.room.Fits(room) {
				n.times = max(n.times, o.times+1)
			}
		}
	}
	if n.times >= pauseAfter {
		span = max(span, min(longPause, max(span, firstPause)<<min(n.times-pauseAfter+1, 20)))
	}
	n.until = now.Add(span)
	kept := slices.DeleteFunc(old, func(o *refusal) bool { // what may be taken back says nothing of others
		return !now.Before(o.until) || declined && room.Fits(o.room) && !n.until.Before(o.until)
	})
	if len(kept) >= maxAtSpot {
		slices.SortFunc(kept, func(a, b *refusal) int { return b.until.Compare(a.until) })
		kept = kept[:maxAtSpot-1]
	}
	r[at] = append(kept, n)
	return n
}

// remove forgets one.
func (r refusals) remove(at spot, n *refusal) {
	if kept := slices.DeleteFunc(r[at], func(o *refusal) bool { return o == n }); len(kept) > 0 {
		r[at] = kept
	} else {
		delete(r, at)
	}
}

// until is until when that much is not to be offered, zero if it may be.
func (r refusals) until(at spot, room api.Resources, now time.Time) (again time.Time) {
	for _, o := range r[at] {
		if o.room.Fits(room) && now.Before(o.until) && o.until.After(again) {
			again = o.until
		}
	}
	return again
}

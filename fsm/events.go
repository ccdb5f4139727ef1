package fsm

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/mesita/mesita/api"
)

// ringSize is how many events a store keeps at least, and all of those that became
// visible together with the oldest of them. A reader that falls further behind is cut
// off, so no reader can make the store grow.
const ringSize = 8192

// ringMost bounds them whatever becomes visible at once: more than one command makes,
// but for those of jobs of hundreds of thousands of tasks.
const ringMost = 32 * ringSize

// snapshotEvents is how many of them a snapshot carries.
const snapshotEvents = 2048

// ring keeps the newest events, whose indexes have no gap. Its lock is its
// own: a reader holds up apply no longer than a copy takes.
type ring struct {
	mu     sync.Mutex
	events []api.Event
	own    []int         // what the payload of each weighs: see ballast
	held   ballast       // what all of them weigh
	bare   uint64        // those up to here have no payload: they are of a snapshot, or it was let go
	shown  []uint64      // the newest event of each view that was published since the first of them
	ready  chan struct{} // closed at the next wake; nil while nobody waits
}

func (r *ring) add(e api.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) >= ringMost {
		r.cut(ringSize)
	}
	r.events, r.own = append(r.events, e), append(r.own, r.held.take(&e.Payload))
	// What the newest has the state mostly has, too: it is kept whatever it weighs.
	r.strip(func(i int) bool { return r.held.bytes > ballastBytes && i < len(r.events)-1 })
}

// cut lets go of the oldest events.
func (r *ring) cut(gone int) {
	r.strip(func(i int) bool { return i < gone })
	r.events, r.own = without(r.events, gone), without(r.own, gone)
	first := r.events[0].Index
	r.shown = slices.DeleteFunc(r.shown, func(last uint64) bool { return last < first })
}

func without[T any](all []T, gone int) []T {
	kept := make([]T, len(all)-gone, len(all)-gone+ringSize)
	copy(kept, all[gone:])
	return kept
}

// strip lets go of the payloads of the oldest events that have one, for as long as
// more says so of the next; the events stay.
func (r *ring) strip(more func(i int) bool) {
	i := 0
	if first := r.events[0].Index; r.bare >= first {
		i = int(r.bare + 1 - first)
	}
	for ; i < len(r.events) && more(i); i++ {
		e := &r.events[i]
		r.held.drop(&e.Payload, r.own[i])
		e.Payload, r.bare = api.Payload{}, e.Index
	}
}

// wake tells readers of a view that was published. Only here is the ring cut, and only
// between what became visible at once: however much that is, whoever saw all before it
// finds all of it.
func (r *ring) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.events); n > 0 && (len(r.shown) == 0 || r.shown[len(r.shown)-1] < r.events[n-1].Index) {
		r.shown = append(r.shown, r.events[n-1].Index)
		if n >= 2*ringSize {
			r.cutShown()
		}
	}
	if r.ready != nil {
		close(r.ready)
		r.ready = nil
	}
}

// cutShown cuts at the newest view that has enough events after it, once that is worth
// a copy of the others.
func (r *ring) cutShown() {
	first, last := r.events[0].Index, r.events[len(r.events)-1].Index
	i, _ := slices.BinarySearch(r.shown, last-ringSize+1)
	if i == 0 {
		return
	}
	if gone := int(r.shown[i-1] + 1 - first); gone >= ringSize {
		r.cut(gone)
	}
}

func (r *ring) replace(events []api.Event, last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events, r.own, r.held, r.bare, r.shown = events, make([]int, len(events)), ballast{}, last, nil
}

// last returns up to n of the newest events.
func (r *ring) last(n int) []api.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[max(0, len(r.events)-n):])
}

// Events returns up to limit events after index, and waits until there is one.
// It fails with CodeConflict when events after index are no longer kept: the
// reader then takes a new View and continues from its LastEvent.
func (s *Store) Events(ctx context.Context, after uint64, limit int) ([]api.Event, error) {
	for {
		s.events.mu.Lock()
		out, gap := s.events.after(after, limit, s.View().LastEvent())
		if len(out) == 0 && !gap && s.events.ready == nil {
			s.events.ready = make(chan struct{})
		}
		ready := s.events.ready
		s.events.mu.Unlock()
		switch {
		case gap:
			if err := s.View().Happened(after); err != nil {
				return nil, err
			}
			return nil, conflict("events after %d are no longer kept: read the state again and continue from there", after)
		case len(out) > 0:
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ready:
		}
	}
}

// Happened fails if there is no event with that index yet: whoever saw it saw another
// cluster's, or this one's before it was recovered, and would wait for the next in vain.
func (v *View) Happened(index uint64) error {
	if last := v.LastEvent(); index > last {
		return conflict("there is no event %d yet, the newest is %d: if you have seen it, it was another cluster's, or this one's before a recovery; read the state again and continue from there", index, last)
	}
	return nil
}

// after copies events up to the published one; a reader must not see an event
// before the view that holds its effect.
func (r *ring) after(index uint64, limit int, published uint64) (out []api.Event, gap bool) {
	if index >= published {
		return nil, index > published
	}
	if len(r.events) == 0 || index+1 < r.events[0].Index {
		return nil, true
	}
	first := r.events[0].Index
	from, to := index+1-first, published+1-first
	return slices.Clone(r.events[from:min(to, from+uint64(limit), uint64(len(r.events)))]), false
}

// PayloadsAfter is the index of the event after which each that is kept has what it is
// about as it was then.
func (s *Store) PayloadsAfter() uint64 {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return s.events.bare
}

// RecentEvents returns up to n of the newest events.
func (s *Store) RecentEvents(n int) []api.Event { return s.EventsBefore(math.MaxUint64, n) }

// EventsBefore returns up to n of the newest events before index, oldest first.
func (s *Store) EventsBefore(index uint64, n int) []api.Event {
	end := min(index, s.View().LastEvent()+1)
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	kept := s.events.events
	if len(kept) == 0 || end <= kept[0].Index {
		return nil
	}
	kept = kept[:min(end-kept[0].Index, uint64(len(kept)))]
	return slices.Clone(kept[max(0, len(kept)-n):])
}

// EventBounds are the indexes of the oldest event that is kept, 0 if there is
// none, and of the newest.
func (s *Store) EventBounds() (oldest, newest uint64) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if len(s.events.events) > 0 {
		oldest = s.events.events[0].Index
	}
	return oldest, s.View().LastEvent()
}

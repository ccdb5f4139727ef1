package reserve

import (
	"cmp"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// Kept is what a reservation is for.
type Kept struct {
	Job   string
	Path  string        // of its partition
	Need  api.Resources // of one task
	Whole api.Resources // of as many as must start at once
	At    time.Time     // when the job can start; zero: when tasks of unknown length end
	// Grace is by how much later that may be, as tasks are told to end then.
	Grace time.Duration
	// Hoped is set where it counts on ends that nothing sees to by then.
	Hoped bool
}

// counts has it count on an end.
func (k *Kept) counts(r Release) {
	k.At, k.Grace, k.Hoped = r.At, max(k.Grace, r.Grace), k.Hoped || r.Hoped
}

// Hold is room kept for the first job of a partition that does not fit: the
// reservation of EASY backfilling (Lifka, The ANL/IBM SP Scheduling System,
// JSSPP 1995). Others may use it only if they end before, or if enough is left
// then.
type Hold struct {
	Kept
	Entitled bool                  // a guarantee of the partition covers it
	Tasks    map[int]int           // how many of the job's tasks each slot will take
	Extra    map[int]api.Resources // what is left of each slot then
	Nodes    []string              // of the slots, which may be numbered anew
	// Own is set when it counts on what the partition's own tasks give back: once
	// the job starts there, the partition has no more than before.
	Own bool
	// More is set for one that keeps room from other partitions only, so that its
	// own comes to have more.
	More bool
}

// Request is what a hold is looked for.
type Request struct {
	Need api.Resources // of one task
	Want int           // how many must start at once
	Fits func(left api.Resources) bool
	// AtMostOne is set where how many more fit beside the first is not worth counting.
	AtMostOne bool
}

// Room is what a slot has left now, less what is kept there for others.
type Room struct {
	Slot int
	Left api.Resources
}

// Release is resources that come back.
type Release struct {
	At   time.Time // zero: nobody knows when
	Slot int
	Path string // of the partition of whoever holds it
	Held api.Resources
	Own  bool // of the partition that waits
	// Grace is how long it may take then.
	Grace time.Duration
	Hoped bool // nothing sees to it that it ends by then
}

// Compare orders by time, those of which nobody knows it last.
func (r Release) Compare(o Release) int {
	if r.At.IsZero() != o.At.IsZero() {
		if r.At.IsZero() {
			return 1
		}
		return -1
	}
	return r.At.Compare(o.At)
}

// Find is when and where a request can start once tasks end, in the order of
// their ends; nil if it cannot even then. An end of no room's slot counts for
// nothing.
func Find(r Request, rooms []Room, ends []Release, now time.Time) *Hold {
	h := &Hold{Kept: Kept{Need: r.Need, Whole: r.Need.Times(r.Want), At: now}, Tasks: map[int]int{}, Extra: map[int]api.Resources{}}
	type state struct {
		left api.Resources
		fit  int
		own  bool
	}
	then, of, total := make([]state, len(rooms)), make(map[int]int, len(rooms)), 0
	for k, x := range rooms {
		then[k] = state{left: x.Left, fit: r.Count(x.Left)}
		total += then[k].fit
		of[x.Slot] = k
	}
	order := make([]int32, len(ends)) // what is sorted is small: a release is not
	for k := range ends {
		order[k] = int32(k)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Or(ends[a].Compare(ends[b]), cmp.Compare(a, b)) })
	for _, k := range order {
		e := &ends[k]
		if total >= r.Want && (e.At.IsZero() || !e.At.Equal(h.At)) {
			break // what comes back at the same time is left to others
		}
		room, known := of[e.Slot]
		if !known {
			continue
		}
		s := &then[room]
		s.left = s.left.Add(e.Held)
		n := s.fit
		if n < r.Want {
			n = r.Count(s.left)
		}
		total += n - s.fit
		s.fit, s.own = n, s.own || e.Own
		h.counts(*e)
	}
	if total < r.Want {
		return nil
	}
	for k, want := 0, r.Want; want > 0; k++ {
		if n := min(then[k].fit, want); n > 0 {
			i := rooms[k].Slot
			h.Tasks[i], h.Extra[i] = n, then[k].left.Minus(r.Need.Times(n))
			want -= n
			h.Own = h.Own || then[k].own
		}
	}
	return h
}

// Count is how many tasks of the request fit, at most as many as are wanted.
func (r Request) Count(left api.Resources) int {
	n, most := 0, r.Want
	for n < most && r.Fits(left) {
		left = left.Minus(r.Need)
		if r.AtMostOne {
			most = 1
		}
		n++
	}
	return n
}

// Idle is what is kept of that which is free, by slot.
func (h *Hold) Idle(free func(slot int) api.Resources) (sum api.Resources) {
	for i, n := range h.Tasks {
		have, want := free(i), h.Need.Times(n)
		sum.CPUs += max(0, min(have.CPUs, want.CPUs))
		sum.Mem += max(0, min(have.Mem, want.Mem))
		sum.Disk += max(0, min(have.Disk, want.Disk))
		sum.GPUs += max(0, min(have.GPUs, want.GPUs))
	}
	return sum
}

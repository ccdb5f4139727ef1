package reserve

import (
	"maps"
	"time"
)

// Head is the first task of a partition that does not fit, and what it may keep
// from others: as long as its owner's share is below theirs. Of an instant that
// would be no measure. A wide one would be passed for ever: while room is kept
// for it others have less and less, until they have less than its owner, take
// the room back, and so on. So it is averaged since the task began to wait, with
// the room that is idle for its sake counted as its owner's; and what it keeps
// from somebody once, it keeps until it starts.
type Head struct {
	Job            string
	Index, Attempt int
	Began          time.Time // the bound of its wait counts since
	// Late is set when it has waited as long as one may at most that is wider
	// than what its partition is entitled to, which weights would let wait for ever.
	Late bool

	from time.Time // the averages are since
	mark []float64
	idle float64         // dominant share of what was idle for its sake, times seconds
	now  float64         // and at present
	out  map[string]bool // those it keeps out until it starts
	met  map[string]Side // its owner's side against all who wanted what is kept
}

// Is reports whether it is that task.
func (h *Head) Is(job string, index, attempt int) bool {
	return h != nil && h.Job == job && h.Index == index && h.Attempt == attempt
}

// memory is for how long a partition pays for what it had more than others.
const memory = time.Hour

// NewHead is a task that waits first from now on, after another one of its
// partition (nil: none). While its owner is ahead of somebody who wanted the same
// room, the averages continue from the same beginning: what was taken is paid for.
func NewHead(job string, index, attempt int, now time.Time, a *Averages, before *Head) *Head {
	h := &Head{Job: job, Index: index, Attempt: attempt, out: map[string]bool{}, met: map[string]Side{}}
	if before != nil && now.Sub(before.from) < memory && before.owes(a) {
		h.from, h.mark, h.idle, h.met = before.from, before.mark, before.idle, before.met
		return h
	}
	h.from, h.mark = now, a.Mark()
	return h
}

// Side is one of two who want the same room: its name in the averages, its
// weight, and its share by that now.
type Side struct {
	Name          string
	Weight, Share float64
}

// tiny is what sums of shares may differ in without being different.
const tiny = 1e-9

// KeepsOut reports whether room that is kept for the task is kept from another
// side: its owner is behind that by weight, or was when it was asked first.
func (h *Head) KeepsOut(a *Averages, owner, other Side, idle float64) bool {
	if h.out[other.Name] {
		return true
	}
	h.met[other.Name] = owner
	mine, theirs := h.mine(a, owner), a.Since(h.mark, other.Name)
	scale := tiny * max(1, mine, theirs)
	switch {
	case mine < theirs-scale:
		h.out[other.Name] = true
		return true
	case mine > theirs+scale:
		return false
	}
	return owner.Share+idle/owner.Weight < other.Share-tiny
}

// mine is what the owner had since the mark: by its weight, times seconds.
func (h *Head) mine(a *Averages, owner Side) float64 {
	return a.Since(h.mark, owner.Name) + h.idle/owner.Weight
}

// owes reports whether its owner has had more than somebody who wanted the same.
func (h *Head) owes(a *Averages) bool {
	for name, owner := range h.met {
		if h.mine(a, owner) > a.Since(h.mark, name)+tiny {
			return true
		}
	}
	return false
}

// Advance counts what was idle for the task's sake for so long.
func (h *Head) Advance(seconds float64) { h.idle += h.now * seconds }

// Idles says how much is, from now on.
func (h *Head) Idles(share float64) { h.now = share }

// Clone is a head of its own that continues from here.
func (h *Head) Clone() *Head {
	c := *h
	c.out, c.met = maps.Clone(h.out), maps.Clone(h.met)
	return &c
}

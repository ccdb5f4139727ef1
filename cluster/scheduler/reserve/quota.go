package reserve

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// Quota is what is kept for a job that limits hold back, below its partition's own
// and those of the partitions above: a Hold, but of no node. Others that such a
// limit bounds start only if they end before the job can start, or if enough is
// left beside it then.
type Quota struct {
	Kept
	// Blind is set when nobody knows what comes back before: there were too many
	// tasks to look at, or none of them ends by itself, or it is kept for others.
	Blind  bool
	Levels []Level // the lowest first
}

// Level is a limit that a quota is kept below.
type Level struct {
	Path     string // of the partition that has it
	Limit    api.Amounts
	Released api.Resources // what it bounds and will have come back by then
	// Shared is set where the limit is on other partitions, too.
	Shared bool
}

// Find finds when the quota's job can start, as tasks end in the order of their
// ends. held is what each level holds now, with what is kept there for others; all
// reports whether those are all ends that are known.
func (q *Quota) Find(ends []Release, held []api.Resources, all bool) {
	for _, r := range ends {
		if q.fits(held) && (r.At.IsZero() || !r.At.Equal(q.At)) {
			return // what comes back at the same time is left to others
		}
		q.counts(r)
		q.Release(r.Path, r.Held)
	}
	if all && q.fits(held) {
		return
	}
	q.Blind, q.At, q.Grace, q.Hoped = true, time.Time{}, 0, false
	for i := range q.Levels {
		q.Levels[i].Released = api.Resources{}
	}
}

func (q *Quota) fits(held []api.Resources) bool {
	for i := range q.Levels {
		if !q.Levels[i].Leaves(held[i], q.Whole) {
			return false
		}
	}
	return true
}

// Release counts what a task of a partition gives back before the job starts.
func (q *Quota) Release(path string, held api.Resources) {
	for i := range q.Levels {
		if l := &q.Levels[i]; api.PathWithin(path, l.Path) {
			l.Released = l.Released.Add(held)
		}
	}
}

// Level is that of a partition's limit, nil if none is kept below it.
func (q *Quota) Level(path string) *Level {
	i := slices.IndexFunc(q.Levels, func(l Level) bool { return l.Path == path })
	if i < 0 {
		return nil
	}
	return &q.Levels[i]
}

// Leaves reports whether so much more fits below the limit once what will come back
// did, of what is held in all.
func (l *Level) Leaves(held, need api.Resources) bool {
	has, back, more := api.AmountsOf(held), api.AmountsOf(l.Released), api.AmountsOf(need)
	for name, most := range l.Limit.Each {
		if n := more.Of(name); n > 0 && has.Of(name)-back.Of(name)+n > most {
			return false
		}
	}
	return true
}

// Idle is how much of what is kept is there now.
func (l *Level) Idle(held, whole api.Resources) api.Resources {
	for name, most := range l.Limit.Each {
		left := max(0, most-api.AmountsOf(held).Of(name))
		switch name {
		case "cpus":
			whole.CPUs = min(whole.CPUs, api.MilliCPU(left))
		case "mem":
			whole.Mem = min(whole.Mem, api.Bytes(left))
		case "disk":
			whole.Disk = min(whole.Disk, api.Bytes(left))
		case "gpus":
			whole.GPUs = min(whole.GPUs, left)
		}
	}
	return whole
}

package scheduler

import (
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// unit is one task that may be placed now.
type unit struct {
	index, attempt, version int
	need                    api.Resources
}

// units is the waiting tasks of a job: those with a row of their own, then
// those of an array that were only counted so far.
type units struct {
	made   []unit
	cur    unit
	from   int // next of the unmade
	to     int
	skip   int                  // of those, how many have a row and have ended
	ended  func(index int) bool // reports whether one is of them
	base   int
	latest int
	need   api.Resources
}

// maxMade bounds how many rows one pass reads of a job.
const maxMade = 10_000

// newUnits lists a job's tasks; again is when the first back-off is over.
func newUnits(v *fsm.View, j *api.Job, now time.Time) (u *units, again time.Time) {
	u = &units{base: j.Base + 1, latest: j.Version, need: j.Spec.Need()}
	for t := range v.PendingMade(j) {
		switch {
		case waits(j, t, now):
			if again.IsZero() || t.NotBefore.Before(again) {
				again = t.NotBefore
			}
		case j.SpecFor(t) == nil:
		default:
			u.made = append(u.made, unit{t.Index, t.Attempt, t.Version, t.Resources})
		}
		if len(u.made) >= maxMade {
			return u, again
		}
	}
	if j.Unmade() > 0 {
		first, count, _ := j.Spec.Indexes()
		u.from, u.to, u.skip = first+j.Made, first+count, j.Skipped
		u.ended = func(index int) bool { return v.Made(j.ID, index) }
	}
	return u, again
}

// waits reports whether a task's back-off is not over. One of longer than there is
// was reckoned by a clock that was set back since.
func waits(j *api.Job, t *api.Task, now time.Time) bool {
	most := time.Minute
	if j.Spec.Kind == api.KindService {
		most = max(most, time.Duration(j.Spec.Restart.MaxDelay))
	}
	left := t.NotBefore.Sub(now)
	return left > 0 && left <= most
}

// peek is the next task, nil at the end.
func (u *units) peek() *unit {
	if len(u.made) > 0 {
		return &u.made[0]
	}
	for ; u.skip > 0 && u.ended(u.from); u.skip-- {
		u.from++
	}
	if u.from < u.to {
		u.cur = unit{u.from, u.base, u.latest, u.need}
		return &u.cur
	}
	return nil
}

func (u *units) pop() {
	if len(u.made) > 0 {
		u.made = u.made[1:]
		return
	}
	u.from++
}

// left is how many tasks are left.
func (u *units) left() int { return len(u.made) + u.to - u.from - u.skip }

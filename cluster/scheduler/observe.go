package scheduler

import (
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// observer looks on as a pass decides. It decides nothing: the same is decided
// whoever looks.
type observer interface {
	// asks reports whether it wants to know what keeps just that job waiting: then
	// that is tried, though it is known that no node has room.
	asks(j *api.Job) bool
	// tried is told of each job that is looked at, before it is.
	tried(e *entry)
	// passed is told of one that is passed by: no node has room, or it is not ready
	// to start, until then if that is known.
	passed(e *entry, ready bool, until time.Time)
	// blocked is told that the current job of a turn cannot continue.
	blocked(p *pass, t *turn, limit bool)
	// kept is told of what is kept below the limit of a partition for another job.
	kept(j *api.Job, by *reserve.Quota, of string)
	// barred is told by which rules no more of a job may run now, none included.
	barred(j *api.Job, by []fsm.RunningBar)
	// taken is told how many tasks more are preempted for a job.
	taken(j *api.Job, n int)
}

// unobserved is where nobody looks.
type unobserved struct{}

func (unobserved) asks(*api.Job) bool                    { return false }
func (unobserved) tried(*entry)                          {}
func (unobserved) passed(*entry, bool, time.Time)        {}
func (unobserved) blocked(*pass, *turn, bool)            {}
func (unobserved) kept(*api.Job, *reserve.Quota, string) {}
func (unobserved) barred(*api.Job, []fsm.RunningBar)     {}
func (unobserved) taken(*api.Job, int)                   {}

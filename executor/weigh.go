package executor

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/executor/prepare"
	"github.com/mesita/mesita/executor/weights"
)

// weighAfter is how long changes of weights are gathered: a job of a thousand
// short tasks is not weighed a thousand times.
const weighAfter = 50 * time.Millisecond

// fitAgain is how long a task has to give memory back that it does not hold any more, until
// it is looked at again.
const fitAgain = 30 * time.Second

// weigh has the groups that the attempt is in get what the tasks in them were
// guaranteed, and use no more than they may. It is called when the attempt may
// have begun to count, or may have ceased to. A frozen one counts with its memory.
func (e *Executor) weigh(a *attempt) {
	if e.weights == nil {
		return
	}
	var share weights.Share
	limit := int64(0)
	if a.state >= starting && !a.state.ended() && a.state != recalled {
		r := &a.task.Resources
		share = weights.Share{CPUs: int64(r.CPUs), Mem: int64(r.Mem), MemExtra: int64(r.MemExtra)}
		if a.freezer.frozen() {
			share.CPUs = 0
		} else if a.state.hasProcess() { // its start is not bounded
			if limit = int64(a.spec.CPULimit); limit == 0 && a.rec.Lifted {
				limit = weights.Unlimited
			}
		}
	}
	if a.slice == "" {
		a.slice = prepare.Slice(a.task)
	}
	if e.weights.Set(a.slice, share, limit) {
		e.weighSoon()
	}
}

// fitMemory lets an attempt that runs have the memory that it holds by now: that of an
// executor of a framework is its tasks', too. What it needs still it keeps until it does not.
func (e *Executor) fitMemory(a *attempt) {
	most, slice := int64(a.task.Resources.MemLimit()), a.slice
	if e.cfg.Kernel == nil || !a.state.hasProcess() || most == 0 || slice == "" {
		return
	}
	id := a.id
	e.loop.ops.add(func(context.Context) {
		fits, err := e.cfg.Kernel.SetMemory(slice, most)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			e.log.Warn("a task was not given the memory that it holds by now", "attempt", id, "memory", api.Bytes(most), "error", err)
		}
		if err == nil && !fits {
			e.post(func() { e.fitSoon(a) })
		}
	})
}

// fitSoon tries again.
func (e *Executor) fitSoon(a *attempt) {
	if a.fitting {
		return
	}
	a.fitting = true
	e.after(fitAgain, func() {
		a.fitting = false
		e.fitMemory(a)
	})
}

// placed says in which slice the keeper has the attempt: an earlier version may
// have named it.
func (e *Executor) placed(a *attempt, slice string) {
	if e.weights != nil && a.slice != "" && a.slice != slice {
		e.weights.Set(a.slice, weights.Share{}, 0)
	}
	a.slice = slice
}

// weighAll is called when all that runs here is known.
func (e *Executor) weighAll() {
	if e.weights != nil && e.weights.Whole() {
		e.weighSoon()
	}
}

func (e *Executor) weighSoon() {
	if e.weights == nil {
		return
	}
	e.loop.weighing = e.after(weighAfter, e.writeWeights)
}

func (e *Executor) writeWeights() {
	e.loop.ops.add(func(context.Context) {
		err := e.weights.Write()
		if err != nil {
			e.loop.unweighed.Do(func() { // and not for each task from then on
				e.log.Warn("CPU and memory are not divided as they should be: a group's share or limit was not set; it is tried again", "error", err)
			})
		}
		e.post(func() { e.weighed(err) })
	})
}

// weighed has what the kernel refused tried again, ever more rarely: it may be
// that this daemon has no more files for a moment, and it may be for ever.
func (e *Executor) weighed(err error) {
	l := &e.loop
	switch {
	case err == nil:
		l.refused = nil
		return
	case l.reweigh != nil:
		return
	case l.refused == nil:
		l.refused = backoff.New(time.Second, time.Hour)
	}
	l.reweigh = e.after(l.refused.Next(), func() {
		l.reweigh = nil
		e.writeWeights()
	})
}

// Bound says which limits bound the CPU of what this node runs, from now on. Until
// it is called those of an earlier daemon hold.
func (e *Executor) Bound(all []api.CPUBound) {
	if e.weights == nil {
		return
	}
	bounds := make(map[string]weights.Bound, len(all))
	for _, b := range all {
		bounds[b.Partition] = weights.Bound{Limit: int64(b.Limit), Requested: int64(b.Requested)}
	}
	e.post(func() {
		if e.weights.Bound(bounds) {
			e.weighSoon()
		}
	})
}

// boundsOf are the limits of partitions that bound what the attempt may use.
func (e *Executor) boundsOf(a *attempt) (out []api.BoundStats) {
	if e.weights == nil || a.slice == "" {
		return nil
	}
	for _, b := range e.weights.Bounds(a.slice) {
		out = append(out, api.BoundStats{Partition: b.Group, Limit: api.MilliCPU(b.Limit), Here: api.MilliCPU(b.Here)})
	}
	return out
}

// holdUps fills in how much those limits held tasks up, which is read once for
// all tasks of a partition. One that ended meanwhile held nobody up.
func (e *Executor) holdUps(all []api.TaskStats) {
	read := map[string]api.Throttle{}
	for i := range all {
		for j := range all[i].Bounds {
			b := &all[i].Bounds[j]
			t, ok := read[b.Partition]
			if !ok {
				is, _ := e.cfg.Kernel.Throttling(b.Partition)
				t = api.Throttle(is)
				read[b.Partition] = t
			}
			b.Throttle = t
		}
	}
}

package executor

import (
	"context"
	"time"

	"github.com/mesita/mesita/executor/prepare"
)

// weighAfter is how long changes of weights are gathered: a job of a thousand
// short tasks is not weighed a thousand times.
const weighAfter = 50 * time.Millisecond

// weigh has the groups that the attempt is in weigh what the tasks in them were
// guaranteed. It is called when
// the attempt may have begun to count, or may have ceased to.
func (e *Executor) weigh(a *attempt) {
	if e.weights == nil {
		return
	}
	cpus := int64(0)
	if a.state >= starting && !a.state.ended() && a.state != recalled && !a.freezer.frozen() {
		cpus = int64(a.task.Resources.CPUs)
	}
	if a.slice == "" {
		a.slice = prepare.Slice(a.task)
	}
	if e.weights.Set(a.slice, cpus) {
		e.weighSoon()
	}
}

func (e *Executor) weighSoon() {
	if e.weights == nil {
		return
	}
	e.loop.weighing = e.after(weighAfter, func() {
		e.loop.ops.add(func(context.Context) {
			if err := e.weights.Write(); err != nil {
				e.loop.unweighed.Do(func() { // and not for each task from then on
					e.log.Warn("a full node's CPU is not divided as it should be: a group's weight was not set", "error", err)
				})
			}
		})
	})
}

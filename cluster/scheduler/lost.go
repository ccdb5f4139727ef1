package scheduler

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// lost is the work that is lost if a task ends. What an executor of a framework runs ends
// with it.
func (x *preemption) lost(t *api.Task) float64 {
	capacity := x.view.Capacity()
	did := func(t *api.Task) float64 { return t.Ran(x.now).Seconds() * fsm.Dominant(t.Resources, capacity) }
	all := did(t)
	if t.Framework != nil && t.Framework.IsExecutor {
		for _, hosted := range x.view.Hosted(t) {
			all += did(hosted)
		}
	}
	return all
}

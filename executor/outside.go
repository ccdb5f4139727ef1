package executor

import (
	"context"

	"github.com/mesita/mesita/api"
)

// LookOutside looks anew at what other programs of this machine have of what is
// for tasks. Run must be under way.
func (e *Executor) LookOutside(ctx context.Context) (err error) {
	if e.cfg.Outside == nil {
		return nil
	}
	e.cfg.Outside.Look(func() api.Ranges {
		var all api.Ranges
		err = e.ask(ctx, func() {
			for _, a := range e.loop.tasks {
				if !a.state.ended() {
					all = append(all, a.task.Resources.Ports...)
				}
			}
		})
		return all.Union(nil) // in order
	})
	return err
}

// Outside is what was found last; nil is nothing.
func (e *Executor) Outside() *api.Outside {
	if e.cfg.Outside == nil {
		return nil
	}
	return e.cfg.Outside.Told()
}

package executor

import (
	"context"

	"github.com/mesita/mesita/executor/keeper"
)

// ahead is the preparation of a start while the journal is written: nothing of it
// runs before that is on disk, and what was made for nothing is removed.
type ahead struct {
	done chan struct{} // closed when the rest is there
	req  keeper.StartRequest
	err  error
}

// maxAhead bounds the starts that are prepared ahead. With more to start at once
// the processor is what they wait for, and the journal is written for all of them.
const maxAhead = 4

// prepareAhead begins to prepare the start of an attempt, unless its program or a file may
// have to be fetched first, or it has CPUs of its own: its slice is made once all
// others are off them, or who shares what was given back just before may share
// them with it.
func (e *Executor) prepareAhead(a *attempt) {
	if a.spec.Program != "" || len(a.spec.Files) > 0 || len(a.spec.Fetch) > 0 || a.task.Resources.Pins > 0 || e.loop.aheads >= maxAhead || a.state != noting {
		return
	}
	h := &ahead{done: make(chan struct{})}
	a.ahead = h
	e.loop.aheads++
	id, task, spec, job, own := a.id, a.task, a.spec, a.job, a.rec.Cores
	e.loop.starts.add(func(context.Context) {
		if h.req, h.err = e.request(id, task, spec, job, own, true); h.err == nil {
			e.rt.Prepare(h.req)
		}
		close(h.done)
	})
}

// takeAhead is what was prepared of an attempt's start, which is wanted now, or
// not any more.
func (e *Executor) takeAhead(a *attempt) *ahead {
	h := a.ahead
	if h != nil {
		a.ahead = nil
		e.loop.aheads--
	}
	return h
}

// wait is what was prepared, or what prepare makes if nothing was.
func (h *ahead) wait(prepare func() (keeper.StartRequest, error)) (keeper.StartRequest, error) {
	if h == nil {
		return prepare()
	}
	<-h.done
	return h.req, h.err
}

package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/executor/prepare"
)

var errCanceled = errors.New("it was stopped before it started")

// startPatience is how long the preparation of a start may take before the next
// begins all the same.
const startPatience = 20 * time.Millisecond

// launch has the keeper start the attempt, when it is its turn. Nobody waits for
// those who look for their program, or wait for the keeper, longer than that
// takes at its best: a program may be on a dead file server.
func (e *Executor) launch(a *attempt) {
	id, task, spec, own, begun, early := a.id, a.task, a.spec, a.rec.Cores, a.begun, e.takeAhead(a)
	job := a.job
	a.coresSeen, _ = e.cores.Taken()
	e.loop.underWay.Add(1)
	var told sync.Once
	tell := func(res keeper.StartResult, err error, why api.Reason) {
		told.Do(func() {
			e.loop.underWay.Add(-1)
			if err != nil && e.loop.ctx.Err() != nil {
				return // the daemon ends; the journal knows how far this is
			}
			e.post(func() {
				a.cancel() // or its context would stay
				e.launched(a, res, err, why)
			})
		})
	}
	wanted, cancel := context.WithCancel(e.loop.ctx)
	a.cancel = cancel
	unwatch := context.AfterFunc(wanted, func() { tell(keeper.StartResult{}, errCanceled, api.ReasonNone) })
	start := func(ctx context.Context, leave func()) {
		asked := false
		defer func() {
			if !asked {
				leave()
			}
		}()
		if wanted.Err() != nil {
			return
		}
		if e.cfg.Outside != nil && !begun { // one that began may have its ports by now
			if err := e.cfg.Outside.Free(task.Ports); err != nil {
				tell(keeper.StartResult{}, err, api.ReasonPortTaken)
				return
			}
		}
		if task.Resources.Pins > 0 && !begun {
			if err := e.settleFor(own); err != nil {
				tell(keeper.StartResult{}, err, api.ReasonUnsupported)
				return
			}
		}
		req, err := early.wait(func() (keeper.StartRequest, error) { return e.request(id, task, spec, job, own, !begun) })
		if !unwatch() {
			return
		}
		if err != nil {
			tell(keeper.StartResult{}, err, prepareReason(err))
			return
		}
		asked = true
		e.loop.work.Go(func() {
			defer leave()
			res, err := e.rt.Start(ctx, req)
			why := startReason(err)
			if err != nil && ofProgram(err) {
				err = e.prepare.NotRun(&req.Spec, err)
				e.prepare.Folders.Release(id, false) // nothing of it ever ran
			}
			tell(res, e.prepare.Named(&req.Spec, err), why)
		})
	}
	e.loop.pace.enter(func(leave func()) {
		e.loop.starts.add(func(ctx context.Context) { start(ctx, leave) })
	})
}

// request is what the keeper is asked to start. An attempt that is new has its files put;
// else the task may run by now, and they are its own.
func (e *Executor) request(id string, t *api.Task, s *api.TaskSpec, job uint64, own []int, isNew bool) (keeper.StartRequest, error) {
	for digest := range s.Uploads() {
		if err := e.blobs.Check(digest); err != nil {
			return keeper.StartRequest{}, err
		}
	}
	proc, err := e.prepare.Task(id, t, s, job)
	if err == nil && isNew {
		err = e.prepare.PutFiles(id, s, proc.Program)
	}
	e.stock()
	e.onCores(&proc, own)
	return keeper.StartRequest{ID: id, Slice: prepare.Slice(t), Spec: proc, LogDir: e.logDir(id), LogMax: int64(s.LogMax), Terminal: s.TTY}, err
}

func (e *Executor) logDir(id string) string { return filepath.Join(e.cfg.DataDir, "logs", id) }

const (
	fetchTries = 4
	fetchPause = time.Second // after the first try; doubles
)

// fetch gets an upload that the attempt needs from another node, once for all that wait
// for it.
func (e *Executor) fetch(a *attempt, digest string) {
	waiting := e.loop.fetching[digest]
	e.loop.fetching[digest] = append(waiting, a)
	if len(waiting) > 0 {
		return
	}
	e.loop.fetches.add(func(ctx context.Context) {
		err := e.fetchBlob(ctx, digest)
		if ctx.Err() != nil {
			return
		}
		e.post(func() { e.fetched(digest, err) })
	})
}

func (e *Executor) fetchBlob(ctx context.Context, digest string) (err error) {
	if e.cfg.Fetch == nil {
		return fmt.Errorf("program %s is not on this node, and there is no other to ask", digest)
	}
	retry := backoff.New(fetchPause, fetchPause<<fetchTries)
	for try := range fetchTries {
		if try > 0 && !retry.Wait(ctx) {
			return context.Cause(ctx)
		}
		if e.blobs.Has(digest) {
			return nil
		}
		err = e.blobs.Fetch(digest, func(w io.Writer) error { return e.cfg.Fetch(ctx, digest, w) })
		if err == nil {
			return nil
		}
		e.log.Warn("a program could not be fetched", "program", digest, "try", try+1, "error", err)
	}
	return err
}

// fetchAgain gets anew what the attempt needs and was damaged here; once.
func (e *Executor) fetchAgain(a *attempt, damage error) {
	e.log.Error("a program was damaged on disk; it is fetched from another node: look after this disk", "task", a.task.ID, "error", damage)
	e.unpin(a)
	a.damage = damage
	e.supply(a)
}

func (e *Executor) fetched(digest string, err error) {
	all := e.loop.fetching[digest]
	delete(e.loop.fetching, digest)
	for _, a := range all {
		why := verdict{api.TaskFailed, api.ReasonFetchFailed, "program " + digest + " was removed as soon as it was fetched: the program cache is too small"}
		switch {
		case a.state != supplying: // it ended meanwhile
			continue
		case err == nil && e.blobs.Pin(digest):
			a.pins = append(a.pins, digest)
			e.supply(a) // there may be more that it needs
			continue
		case err != nil:
			if prepare.OfDisk(err) {
				why.reason = machineReason(err)
			}
			if why.message = err.Error(); a.damage != nil {
				why.message = fmt.Sprintf("%v; it cannot be had from another node: %v", a.damage, err)
			}
		}
		e.happen(a, unsupplied, news{why: why})
	}
}

// seal ends the log of an attempt whose keeper died.
func (e *Executor) seal(a *attempt) {
	id := a.id
	e.loop.ops.add(func(context.Context) {
		if err := logs.Seal(e.logDir(id)); err != nil {
			e.log.Warn("a log was not ended", "attempt", id, "error", err)
		}
	})
}

// sealEmpty ends the log of an attempt that wrote nothing.
func (e *Executor) sealEmpty(a *attempt) {
	id := a.id
	e.loop.ops.add(func(context.Context) {
		if err := logs.SealEmpty(e.logDir(id)); err != nil {
			e.log.Warn("a log was not ended", "attempt", id, "error", err)
		}
	})
}

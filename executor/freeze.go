package executor

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
)

// freezer is what is known of an attempt's freezer. The keeper owns the truth,
// since it outlives the daemon: what is here comes from its answers.
type freezer struct {
	on      bool           // some of its processes may be stopped
	since   time.Time      // all of them are; zero: not, or not known
	earlier time.Duration  // it was frozen before
	refused bool           // this node cannot freeze it
	signal  syscall.Signal // the stop signal, due once it is thawed

	asked  bool               // what the request under way wants
	cancel context.CancelFunc // of that request; nil: there is none
	failed bool               // the last request, which is repeated
	again  *time.Timer
}

// frozen reports whether all processes are known to be stopped.
func (f *freezer) frozen() bool { return !f.since.IsZero() }

// idle reports whether all processes are known to run.
func (f *freezer) idle() bool { return !f.on && f.cancel == nil }

func (f *freezer) take(st keeper.Status) {
	f.on, f.since, f.earlier = st.Freezer, st.Frozen, st.FrozenFor
}

func (f *freezer) stop() {
	if f.again != nil {
		f.again.Stop()
	}
	if f.cancel != nil {
		f.cancel()
	}
}

// setFreezer compares what is wanted of a running attempt with what it is,
// and does the next step. It is called whenever either may have changed.
func (e *Executor) setFreezer(a *attempt) {
	f := &a.freezer
	want := a.task.Desired == api.DesiredFreeze && a.state == running
	if !want {
		f.refused = false
	}
	switch {
	case a.state != running && a.state != stopping:
	case f.cancel != nil:
		if f.asked != want {
			f.cancel() // freezerSet continues from there
		}
	case want && f.refused:
	case want && !f.frozen():
		e.askFreezer(a, true)
	case !want && f.on:
		e.askFreezer(a, false)
	case want:
		// Once the cluster knows that it runs, or the report of its start would be
		// replaced; and again if the cluster wanted it to run for a moment.
		if !a.task.Frozen && a.task.State >= api.TaskRunning {
			st := e.status(a, api.TaskRunning, f.since)
			st.Frozen, st.Reason = true, a.task.Reason
			e.reports.add(st)
		}
	case f.signal != 0:
		e.send(a, f.signal)
		f.signal = 0
	}
}

// askFreezer has the keeper freeze or thaw the attempt. One request is under
// way at a time, so that the last one is the newest.
func (e *Executor) askFreezer(a *attempt, on bool) {
	f := &a.freezer
	ctx, cancel := context.WithCancel(e.loop.ctx)
	if f.again != nil {
		f.again.Stop()
	}
	f.on, f.since, f.asked, f.cancel = true, time.Time{}, on, cancel
	id, ask := a.id, e.rt.Thaw
	if on {
		ask = e.rt.Freeze
	}
	e.loop.freezes.add(func(stopped context.Context) {
		defer cancel()
		st, err := keeper.Status{}, context.Cause(ctx)
		if err == nil {
			st, err = ask(ctx, id)
		}
		if stopped.Err() != nil {
			return // the daemon ends; the next one asks the keeper how far this is
		}
		e.post(func() { e.freezerSet(a, st, err) })
	})
}

// freezeAgain is when a request that failed is repeated.
const freezeAgain = 2 * time.Second

// freezerSet takes in how a freeze or thaw went.
func (e *Executor) freezerSet(a *attempt, st keeper.Status, err error) {
	f := &a.freezer
	f.cancel = nil
	if !a.state.hasProcess() || gone(err) {
		return // its end is known, or about to be
	}
	switch {
	case err == nil:
		f.take(st)
		f.failed = false
		e.limit(a)
		e.weigh(a)
	case errors.Is(err, keeper.ErrUnfreezable):
		f.on, f.refused = false, true
		e.log.Error("a task that is to be preempted cannot be frozen here, and runs on", "task", a.id, "error", err)
	case errors.Is(err, context.Canceled): // what is wanted changed meanwhile
	default:
		if !f.failed {
			e.log.Warn("a task was not frozen or thawed; trying again", "task", a.id, "freeze", f.asked, "error", err)
		}
		f.failed = true
		f.again = e.after(freezeAgain, func() { e.setFreezer(a) })
		if f.signal != 0 && a.grace == nil {
			e.wait(a) // it may never be thawed
		}
		return
	}
	e.setFreezer(a)
}

func errFrozen(task string) error {
	return api.Errorf(api.CodeConflict, "task %s is frozen: it gave its cpus to work that had the better claim; try again once it was thawed", task)
}

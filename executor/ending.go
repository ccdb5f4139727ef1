package executor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/journal"
	"github.com/mesita/mesita/executor/keeper"
	"golang.org/x/sys/unix"
)

// signal sends the stop signal.
func (e *Executor) signal(a *attempt) {
	sig := unix.SignalNum(a.spec.StopSignal)
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	a.stopGrace()
	if !a.freezer.idle() {
		a.freezer.signal = sig // a frozen process cannot heed it
		e.setFreezer(a)
		return
	}
	e.send(a, sig)
}

// End has an attempt of a task end as one that is stopped does: the state and the reason
// are told of it. It does nothing where the attempt has ended, or is another one by now.
func (e *Executor) End(task string, attempt int, state api.TaskState, reason api.Reason, message string) {
	e.post(func() {
		if a := e.loop.tasks[task]; a != nil && a.n == attempt && !a.state.ended() {
			e.happen(a, stop, news{why: verdict{state, reason, message}})
		}
	})
}

// send sends the stop signal, and gives the attempt its time from then on: what it
// is sent through may be slow, and a later daemon sends it again.
func (e *Executor) send(a *attempt, sig syscall.Signal) {
	if e.cfg.Ask != nil && e.cfg.Ask(a.task) {
		e.sent(a, nil)
		return
	}
	id := a.id
	e.loop.asks.add(func(ctx context.Context) {
		err := e.rt.Signal(ctx, id, sig)
		if err != nil && ctx.Err() != nil {
			return
		}
		if err != nil && !gone(err) {
			e.log.Warn("a task was not sent its stop signal; it is killed after its grace time", "task", id, "error", err)
		}
		e.post(func() { e.sent(a, err) })
	})
}

// sent takes in that the stop signal was sent, or cannot be.
func (e *Executor) sent(a *attempt, err error) {
	if errors.Is(err, keeper.ErrNotRunning) && a.why != nil && a.why.reason == api.ReasonTimeLimit && !a.state.ended() {
		a.why = nil // it had ended in time, and that is still to be told
	}
	if a.state == stopping {
		e.wait(a)
	}
}

// gone reports whether there was nothing left to signal.
func gone(err error) bool {
	return errors.Is(err, keeper.ErrUnknown) || errors.Is(err, keeper.ErrNotRunning)
}

// killAgain is when a kill that showed no effect is repeated.
const killAgain = 2 * time.Second

// wait gives the attempt its time to stop.
func (e *Executor) wait(a *attempt) {
	a.stopGrace()
	a.killed = e.cfg.Now().Add(time.Duration(a.spec.StopGrace))
	a.grace = e.after(time.Duration(a.spec.StopGrace), func() { e.happen(a, overdue, news{}) })
}

// hurry gives the attempt less time to stop, if it was asked once more and has less from
// now on.
func (e *Executor) hurry(a *attempt) {
	if a.grace != nil && e.cfg.Now().Add(time.Duration(a.spec.StopGrace)).Before(a.killed) {
		e.wait(a)
	}
}

// slay ends the attempt by force, and sees whether that has an effect.
func (e *Executor) slay(a *attempt) {
	a.stopTimers()
	a.grace = e.after(killAgain, func() { e.happen(a, overdue, news{}) })
	id := a.id
	e.loop.asks.add(func(ctx context.Context) {
		if err := e.rt.Kill(ctx, id); err != nil && !gone(err) && ctx.Err() == nil {
			e.log.Warn("a task was not killed; trying again", "task", id, "error", err)
		}
	})
}

// exit takes in the end of the process.
func (e *Executor) exit(a *attempt, st keeper.Status) {
	if !st.Started.IsZero() {
		a.rec.Started, a.rec.PID = st.Started, st.PID
	}
	e.giveFolders(a, st.Gone)
	f := e.status(a, api.TaskFinished, st.Ended)
	code := st.Code
	if st.Signal != 0 {
		code = 128 + int(st.Signal)
		f.Signal = signalName(st.Signal)
	}
	f.ExitCode = &code
	f.Reason = api.ReasonExited
	if began := a.rec.Started; !began.IsZero() {
		f.Started = &began
	}
	if st.CPUTime > 0 {
		f.Used = &api.TaskUse{CPUTime: st.CPUTime.Microseconds(), MemPeak: api.Bytes(st.MemPeak)}
	}
	switch {
	case a.why != nil:
		f.State, f.Reason, f.Message = a.why.state, a.why.reason, a.why.message
	case st.OOMKills > 0 && code != 0:
		f.State, f.Reason = api.TaskFailed, api.ReasonOOM
		f.Message = outOfMemory(a.task.Resources, st)
	case st.Signal != 0:
		f.State, f.Reason, f.Message = api.TaskFailed, api.ReasonSignaled, signaled(st.Signal, a.spec)
	case code != 0:
		f.State, f.Message = api.TaskFailed, fmt.Sprintf("it exited with code %d", code)
	}
	if st.Error != "" {
		f.Message = st.Error
	}
	e.conclude(a, f)
}

// signalName is that of signal(7), also of one in real time.
func signalName(sig syscall.Signal) string {
	const first, last = 34, 64 // SIGRTMIN and SIGRTMAX of the C library
	switch name := unix.SignalName(sig); {
	case name != "":
		return name
	case sig == first:
		return "SIGRTMIN"
	case sig > first && sig <= last:
		return "SIGRTMIN+" + strconv.Itoa(int(sig)-first)
	}
	return "signal " + strconv.Itoa(int(sig))
}

// finish ends an attempt that has no process.
func (e *Executor) finish(a *attempt, why verdict) {
	f := e.status(a, why.state, e.now(a))
	f.Reason, f.Message, f.Taken = why.reason, why.message, a.taken
	e.conclude(a, f)
}

// now is the time by the clock of the attempt's start, if it started: it ran for
// as long as it did, whatever became of that clock meanwhile.
func (e *Executor) now(a *attempt) time.Time {
	if a.rec.Up == 0 {
		return e.cfg.Now()
	}
	return a.rec.Started.Add(e.cfg.Uptime() - a.rec.Up)
}

// lose ends an attempt whose keeper died with it, or does not have it.
func (e *Executor) lose(a *attempt, why string) {
	if why == "" {
		why = "the keeper process of node " + e.cfg.Name + " was killed, and its tasks ended with it"
	}
	e.finish(a, verdict{api.TaskFailed, api.ReasonKeeperLost, why})
	e.seal(a)
}

// conclude makes f the final status.
func (e *Executor) conclude(a *attempt, f api.TaskStatus) {
	a.stopTimers()
	if a.filled {
		e.makeRoom(a)
	}
	e.giveCores(a)
	e.takeAhead(a)
	e.stopBringing(a)
	e.loop.active--
	e.unpin(a)
	a.rec.Phase, a.rec.Final, a.rec.Touched = journal.Ended, &f, e.cfg.Now()
	var as *api.Assignment
	if !a.stored {
		as, a.stored = &api.Assignment{Task: a.task, Spec: a.spec, Restarts: a.restarts}, true
	}
	put := e.journal.PutSoon // the keeper knows of the end until forget
	if a.rec.PID == 0 {
		put = e.journal.Put // nobody else knows, and it must not start after all
	}
	put(a.task.ID, as, a.rec, func(err error) {
		if err != nil {
			return
		}
		e.post(func() {
			if e.loop.tasks[a.task.ID] != a && !a.forgotten { // nobody waits for its end to be acknowledged
				e.forget(a.id)
			}
		})
	})
	e.reports.add(f)
	if a.followed {
		e.sealEmpty(a)
	}
	e.tidyLater()
	if a.next != nil {
		next := *a.next
		a.next = nil
		if a.rec.Former {
			e.replace(a, next)
			return
		}
		e.begin(next)
	}
}

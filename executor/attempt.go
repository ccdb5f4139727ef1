package executor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/blobs"
	"github.com/mesita/mesita/executor/journal"
	"github.com/mesita/mesita/executor/keeper"
)

// phase is how far an attempt is on this node. It only moves forward, but for
// a service that is restarted after a reboot.
type phase uint8

const (
	waiting  phase = iota // for the journal, its program, or its turn
	starting              // the keeper was asked
	running
	ended
)

// attempt is one run of a task on this node. The loop owns it.
type attempt struct {
	id       string // with the keeper
	task     *api.Task
	spec     *api.TaskSpec
	n        int
	restarts bool // it is a service's
	phase    phase
	rec      journal.Record
	gen      uint64 // of the last set it was in
	since    uint64 // loop.seq when it came to run

	revive   bool           // waits to be started again after a reboot
	held     bool           // was never started, and waits to hear that it still should be
	pinned   bool           // its program is kept
	followed bool           // someone may wait for the end of its log
	stored   bool           // its assignment is in the journal
	early    *keeper.Status // its end, known before its start
	next     *api.Assignment
	damage   error // its program was damaged here, and is fetched again

	// Why it is to end, if it is.
	ending   bool
	state    api.TaskState
	reason   api.Reason
	message  string
	killed   bool
	canceled atomic.Bool // read by the worker that starts it

	limit, grace *time.Timer
	freezer      freezer
}

func attemptID(task string, n int) string { return task + "/" + strconv.Itoa(n) }

func newAttempt(as api.Assignment) *attempt {
	t := as.Task
	return &attempt{id: attemptID(t.ID, t.Attempt), task: t, spec: as.Spec, restarts: as.Restarts, n: t.Attempt, rec: journal.Record{Attempt: t.Attempt}}
}

func (a *attempt) stopTimers() {
	if a.limit != nil {
		a.limit.Stop()
	}
	a.stopGrace()
	a.freezer.stop()
}

func (a *attempt) stopGrace() {
	if a.grace != nil {
		a.grace.Stop()
	}
}

// track makes the attempt the one of its task.
func (e *Executor) track(a *attempt) {
	e.loop.tasks[a.task.ID] = a
	if a.phase != ended {
		e.loop.active++
		e.disk.watch(e)
	}
}

// begin takes on an attempt that was never seen here, or leaves that to a later
// set if this one starts nothing.
func (e *Executor) begin(as api.Assignment) {
	if e.loop.away {
		return
	}
	a := newAttempt(as)
	a.gen = e.loop.gen
	e.track(a)
	if full, msg := e.disk.check(e.log); full {
		e.finish(a, api.TaskFailed, api.ReasonDiskFull, msg)
		return
	}
	a.rec.Touched, a.stored = e.cfg.Now(), true
	e.journal.Put(a.task.ID, &as, a.rec, func(err error) {
		e.post(func() { e.journaled(a, err) })
	})
}

func (e *Executor) journaled(a *attempt, err error) {
	if a.phase != waiting {
		return
	}
	if err != nil {
		e.finish(a, api.TaskFailed, machineReason(err), err.Error())
		return
	}
	e.supply(a)
}

// supply sees to the attempt's program, and then starts it.
func (e *Executor) supply(a *attempt) {
	digest := a.spec.Program
	if digest == "" {
		e.launch(a)
		return
	}
	if e.blobs.Pin(digest) {
		a.pinned = true
		e.launch(a)
		return
	}
	e.fetch(a)
}

// launched takes in how the start went, and why it failed if it did.
func (e *Executor) launched(a *attempt, res keeper.StartResult, err error, why api.Reason) {
	switch {
	case a.phase != starting:
		return // found running meanwhile, or lost
	case errors.Is(err, keeper.ErrLost):
		e.lost(a, err.Error())
		return
	case err != nil:
		if a.ending {
			e.finish(a, a.state, a.reason, a.message)
			return
		}
		if errors.As(err, new(*blobs.DamagedError)) && a.damage == nil {
			e.fetchAgain(a, err)
			return
		}
		e.finish(a, api.TaskFailed, why, err.Error())
		return
	}
	e.running(a, res.PID, res.Started, res.Up)
	if a.early != nil {
		e.exited(a, *a.early)
	}
}

// running takes note that the attempt's process runs.
func (e *Executor) running(a *attempt, pid int, started time.Time, up time.Duration) {
	a.phase = running
	e.loop.seq++
	a.since = e.loop.seq
	switch {
	case up != 0:
		a.rec.Up = up
	case a.rec.Up == 0 || a.rec.PID != pid: // the keeper is of a version that does not tell
		a.rec.Up = e.cfg.Uptime() - max(0, e.cfg.Now().Sub(started))
	}
	a.rec.Phase, a.rec.PID, a.rec.Started, a.rec.Touched = journal.Running, pid, started, e.cfg.Now()
	if a.early != nil {
		return // the end says it all
	}
	e.journal.PutSoon(a.task.ID, nil, a.rec, nil)
	e.watch(a)
	e.reports.add(e.status(a, api.TaskRunning, started))
	e.setFreezer(a)
}

// watch arms what has to happen to a running attempt later.
func (e *Executor) watch(a *attempt) {
	if a.ending {
		e.signal(a)
		return
	}
	e.limit(a)
}

// limit arms the attempt's time limit, which leaves out the time in which it
// was frozen. It goes by the time since boot: the clock on the wall may jump.
func (e *Executor) limit(a *attempt) {
	if a.limit != nil {
		a.limit.Stop()
	}
	d := time.Duration(a.spec.Time)
	if d <= 0 || a.ending || a.freezer.frozen() {
		return
	}
	a.limit = e.after(a.rec.Up+d+a.freezer.earlier-e.cfg.Uptime(), func() {
		if !a.freezer.frozen() { // just as it was due
			e.end(a, api.TaskFailed, api.ReasonTimeLimit, fmt.Sprintf("it ran for its time limit of %s", a.spec.Time))
		}
	})
}

func (e *Executor) status(a *attempt, s api.TaskState, at time.Time) api.TaskStatus {
	return api.TaskStatus{Task: a.task.ID, Attempt: a.n, NodeID: e.cfg.NodeID, State: s, PID: a.rec.PID, Time: at}
}

// end stops an attempt: its stop signal, and after the grace time by force.
// What was the first cause stays so.
func (e *Executor) end(a *attempt, s api.TaskState, r api.Reason, msg string) {
	if a.phase == ended || a.ending {
		return
	}
	a.ending, a.state, a.reason, a.message = true, s, r, msg
	switch a.phase {
	case waiting:
		e.finish(a, s, r, msg)
	case starting:
		a.canceled.Store(true) // launched hears of it; or it is signalled once it runs
		if a.killed {
			e.kill(a)
			return
		}
		a.grace = e.after(time.Duration(a.spec.StopGrace), func() { e.kill(a) }) // or its program may never begin
	case running:
		e.signal(a)
	}
}

// endNow stops an attempt by force.
func (e *Executor) endNow(a *attempt, s api.TaskState, r api.Reason, msg string) {
	a.killed = true
	if a.ending {
		e.kill(a)
		return
	}
	e.end(a, s, r, msg)
}

func (e *Executor) signal(a *attempt) {
	if a.killed {
		e.kill(a)
		return
	}
	sig := unix.SignalNum(a.spec.StopSignal)
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	a.stopGrace()
	a.grace = e.after(time.Duration(a.spec.StopGrace), func() { e.kill(a) })
	if !a.freezer.idle() {
		a.freezer.signal = sig // a frozen process cannot heed it
		e.setFreezer(a)
		return
	}
	e.send(a, sig)
}

func (e *Executor) send(a *attempt, sig syscall.Signal) {
	id := a.id
	e.loop.ops.add(func(ctx context.Context) {
		if err := e.rt.Signal(ctx, id, sig); err != nil && !gone(err) && ctx.Err() == nil {
			e.log.Warn("a task was not sent its stop signal; it is killed after its grace time", "task", id, "error", err)
		}
	})
}

// gone tells whether there was nothing left to signal.
func gone(err error) bool {
	return errors.Is(err, keeper.ErrUnknown) || errors.Is(err, keeper.ErrNotRunning)
}

// killAgain is when a kill that showed no effect is repeated.
const killAgain = 2 * time.Second

// kill ends the attempt by force, and again until it has.
func (e *Executor) kill(a *attempt) {
	a.killed = true
	if a.phase != running && a.phase != starting {
		return
	}
	a.stopTimers()
	a.grace = e.after(killAgain, func() { e.kill(a) })
	id := a.id
	e.loop.ops.add(func(ctx context.Context) {
		if err := e.rt.Kill(ctx, id); err != nil && !gone(err) && ctx.Err() == nil {
			e.log.Warn("a task was not killed; trying again", "task", id, "error", err)
		}
	})
}

// exited takes in the end of the process.
func (e *Executor) exited(a *attempt, st keeper.Status) {
	if !st.Started.IsZero() {
		a.rec.Started, a.rec.PID = st.Started, st.PID
	}
	if a.spec.Dir == "" {
		id := a.id
		e.loop.ops.add(func(context.Context) { e.prepare.Folders.Release(id) })
	}
	f := e.status(a, api.TaskFinished, st.Ended)
	code := st.Code
	if st.Signal != 0 {
		code = 128 + int(st.Signal)
		f.Signal = unix.SignalName(st.Signal)
	}
	f.ExitCode = &code
	f.Reason = api.ReasonExited
	switch {
	case a.ending:
		f.State, f.Reason, f.Message = a.state, a.reason, a.message
	case st.OOMKills > 0 && code != 0:
		f.State, f.Reason = api.TaskFailed, api.ReasonOOM
		f.Message = fmt.Sprintf("it needed more than its memory limit of %s and was killed by the kernel: give it more with --mem", a.task.Resources.Mem)
	case st.Signal != 0:
		f.State, f.Reason, f.Message = api.TaskFailed, api.ReasonSignaled, "it was ended by "+f.Signal+" from outside mesita or by a fault of its own"
	case code != 0:
		f.State, f.Message = api.TaskFailed, fmt.Sprintf("it exited with code %d", code)
	}
	if st.Error != "" {
		f.Message = st.Error
	}
	e.conclude(a, f)
}

// finish ends an attempt that has no process.
func (e *Executor) finish(a *attempt, s api.TaskState, r api.Reason, msg string) {
	f := e.status(a, s, e.now(a))
	f.Reason, f.Message = r, msg
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

// lost ends an attempt whose keeper died with it, or does not have it.
func (e *Executor) lost(a *attempt, why string) {
	e.finish(a, api.TaskFailed, api.ReasonKeeperLost, why)
	e.seal(a)
}

func (e *Executor) keeperKilled() string {
	return "the keeper process of node " + e.cfg.Name + " was killed, and its tasks ended with it"
}

// conclude makes f the final status.
func (e *Executor) conclude(a *attempt, f api.TaskStatus) {
	if a.phase == ended {
		return
	}
	a.phase = ended
	a.stopTimers()
	e.loop.active--
	if a.pinned {
		e.blobs.Unpin(a.spec.Program)
		a.pinned = false
	}
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
			if e.loop.tasks[a.task.ID] != a { // nobody waits for its end to be acknowledged
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

package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/blobs"
	"github.com/mesita/mesita/executor/journal"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/outside"
)

// attempt is one run of a task on this node. The loop owns it.
type attempt struct {
	id       string // with the keeper
	task     *api.Task
	spec     *api.TaskSpec
	n        int
	restarts bool   // it is a service's
	job      uint64 // the submission of its job; 0: not known
	state    state
	rec      journal.Record
	gen      uint64 // of the last set it was in
	since    uint64 // loop.seq when it came to run

	pins      []string       // what is kept of the uploads that it needs
	filled    bool           // it is to end since it filled the disk
	followed  bool           // someone may wait for the end of its log
	stored    bool           // its assignment is in the journal
	forgotten bool           // the keeper was told that its end is known
	early     *keeper.Status // its end, known before its start
	next      *api.Assignment
	damage    error            // its program was damaged here, and is fetched again
	begun     bool             // the keeper had it before it was asked here
	taken     []api.PortHolder // who has its ports, for which it did not start
	why       *verdict         // why it is to end, if it is: the first cause stays so
	ahead     *ahead           // its start, prepared while the journal is written
	cancel    func()           // ends its start, unless the keeper was asked already

	limit, grace *time.Timer
	coresSeen    uint64 // the change of what is tasks' own that its start knew of
	slice        string // whose weight counts; "": never did
	freezer      freezer
	notice       notice
}

// verdict is why an attempt ends, if not by itself.
type verdict struct {
	state   api.TaskState
	reason  api.Reason
	message string
}

// news is what comes with an event.
type news struct {
	why     verdict // unwritten, unsupplied, failed, stop, kill
	start   keeper.StartResult
	status  keeper.Status // of foundRunning, exited, keeperLost
	program error         // spoiled
	lost    string        // vanished: why
}

// happen does what an event makes of an attempt.
func (e *Executor) happen(a *attempt, ev event, n news) {
	s, ok := next(a.state, ev)
	if !ok {
		e.log.Error("an attempt heard of what cannot be, and continues as it is", "attempt", a.id, "state", a.state, "event", ev)
		return
	}
	moved := a.state != s.to
	a.state = s.to
	a.begun = a.begun || ev == foundStarting
	for _, do := range s.do {
		e.effect(a, do, n)
	}
	if moved {
		e.weigh(a)
	}
}

func (e *Executor) effect(a *attempt, do effect, n news) {
	switch do {
	case note:
		if err := e.takeCores(a); err != nil {
			e.happen(a, unwritten, news{why: verdict{api.TaskFailed, api.ReasonUnsupported, err.Error()}})
			return
		}
		e.note(a, nil)
	case supply:
		e.supply(a)
	case refetch:
		e.fetchAgain(a, n.program)
	case launch:
		e.launch(a)
	case run:
		e.ran(a, n)
	case keepEnd:
		a.early = &n.status
	case blame:
		if a.why == nil {
			a.why = &n.why
		}
	case cancel:
		a.cancel() // the answer comes all the same
	case wait:
		e.wait(a)
	case signal:
		e.signal(a)
	case slay:
		e.slay(a)
	case finish:
		if a.why != nil {
			n.why = *a.why
		}
		e.finish(a, n.why)
	case exit:
		e.exit(a, n.status)
	case endEarly:
		e.exit(a, *a.early)
	case lose:
		e.lose(a, n.lost)
	case forget:
		e.forget(a.id)
	case orphan:
		e.killOrphan(a.id)
	case ack:
		e.ack(a)
	}
}

// ownFolder reports whether it works in a folder that was made for it.
func (a *attempt) ownFolder() bool { return a.spec.Dir == "" || a.spec.User == api.TaskUser }

func attemptID(task string, n int) string { return task + "/" + strconv.Itoa(n) }

func newAttempt(as api.Assignment) *attempt {
	t := as.Task
	return &attempt{id: attemptID(t.ID, t.Attempt), task: t, spec: as.Spec, restarts: as.Restarts, job: as.Submission, n: t.Attempt, rec: journal.Record{Attempt: t.Attempt}}
}

func (a *attempt) stopTimers() {
	if a.limit != nil {
		a.limit.Stop()
	}
	a.stopGrace()
	a.freezer.stop()
	a.notice.stop()
}

func (a *attempt) stopGrace() {
	if a.grace != nil {
		a.grace.Stop()
		a.grace = nil
	}
}

// track makes the attempt the one of its task.
func (e *Executor) track(a *attempt) {
	e.loop.tasks[a.task.ID] = a
	if !a.state.ended() {
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
		e.happen(a, unwritten, news{why: verdict{api.TaskFailed, api.ReasonDiskFull, msg}})
		return
	}
	e.guardSpace()
	if err := e.takeCores(a); err != nil {
		e.happen(a, unwritten, news{why: verdict{api.TaskFailed, api.ReasonUnsupported, err.Error()}})
		return
	}
	a.stored = true
	e.note(a, &as)
	e.prepareAhead(a)
}

// note writes that nothing was done of the attempt yet.
func (e *Executor) note(a *attempt, as *api.Assignment) {
	a.rec.Phase, a.rec.PID, a.rec.Started, a.rec.Up = journal.Assigned, 0, time.Time{}, 0
	if as != nil {
		a.rec.Touched = e.cfg.Now()
	}
	e.journal.Put(a.task.ID, as, a.rec, func(err error) {
		e.post(func() {
			if err != nil {
				e.happen(a, unwritten, news{why: verdict{api.TaskFailed, machineReason(err), err.Error()}})
				return
			}
			e.happen(a, written, news{})
		})
	})
}

// supply sees to the attempt's program and files.
func (e *Executor) supply(a *attempt) {
	for digest := range a.spec.Uploads() {
		if slices.Contains(a.pins, digest) {
			continue
		}
		if !e.blobs.Pin(digest) {
			e.fetch(a, digest)
			return
		}
		a.pins = append(a.pins, digest)
	}
	e.happen(a, supplied, news{})
}

func (e *Executor) unpin(a *attempt) {
	for _, digest := range a.pins {
		e.blobs.Unpin(digest)
	}
	a.pins = nil
}

// launched takes in how the start went, and why it failed if it did.
func (e *Executor) launched(a *attempt, res keeper.StartResult, err error, why api.Reason) {
	n := news{start: res}
	switch {
	case err == nil:
		e.happen(a, started, n)
	case errors.Is(err, keeper.ErrLost):
		n.lost = err.Error()
		e.happen(a, vanished, n)
	default:
		if errors.Is(err, errCanceled) {
			e.killProcess(a.id) // this daemon did not ask the keeper; one before it may have
		}
		n.why = verdict{api.TaskFailed, why, err.Error()}
		if held := new(outside.TakenError); errors.As(err, &held) {
			a.taken = held.Holders
		}
		if n.program = err; errors.As(err, new(*blobs.DamagedError)) && a.damage == nil {
			e.happen(a, spoiled, n)
			return
		}
		e.happen(a, failed, n)
	}
}

// ran takes note that the attempt runs: as it was found, or as it started.
func (e *Executor) ran(a *attempt, n news) {
	if n.status.ID != "" {
		if a.spec.Program != "" && !slices.Contains(a.pins, a.spec.Program) && e.blobs.Pin(a.spec.Program) {
			a.pins = append(a.pins, a.spec.Program)
		}
		a.freezer.take(n.status)
		n.start = keeper.StartResult{PID: n.status.PID, Started: n.status.Started, Up: n.status.Up}
	}
	e.running(a, n.start.PID, n.start.Started, n.start.Up)
	e.beganBefore(a)
}

// running takes note that the attempt's process runs.
func (e *Executor) running(a *attempt, pid int, started time.Time, up time.Duration) {
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
	e.limit(a)
	e.reports.add(e.status(a, api.TaskRunning, started))
	e.setFreezer(a)
	e.giveNotice(a)
}

// limit arms the attempt's time limit, which leaves out the time in which it
// was frozen. It goes by the time since boot: the clock on the wall may jump.
func (e *Executor) limit(a *attempt) {
	if a.limit != nil {
		a.limit.Stop()
	}
	d := time.Duration(a.spec.Time)
	if d <= 0 || a.state != running || a.freezer.frozen() {
		return
	}
	a.limit = e.after(a.rec.Up+d+a.freezer.earlier-e.cfg.Uptime(), func() {
		if !a.freezer.frozen() { // just as it was due
			e.happen(a, stop, news{why: verdict{api.TaskFailed, api.ReasonTimeLimit, fmt.Sprintf("it ran for its time limit of %s", a.spec.Time)}})
		}
	})
}

func (e *Executor) status(a *attempt, s api.TaskState, at time.Time) api.TaskStatus {
	return api.TaskStatus{Task: a.task.ID, Attempt: a.n, NodeID: e.cfg.NodeID, State: s, PID: a.rec.PID, Time: at}
}

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

// send sends the stop signal, and gives the attempt its time from then on: what it
// is sent through may be slow, and a later daemon sends it again.
func (e *Executor) send(a *attempt, sig syscall.Signal) {
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
	a.grace = e.after(time.Duration(a.spec.StopGrace), func() { e.happen(a, overdue, news{}) })
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

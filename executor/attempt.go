package executor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

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
	fitting   bool             // its memory is looked at again
	bringing  *bringing        // what it asks for is being fetched
	brought   bool             // that is done
	cancel    func()           // ends its start, unless the keeper was asked already

	limit, grace *time.Timer
	killed       time.Time // when grace is over
	coresSeen    uint64    // the change of what is tasks' own that its start knew of
	slice        string    // whose weight counts; "": never did
	freezer      freezer
	found        findings
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
		if a.state != running {
			a.endLooks()
		}
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
	a.endLooks()
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
	if len(a.spec.Fetch) > 0 && !a.brought {
		e.bring(a)
		return
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
	e.beginLooks(a)
	e.reports.add(e.status(a, api.TaskRunning, started))
	if f := a.task.Framework; f != nil && f.IsExecutor {
		e.fitMemory(a) // its tasks may have come while it started
	}
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
	return api.TaskStatus{Task: a.task.ID, Attempt: a.n, NodeID: e.cfg.NodeID, State: s, PID: a.rec.PID, Time: at, Healthy: a.found.healthy, Check: a.found.check}
}

// Package runtimetest has a keeper for tests that runs no processes: attempts
// run as long as the test says, on the clock of the test's bubble. It owns no
// policy; tests of the executor and of whole clusters on fake time use it.
package runtimetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
)

// Plan is what becomes of an attempt that is started.
type Plan struct {
	Run      time.Duration // until it exits by itself; 0: for ever
	Code     int           // that it exits with then
	OOM      bool          // it is killed for its memory then
	OOMUsed  int64         // so many bytes, and its own limit was not the cause
	Ignore   bool          // it ignores all signals but SIGKILL
	Slow     time.Duration // the start takes so long
	Err      error         // the start fails
	ExecCode int           // what commands run beside it exit with
	Freezing time.Duration // until all its processes are stopped
	Freeze   error         // freezing it fails
	Thaw     error         // thawing it fails
	Late     time.Duration // its end is told so much later, as by a keeper whose disk hangs
	Left     bool          // processes of it may be left when its end is told
}

// Fake is a keeper without processes. It outlives the executors that use it.
type Fake struct {
	// Plan decides about each start; nil: everything runs for ever. It is set
	// before the first start.
	Plan func(keeper.StartRequest) Plan

	mu       sync.Mutex
	began    time.Time
	jump     time.Duration // of the machine's clock
	procs    map[string]*proc
	starts   []keeper.StartRequest
	prepared []string
	signals  []string
	pid      int
	down     bool
	silent   bool
	hung     [2]chan struct{} // closed when what waits for it may continue; nil: nothing does
	subs     map[chan keeper.Status]context.Context
}

type proc struct {
	status keeper.Status
	plan   Plan
	timer  *time.Timer
	due    time.Time      // when the timer fires
	left   time.Duration  // of the timer, while frozen
	held   syscall.Signal // heeded once thawed
	over   bool           // it has ended, and that is still to be told
}

// New makes an idle keeper.
func New() *Fake {
	return &Fake{began: time.Now(), procs: map[string]*proc{}, subs: map[chan keeper.Status]context.Context{}, pid: 1000}
}

// Uptime is the fake machine's clock.Uptime.
func (f *Fake) Uptime() time.Duration { return time.Hour + time.Since(f.began) }

// Now is the time of the fake machine, which Jump changes.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now()
}

func (f *Fake) now() time.Time { return time.Now().Add(f.jump) }

// Jump sets the machine's clock that much later, or earlier.
func (f *Fake) Jump(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jump += by
}

var errDown = errors.New("the keeper cannot be started")

// Check is an error once the keeper was told to be silent.
func (f *Fake) Check(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		return keeper.ErrSilent
	}
	return nil
}

// SetSilent has the keeper answer no more, or again. Starts fail as those that it
// was not asked for.
func (f *Fake) SetSilent(silent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = silent
}

// Prepare notes that a start was prepared.
func (f *Fake) Prepare(r keeper.StartRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepared = append(f.prepared, r.ID)
}

// Prepared lists the attempts whose start was prepared.
func (f *Fake) Prepared() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.prepared)
}

// Start starts an attempt as planned.
func (f *Fake) Start(ctx context.Context, r keeper.StartRequest) (keeper.StartResult, error) {
	var plan Plan
	if f.Plan != nil {
		plan = f.Plan(r)
	}
	if plan.Slow > 0 {
		select {
		case <-time.After(plan.Slow):
		case <-ctx.Done():
			return keeper.StartResult{}, context.Cause(ctx)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent {
		return keeper.StartResult{}, keeper.ErrSilent
	}
	if f.down {
		return keeper.StartResult{}, errDown
	}
	if p := f.procs[r.ID]; p != nil {
		if p.status.State == keeper.Lost {
			return keeper.StartResult{}, keeper.ErrLost
		}
		return keeper.StartResult{PID: p.status.PID, Started: p.status.Started, Up: p.status.Up}, nil
	}
	f.starts = append(f.starts, r)
	if plan.Err != nil {
		return keeper.StartResult{}, plan.Err
	}
	f.pid++
	p := &proc{plan: plan, status: keeper.Status{ID: r.ID, Slice: r.Slice, State: keeper.Running, PID: f.pid, Started: f.now(), Up: f.Uptime()}}
	f.procs[r.ID] = p
	if plan.Run > 0 {
		p.due = time.Now().Add(plan.Run)
		p.timer = time.AfterFunc(plan.Run, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if plan.OOM {
				p.status.OOMOutside, p.status.MemPeak = plan.OOMUsed > 0, plan.OOMUsed
				f.end(p, 0, syscall.SIGKILL, 1)
				return
			}
			f.end(p, plan.Code, 0, 0)
		})
	}
	return keeper.StartResult{PID: p.status.PID, Started: p.status.Started, Up: p.status.Up}, nil
}

// end makes p end and tells all listeners. f.mu is held.
func (f *Fake) end(p *proc, code int, sig syscall.Signal, oom uint64) {
	if p.status.State != keeper.Running || p.over {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	st := p.status
	st.State, st.Ended = keeper.Ended, st.Started.Add(f.Uptime()-st.Up)
	st.Code, st.Signal, st.OOMKills = code, sig, oom
	st.Gone = !p.plan.Left
	tell := func() {
		p.status = st
		f.tell(st)
	}
	if p.plan.Late == 0 {
		tell()
		return
	}
	p.over = true
	time.AfterFunc(p.plan.Late, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		tell()
	})
}

func (f *Fake) tell(st keeper.Status) {
	for ch, ctx := range f.subs {
		select {
		case ch <- st:
		case <-ctx.Done():
		}
	}
}

func (f *Fake) running(id string) (*proc, error) {
	p := f.procs[id]
	switch {
	case f.down || p == nil:
		return nil, keeper.ErrUnknown
	case p.status.State != keeper.Running || p.over:
		return nil, keeper.ErrNotRunning
	}
	return p, nil
}

// Part is what a keeper does that may hang.
type Part int

// The parts.
const (
	Asks  Part = iota // signals, kills, freezes and thaws, as one of a version that does these after what waits for its disk
	Notes             // what ended is forgotten
)

// Hang makes a part of the keeper wait until answer is called.
func (f *Fake) Hang(part Part) (answer func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hung := make(chan struct{})
	f.hung[part] = hung
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hung[part] = nil
		close(hung)
	}
}

func (f *Fake) wait(ctx context.Context, part Part) {
	f.mu.Lock()
	hung := f.hung[part]
	f.mu.Unlock()
	if hung == nil {
		return
	}
	select {
	case <-hung:
	case <-ctx.Done():
	}
}

// Signal ends the attempt unless its plan is to ignore signals.
func (f *Fake) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	f.wait(ctx, Asks)
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.running(id)
	if err != nil {
		return err
	}
	f.signals = append(f.signals, id+" "+sig.String())
	switch {
	case sig == syscall.SIGKILL:
		f.end(p, 0, sig, 0)
	case p.plan.Ignore:
	case p.status.Freezer:
		p.held = sig
	default:
		f.end(p, 0, sig, 0)
	}
	return nil
}

// Kill ends the attempt.
func (f *Fake) Kill(ctx context.Context, id string) error {
	f.wait(ctx, Asks)
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.running(id)
	if err != nil {
		return err
	}
	f.signals = append(f.signals, id+" kill")
	f.end(p, 0, syscall.SIGKILL, 0)
	return nil
}

// Running lists all attempts not forgotten.
func (f *Fake) Running(context.Context) ([]keeper.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errDown
	}
	var out []keeper.Status
	for _, p := range f.procs {
		out = append(out, p.status)
	}
	return out, nil
}

// Events returns the exits until ctx ends.
func (f *Fake) Events(ctx context.Context) (<-chan keeper.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan keeper.Status, 4096)
	f.subs[ch] = ctx
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
		close(ch)
	})
	return ch, nil
}

// Forget forgets ended attempts.
func (f *Fake) Forget(ctx context.Context, ids ...string) error {
	f.wait(ctx, Notes)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if p := f.procs[id]; p != nil && p.status.State != keeper.Running {
			delete(f.procs, id)
		}
	}
	return nil
}

// Exec ends at once with the planned code.
func (f *Fake) Exec(_ context.Context, r keeper.ExecRequest) (keeper.ExecResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.running(r.ID)
	if err != nil {
		return keeper.ExecResult{}, err
	}
	if p.status.Freezer {
		return keeper.ExecResult{}, keeper.ErrFrozen
	}
	if r.Begin != nil {
		if err := r.Begin(&r); err != nil {
			return keeper.ExecResult{}, err
		}
	}
	return keeper.ExecResult{Code: p.plan.ExecCode}, nil
}

// Terminal says that no attempt has one.
func (f *Fake) Terminal(_ context.Context, id string) (*keeper.Terminal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.running(id); err != nil {
		return nil, err
	}
	return nil, keeper.ErrNoTerminal
}

// AllStats says that each attempt that runs has one process.
func (f *Fake) AllStats(_ context.Context, ids []string, _ api.StatsDetail) []*api.TaskStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*api.TaskStats, len(ids))
	for i, id := range ids {
		if _, err := f.running(id); err == nil {
			out[i] = &api.TaskStats{Processes: 1, Mem: 1 << 20}
		}
	}
	return out
}

// Exit ends a running attempt from outside.
func (f *Fake) Exit(id string, code int, sig syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.procs[id]; p != nil {
		f.end(p, code, sig, 0)
	}
}

// KillKeeper is the death of the keeper by force: all that ran is lost. A new
// keeper is there at once.
func (f *Fake) KillKeeper() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose()
	f.tell(keeper.Status{State: keeper.Reset})
}

func (f *Fake) lose() {
	for _, p := range f.procs {
		if p.status.State == keeper.Running {
			p.status.State = keeper.Lost
			if p.timer != nil {
				p.timer.Stop()
			}
		}
	}
}

// Reboot is the death of everything: a new keeper knows what was lost.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose()
}

// SetDown makes the keeper unreachable, or reachable again.
func (f *Fake) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Alive lists the attempts that run now, sorted.
func (f *Fake) Alive() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []string{}
	for id, p := range f.procs {
		if p.status.State == keeper.Running {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Started lists every start so far, in order.
func (f *Fake) Started() []keeper.StartRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.starts)
}

// Signals lists what was signalled, as "id signal", in order.
func (f *Fake) Signals() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.signals)
}

// In says in which slice a process is, as if another version had started it; ""
// is what one says that does not tell.
func (f *Fake) In(id, slice string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.procs[id].status.Slice = slice
}

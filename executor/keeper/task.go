package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/clock"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/isolation"
)

// task is one attempt. status and over are guarded by server.mu; slice, proc, around
// and terminal are set before ready is closed and stay.
type task struct {
	status   Status
	over     bool          // its process is, and soon its slice
	ready    chan struct{} // closed once it started or failed to
	err      error         // why it did not start
	slice    *isolation.Slice
	proc     *isolation.Process
	around   isolation.Confinement // its own, and that of what is started beside it
	terminal *os.File              // our end of it; nil: it has none
	birth    *isolation.Birth      // while it starts; guarded by server.mu
	doomed   bool                  // it was to be killed as it started; guarded by server.mu
	end      *Status               // how it ended, while that is written; guarded by server.mu

	freezer freezer
}

func pastTask(st Status) *task {
	t := &task{status: st, ready: make(chan struct{})}
	if st.State == Lost {
		t.err = ErrLost
	}
	close(t.ready)
	return t
}

// start starts an attempt, or answers as before if it was started already. Who
// asked next does not wait for any of it.
func (s *server) start(c *conn, m *message) {
	s.mu.Lock()
	t, again := s.known[m.Start.ID]
	var err error
	var noted *entry
	switch {
	case again:
	case m.Start.unknown != nil:
		err = fmt.Errorf("%w: %w", errLacks, m.Start.unknown)
	case s.closing && s.running == 0:
		s.mu.Unlock()
		return // the connection is about to end: the daemon asks the next keeper
	case s.closing:
		err = errors.New("the keeper was told to end with its last task, and starts no more")
	case !s.fates.begin(m.Start.ID):
		err = errDenied
	default:
		t = &task{status: Status{ID: m.Start.ID, State: Starting, Slice: m.Start.Slice}, ready: make(chan struct{})}
		noted = s.ledger.start(t.status)
		s.known[m.Start.ID] = t
		s.running++
		s.plan()
		s.spent.add()
	}
	s.mu.Unlock()
	s.tasks.Go(func() {
		reply := &message{Op: opAnswer, Seq: m.Seq}
		if err == nil {
			if noted != nil {
				s.launch(t, m.Start, noted)
			}
			<-t.ready
			err = t.err
		}
		if reply.Error = toWire(err); err == nil {
			s.mu.Lock()
			reply.Started = &StartResult{PID: t.status.PID, Started: t.status.Started, Up: t.status.Up}
			s.mu.Unlock()
		}
		if err := c.send(reply); err != nil {
			s.log.Info("the daemon left while a task started", "task", m.Start.ID)
		}
	})
}

// launch starts the process once that it may be there is noted, and arranges for
// its output and its end.
func (s *server) launch(t *task, r *StartRequest, noted *entry) {
	defer close(t.ready)
	p, err := s.begin(t, r, noted)
	if err != nil {
		if t.err = err; !errors.Is(err, ErrProgram) && !errors.Is(err, ErrDiskFull) && !errors.Is(err, errLate) {
			t.err = errors.New(err.Error()) // a folder of ours that is gone is not a program that is
		}
		s.drop(r.ID)
		return
	}
	s.mu.Lock()
	t.status.State, t.status.PID, t.status.Started = Running, t.proc.Pid, time.Now()
	t.status.Up = clock.Uptime()
	t.birth = nil
	doomed := t.doomed
	s.tasks.Go(func() { s.follow(t, p) })
	s.mu.Unlock()
	if !doomed {
		return
	}
	if err := t.slice.Kill(); err != nil {
		s.log.Error("a task that was to be killed as it started runs", "task", r.ID, "error", err)
	}
}

// begin waits for the disk and for its turn. Others need not wait until the
// program has begun.
func (s *server) begin(t *task, r *StartRequest, noted *entry) (*output, error) {
	err := s.ledger.write(noted)
	late := r.By != 0 && clock.Uptime() > r.By // now that it is noted: see startBy
	e := s.takeEarly(r)                        // what is not of use may take long to go
	switch {
	case err != nil:
		s.discard(e)
		return nil, fullDisk(fmt.Errorf("write the keeper's ledger: %w", err))
	case late: // what was made early would be nobody's for the keepers beside this one
		s.discard(e)
		return nil, errLate
	}
	s.slots <- struct{}{}
	begun := sync.OnceFunc(func() { <-s.slots })
	defer begun()
	if s.doomed(t) {
		begun()
		s.discard(e)
		return nil, errors.New("it was killed before it began")
	}
	return s.spawn(t, r, e, begun)
}

// drop forgets an attempt that did not start.
func (s *server) drop(id string) {
	s.mu.Lock()
	delete(s.known, id)
	s.fates.set(id, vouch.Unknown)
	noted := s.ledger.forget(id)
	s.running--
	s.plan()
	s.mu.Unlock()
	s.note(noted)
}

// note writes what cannot be helped if it fails.
func (s *server) note(e *entry) {
	if e == nil {
		return
	}
	if err := s.ledger.write(e); err != nil {
		s.log.Error("the keeper's ledger cannot be written", "error", err)
	}
}

// output is where what the task writes goes.
type output struct {
	log      *logs.Writer
	out, err *os.File // the latter is nil if it has a terminal
}

func (o *output) closePipes() {
	o.out.Close()
	if o.err != nil {
		o.err.Close()
	}
}

func (s *server) spawn(t *task, r *StartRequest, e *earlyStart, begun func()) (o *output, err error) {
	t.around = r.Confinement
	log, err := logs.Create(r.LogDir, r.LogMax)
	if err != nil {
		s.discard(e)
		return nil, fullDisk(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	o = &output{log: log}
	if err := s.become(t, r, e, o, begun); err != nil {
		return nil, programError(err)
	}
	return o, nil
}

// become has a process become its program, or leaves nothing of it.
func (s *server) become(t *task, r *StartRequest, e *earlyStart, o *output, begun func()) (err error) {
	if t.slice, err = s.sliceFor(r, e); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.remove(t.slice)
		}
	}()
	birth, err := s.bear(t.slice, r, o)
	if err != nil {
		return err
	}
	begun()
	if r.Terminal != nil {
		t.terminal = o.out
	}
	s.born(t, birth)
	if t.proc, err = birth.Wait(); err == nil {
		err = s.limitCPU(t, r)
	}
	if err != nil {
		o.closePipes()
	}
	return err
}

// bear begins the process in its slice.
func (s *server) bear(sl *isolation.Slice, r *StartRequest, o *output) (_ *isolation.Birth, err error) {
	if r.Terminal != nil {
		return bearAtTerminal(sl, r, o)
	}
	var outW, errW *os.File
	if o.out, outW, err = pipe(); err != nil {
		return nil, err
	}
	defer outW.Close()
	if o.err, errW, err = pipe(); err != nil {
		o.out.Close()
		return nil, err
	}
	defer errW.Close()
	give(r.UID, outW, errW)
	birth, err := sl.Begin(r.Spec, isolation.Files{Stdin: s.null, Stdout: outW, Stderr: errW})
	if err != nil {
		o.closePipes()
	}
	return birth, err
}

// bearAtTerminal begins the process with a terminal that it has to itself.
func bearAtTerminal(sl *isolation.Slice, r *StartRequest, o *output) (*isolation.Birth, error) {
	st, err := openTerminal(sizeOf(r.Terminal))
	if err != nil {
		return nil, err
	}
	theirs := st.theirs[0]
	defer theirs.Close()
	o.out = st.in
	give(r.UID, theirs)
	spec := r.Spec
	spec.TTY = true
	birth, err := sl.Begin(spec, isolation.Files{Stdin: theirs, Stdout: theirs, Stderr: theirs})
	if err != nil {
		o.closePipes()
	}
	return birth, err
}

// limitCPU bounds the CPU of a program that has just begun, or ends it.
func (s *server) limitCPU(t *task, r *StartRequest) error {
	if r.MaxCPU == 0 {
		return nil
	}
	err := t.slice.LimitCPU(r.MaxCPU)
	if err == nil {
		return nil
	}
	err = errors.Join(err, t.slice.Kill())
	_, werr := t.proc.Wait()
	return errors.Join(err, werr)
}

func (s *server) doomed(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.doomed
}

// born makes it possible to kill t before its program has begun.
func (s *server) born(t *task, b *isolation.Birth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.birth = b; t.doomed {
		_ = b.Kill() // it may have ended
	}
}

// pipe is one whose reading end waits in the poller and whose writing end
// blocks, as programs expect.
func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	w = os.NewFile(uintptr(fds[1]), "task")
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("fcntl", err), w.Close(), unix.Close(fds[0]))
	}
	return os.NewFile(uintptr(fds[0]), "task"), w, nil
}

// drainTime is how long output is waited for once every process is dead. Only
// a descriptor passed to a process outside the slice can hold a pipe open.
const drainTime = time.Second

// follow copies the output, waits for the end, cleans up, and tells.
func (s *server) follow(t *task, o *output) {
	var copied sync.WaitGroup
	for stream, f := range map[logs.Stream]*os.File{logs.Stdout: o.out, logs.Stderr: o.err} {
		if f != nil {
			copied.Go(func() { s.copyOutput(t, o.log, stream, f) })
		}
	}
	exit, err := t.proc.Wait()
	st := Status{Ended: time.Now(), Code: exit.Code, Signal: exit.Signal}
	if err != nil {
		st.Code, st.Error = 255, err.Error()
	}
	// A clean exit was not for want of memory: spare the reading.
	if exit.Code != 0 || exit.Signal != 0 {
		if stats, err := t.slice.Stats(isolation.All); err == nil {
			st.OOMKills, st.OOMOutside = stats.OOMKills, stats.OOMOutside
		}
	}
	st.CPUTime, st.MemPeak = t.slice.Use()
	s.mu.Lock()
	t.over = true
	s.mu.Unlock()
	// Whoever is left in the slice may hold the pipes open.
	empty, err := t.slice.DeleteEmpty()
	st.Gone = empty && err == nil || s.remove(t.slice)
	deadline := time.Now().Add(drainTime)
	_ = o.out.SetReadDeadline(deadline) // not supported: then there is no deadline
	if o.err != nil {
		_ = o.err.SetReadDeadline(deadline)
	}
	copied.Wait()
	if err := s.onDisk(o.log.Close); err != nil {
		s.log.Warn("the log of a task was not ended", "task", t.status.ID, "error", err)
	}
	s.ended(t, st)
}

// ended makes the exit known, once it is noted: nobody is told of an end that a
// keeper after this one would not know.
func (s *server) ended(t *task, st Status) {
	s.mu.Lock()
	st.ID, st.State, st.PID, st.Started, st.Up = t.status.ID, Ended, t.status.PID, t.status.Started, t.status.Up
	st.Ended = st.Started.Add(st.Ended.Sub(st.Started)) // by the clock of its start, whatever became of that meanwhile
	t.end = &st
	noted := s.ledger.end(st)
	s.mu.Unlock()
	s.note(noted)
	s.mu.Lock()
	t.status, t.end = st, nil
	s.fates.set(st.ID, vouch.Ended)
	s.running--
	err := s.announce(st)
	s.plan()
	s.spent.add()
	s.mu.Unlock()
	if err != nil {
		s.log.Warn("an exit was not announced; the daemon asks for it later", "task", st.ID, "error", err)
	}
}

// remove kills what is left in the slice and deletes it, and reports whether it is gone.
func (s *server) remove(sl *isolation.Slice) (gone bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := errors.Join(sl.Kill(), sl.Delete(ctx))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a slice cannot be removed", "slice", sl.Name(), "error", err)
	}
	return err == nil
}

// find returns a running attempt.
func (s *server) find(id string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.known[id]
	if t == nil {
		return nil, fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	if t.status.State != Running || t.over {
		return nil, fmt.Errorf("%s: %w", id, ErrNotRunning)
	}
	return t, nil
}

func (s *server) kill(id string) error {
	if s.killStarting(id) {
		return nil
	}
	t, err := s.find(id)
	if err != nil {
		return err
	}
	return t.slice.Kill()
}

// killStarting is false if the attempt is not about to start.
func (s *server) killStarting(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.known[id]
	if t == nil || t.status.State != Starting {
		return false
	}
	t.doomed = true
	if t.birth != nil {
		_ = t.birth.Kill() // it may have ended
	}
	return true
}

// signal sends sig to the task's main process.
func (s *server) signal(id string, sig syscall.Signal) error {
	t, err := s.find(id)
	if err != nil {
		return err
	}
	err = t.proc.Signal(sig)
	if err == nil && sig != syscall.SIGKILL {
		err = t.proc.Signal(syscall.SIGCONT) // a stopped process heeds nothing else
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

var details = map[api.StatsDetail]isolation.Detail{api.StatsUse: isolation.Use, api.StatsCPU: isolation.Time}

func (s *server) stats(id string, detail api.StatsDetail) (*api.TaskStats, error) {
	t, err := s.find(id)
	if err != nil {
		return nil, err
	}
	st, err := t.slice.Stats(details[detail]) // all, if it is one of later
	if err != nil {
		return nil, err
	}
	ts := &api.TaskStats{CPUTime: st.CPU, Mem: api.Bytes(st.Memory), MemPeak: api.Bytes(st.MemoryPeak), Processes: st.PIDs,
		Throttle: api.Throttle(st.Throttling)}
	if st.CPUPressure >= 0 { // a kernel has all three or none
		ts.Pressure = &api.Pressure{CPU: st.CPUPressure, Mem: max(st.MemPressure, 0), IO: max(st.IOPressure, 0)}
	}
	return ts, nil
}

// tellStats answers when it has read what is asked for, which takes its time: a start
// that comes meanwhile does not wait for it. No more than readers questions are read for at
// a time; the next one waits, with what comes after it.
func (s *server) tellStats(c *conn, m *message) {
	s.readers <- struct{}{}
	s.tasks.Go(func() {
		defer func() { <-s.readers }()
		reply := &message{Op: opAnswer, Seq: m.Seq}
		var err error
		if len(m.IDs) == 0 {
			reply.Stats, err = s.stats(m.ID, m.Detail)
		}
		for _, id := range m.IDs {
			st, _ := s.stats(id, m.Detail) // null for what does not run
			reply.AllStats = append(reply.AllStats, st)
		}
		reply.Error = toWire(err)
		_ = c.send(reply) // as in handle
	})
}

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

// task is one attempt. status and over are guarded by server.mu; slice, proc and
// around are set before ready is closed and stay.
type task struct {
	status Status
	over   bool          // its process is, and soon its slice
	ready  chan struct{} // closed once it started or failed to
	err    error         // why it did not start
	slice  *isolation.Slice
	proc   *isolation.Process
	around isolation.Confinement // its own, and that of what is started beside it
	birth  *isolation.Birth      // while it starts; guarded by server.mu
	doomed bool                  // it was to be killed as it started; guarded by server.mu

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

// start starts an attempt, or answers as before if it was started already.
func (s *server) start(c *conn, m *message) {
	s.mu.Lock()
	t, again := s.known[m.Start.ID]
	var err error
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
		if err = s.ledger.start(t.status); err == nil {
			s.known[m.Start.ID] = t
			s.running++
			s.plan()
		} else {
			s.fates.set(m.Start.ID, vouch.Unknown)
			err = fmt.Errorf("write the keeper's ledger: %w", err)
		}
	}
	s.mu.Unlock()
	if err == nil && !again {
		s.slots <- struct{}{}
	}
	s.tasks.Go(func() {
		reply := &message{Op: opAnswer, Seq: m.Seq}
		if err == nil {
			if !again {
				s.launch(t, m.Start, sync.OnceFunc(func() { <-s.slots }))
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

// launch starts the process and arranges for its output and its end. It calls
// begun when the rest is up to the program: others need not wait for that.
func (s *server) launch(t *task, r *StartRequest, begun func()) {
	p, err := s.spawn(t, r, begun)
	begun()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(t.ready)
	if err != nil {
		if t.err = err; !errors.Is(err, ErrProgram) {
			t.err = errors.New(err.Error()) // a folder of ours that is gone is no program that is
		}
		delete(s.known, r.ID)
		s.fates.set(r.ID, vouch.Unknown)
		s.running--
		if err := s.ledger.forget(r.ID); err != nil {
			s.log.Error("the keeper's ledger cannot be written", "error", err)
		}
		s.plan()
		return
	}
	t.status.State, t.status.PID, t.status.Started = Running, t.proc.Pid, time.Now()
	t.status.Up = clock.Uptime()
	if t.birth = nil; t.doomed {
		if err := t.slice.Kill(); err != nil {
			s.log.Error("a task that was to be killed as it started runs", "task", r.ID, "error", err)
		}
	}
	s.tasks.Go(func() { s.follow(t, p) })
}

// output is where what the task writes goes.
type output struct {
	log      *logs.Writer
	out, err *os.File
}

func (s *server) spawn(t *task, r *StartRequest, begun func()) (o *output, err error) {
	t.around = r.Confinement
	log, err := logs.Create(r.LogDir, r.LogMax)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	out, outW, err := pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	errR, errW, err := pipe()
	if err != nil {
		out.Close()
		return nil, err
	}
	defer errW.Close()
	give(r.UID, outW, errW)
	sl, err := s.sliceFor(r)
	if err != nil {
		out.Close()
		errR.Close()
		return nil, fmt.Errorf("make the slice: %w", err)
	}
	t.slice = sl
	b, err := sl.Begin(r.Spec, isolation.Files{Stdin: s.null, Stdout: outW, Stderr: errW})
	if err == nil {
		begun()
		s.born(t, b)
		t.proc, err = b.Wait()
	}
	if err == nil {
		err = s.limitCPU(t, r)
	}
	if err != nil {
		out.Close()
		errR.Close()
		s.remove(sl)
		return nil, programError(err)
	}
	return &output{log, out, errR}, nil
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

// born makes it possible to kill t before its program has begun.
func (s *server) born(t *task, b *isolation.Birth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.birth = b; t.doomed {
		_ = b.Kill() // it may have ended
	}
}

// programError marks an error of the program as such; any other is this
// machine's.
func programError(err error) error {
	if err == nil {
		return nil
	}
	var limit *isolation.RlimitError
	if errors.As(err, &limit) {
		return &remoteError{limit.Error(), ErrProgram}
	}
	var failed *os.PathError
	if errors.As(err, &failed) && (failed.Op == "fork/exec" || failed.Op == "chdir") {
		for _, no := range []unix.Errno{unix.ENOENT, unix.EACCES, unix.EPERM, unix.ENOEXEC, unix.ENOTDIR, unix.ELOOP, unix.E2BIG, unix.ENAMETOOLONG, unix.EISDIR,
			unix.ETXTBSY, unix.ELIBBAD, unix.EINVAL} {
			if errors.Is(err, no) {
				return &remoteError{err.Error(), ErrProgram}
			}
		}
	}
	return err
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
	copied := make(chan struct{}, 2)
	for stream, f := range map[logs.Stream]*os.File{logs.Stdout: o.out, logs.Stderr: o.err} {
		s.tasks.Go(func() {
			s.copyOutput(t, o.log, stream, f)
			copied <- struct{}{}
		})
	}
	exit, err := t.proc.Wait()
	st := Status{Ended: time.Now(), Code: exit.Code, Signal: exit.Signal}
	if err != nil {
		st.Code, st.Error = 255, err.Error()
	}
	// A clean exit was not for want of memory: spare the reading.
	if exit.Code != 0 || exit.Signal != 0 {
		if stats, err := t.slice.Stats(); err == nil {
			st.OOMKills, st.OOMOutside = stats.OOMKills, stats.OOMOutside
			if st.OOMKills > 0 {
				st.MemPeak = stats.MemoryPeak
			}
		}
	}
	s.mu.Lock()
	t.over = true
	s.mu.Unlock()
	// Whoever is left in the slice may hold the pipes open.
	if empty, err := t.slice.DeleteEmpty(); !empty || err != nil {
		s.remove(t.slice)
	}
	deadline := time.Now().Add(drainTime)
	_ = o.out.SetReadDeadline(deadline) // not supported: then there is no deadline
	_ = o.err.SetReadDeadline(deadline)
	<-copied
	<-copied
	if err := s.onDisk(o.log.Close); err != nil {
		s.log.Warn("the log of a task was not ended", "task", t.status.ID, "error", err)
	}
	s.ended(t, st)
}

// ended makes the exit known.
func (s *server) ended(t *task, st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.ID, st.State, st.PID, st.Started, st.Up = t.status.ID, Ended, t.status.PID, t.status.Started, t.status.Up
	st.Ended = st.Started.Add(st.Ended.Sub(st.Started)) // by the clock of its start, whatever became of that meanwhile
	t.status = st
	s.fates.set(st.ID, vouch.Ended)
	if err := s.ledger.end(st); err != nil {
		s.log.Error("the keeper's ledger cannot be written", "error", err)
	}
	s.running--
	s.announce(st)
	s.plan()
}

// remove kills what is left in the slice and deletes it.
func (s *server) remove(sl *isolation.Slice) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(sl.Kill(), sl.Delete(ctx)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a slice cannot be removed", "slice", sl.Name(), "error", err)
	}
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

func (s *server) stats(id string) (*api.TaskStats, error) {
	t, err := s.find(id)
	if err != nil {
		return nil, err
	}
	st, err := t.slice.Stats()
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

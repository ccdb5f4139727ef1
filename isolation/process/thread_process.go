//go:build startbythread || !(amd64 || arm64)

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is the one that Start started.
type Process struct {
	Pid      int
	os       *os.Process
	first    bool // PID 1 of its own namespace
	procRoot string
	forced   atomic.Int32 // signal that SIGKILL stands for
}

// Wait waits for the end, in the poller, where it costs no thread. It must be
// called once, or a zombie is left.
func (p *Process) Wait() (Exit, error) {
	p.poll()
	st, err := p.os.Wait()
	if err != nil {
		return Exit{}, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	ws, ok := st.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return Exit{Code: st.ExitCode()}, nil
	}
	e := Exit{Signal: ws.Signal(), Core: ws.CoreDump()}
	if forced := p.forced.Load(); forced != 0 && e.Signal == syscall.SIGKILL {
		e.Signal = syscall.Signal(forced)
	}
	return e, nil
}

// poll returns when the process has ended, or on an older kernel at once.
func (p *Process) poll() {
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { // what it cannot wait for, os does
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}

// Signal sends sig; os.ErrProcessDone if the process has ended. The kernel
// keeps from PID 1 of a namespace what that has no handler for: if sig would
// end any other process, this one is killed and Wait reports sig.
func (p *Process) Signal(sig syscall.Signal) error {
	send := sig
	if p.first && p.deaf(sig) {
		p.forced.Store(int32(sig))
		send = syscall.SIGKILL
	}
	if err := p.os.Signal(send); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return nil
}

// SignalGroup is Signal to the process group of a process started beside
// another, which is the first of a session: to all that it started and that did
// not leave it.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	if err := p.Signal(0); err != nil {
		return err
	}
	if err := unix.Kill(-p.Pid, sig); err != nil {
		return fmt.Errorf("signal the group of process %d: %w", p.Pid, err)
	}
	return nil
}

// deaf reports whether sig would end a process, but not this one.
func (p *Process) deaf(sig syscall.Signal) bool {
	switch sig {
	case 0, syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
		syscall.SIGCONT, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGWINCH:
		return false
	}
	// Blocked, it may be for a moment, as in a shell that forks, and is dropped
	// when that is over; or for good, by one that takes its signals with sigwait.
	for wait := time.Millisecond; ; wait *= 2 {
		b, err := os.ReadFile(filepath.Join(p.procRoot, strconv.Itoa(p.Pid), "status"))
		if err != nil || hasSignal(b, "SigCgt:", sig) || hasSignal(b, "SigIgn:", sig) {
			return false
		}
		if !hasSignal(b, "SigBlk:", sig) {
			return !p.waitsForSignals()
		}
		if wait > maxBlocked {
			return false
		}
		time.Sleep(wait)
	}
}

const maxBlocked = 64 * time.Millisecond // so twice that in all

// waitsForSignals reports whether the process is in sigwait, where the kernel
// shows the signals it waits for as not blocked.
func (p *Process) waitsForSignals() bool {
	b, err := os.ReadFile(filepath.Join(p.procRoot, strconv.Itoa(p.Pid), "syscall"))
	return err == nil && bytes.HasPrefix(b, []byte(strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT)+" "))
}

package isolation

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

// Exit is how a process ended: by an exit code, or by a signal if that is not 0.
type Exit struct {
	Code   int
	Signal syscall.Signal
}

// Process is the one that Start started.
type Process struct {
	Pid      int
	os       *os.Process
	first    bool // PID 1 of its own namespace
	procRoot string
	forced   atomic.Int32 // signal that SIGKILL stands for
}

// Wait waits for the end. It must be called once, or a zombie is left.
func (p *Process) Wait() (Exit, error) {
	st, err := p.os.Wait()
	if err != nil {
		return Exit{}, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	ws, ok := st.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return Exit{Code: st.ExitCode()}, nil
	}
	e := Exit{Signal: ws.Signal()}
	if forced := p.forced.Load(); forced != 0 && e.Signal == syscall.SIGKILL {
		e.Signal = syscall.Signal(forced)
	}
	return e, nil
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

// deaf tells whether sig would end a process, but not this one.
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

// waitsForSignals tells whether the process is in sigwait, where the kernel
// shows the signals it waits for as not blocked.
func (p *Process) waitsForSignals() bool {
	b, err := os.ReadFile(filepath.Join(p.procRoot, strconv.Itoa(p.Pid), "syscall"))
	return err == nil && bytes.HasPrefix(b, []byte(strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT)+" "))
}

func hasSignal(status []byte, mask string, sig syscall.Signal) bool {
	_, rest, _ := bytes.Cut(status, []byte("\n"+mask))
	hex, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte("\n"))
	v, err := strconv.ParseUint(string(hex), 16, 64)
	return err == nil && sig > 0 && sig <= 64 && v&(1<<(uint(sig)-1)) != 0
}

//go:build (amd64 || arm64) && !startbythread

package process

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AtFirst is how many processes and threads a group has as a program starts in it:
// no limit may be below.
const AtFirst = 1

// Process is the one that Start started.
type Process struct {
	Pid    int
	child  int      // our child: the init of its namespace, or itself
	status *os.File // where that init tells of its end

	mu   sync.Mutex // guards the child's PID, which is another's once it was collected
	over bool
}

// Wait waits for the end, in the poller, where it costs no thread. It must be
// called once, or a zombie is left.
func (p *Process) Wait() (Exit, error) {
	e, err := p.wait()
	if err != nil {
		return e, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	return e, nil
}

func (p *Process) wait() (Exit, error) {
	if p.status == nil {
		ws, err := p.collect(time.Time{})
		return exitOf(ws), err
	}
	defer p.status.Close()
	var info [statusSize]byte
	n, err := p.status.Read(info[:])
	if n != len(info) {
		// It was killed with all of its namespace.
		ws, werr := p.collect(time.Time{})
		if werr == nil && !ws.Signaled() {
			werr = errors.Join(fmt.Errorf("its parent ended with code %d and did not tell of its end", ws.ExitStatus()), err)
		}
		return exitOf(ws), werr
	}
	e := exitOfInfo(&info)
	if _, err := p.collect(time.Now().Add(lingering)); errors.Is(err, os.ErrDeadlineExceeded) {
		// What is left in the namespace does not die, such as a process that waits
		// for a dead file server. The end is known: nobody waits for that.
		go func() { _, _ = p.collect(time.Time{}) }()
	}
	return e, nil
}

// lingering is how long the kernel may take to end a namespace before the end
// of its program is told.
const lingering = time.Second

func exitOf(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return Exit{Code: max(ws.ExitStatus(), 0)}
}

func exitOfInfo(info *[statusSize]byte) Exit {
	code, value := *(*int32)(unsafe.Pointer(&info[siginfoCode])), *(*int32)(unsafe.Pointer(&info[siginfoValue]))
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_DUMPED
	if code == exited {
		return Exit{Code: int(value)}
	}
	return Exit{Signal: syscall.Signal(value), Core: code == dumped}
}

// collect waits for the end of our child.
func (p *Process) collect(until time.Time) (ws syscall.WaitStatus, err error) {
	err = inPoller(p.child, until, func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		n, err := syscall.Wait4(p.child, &ws, syscall.WNOHANG, nil)
		p.over = p.over || n == p.child
		return p.over, err
	})
	return ws, err
}

// forget leaves the child to another Process.
func (p *Process) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// inPoller tries to wait for a child until that is done, each time that the
// child ends or may have.
func inPoller(pid int, until time.Time, wait func() (bool, error)) error {
	done, err := wait() // mostly it has ended by now
	if done || err != nil {
		return os.NewSyscallError("wait4", err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	for pause := time.Millisecond; scarce(err); pause = min(2*pause, time.Second) {
		if !until.IsZero() && time.Now().After(until) {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(pause)
		if done, err := wait(); done || err != nil {
			return os.NewSyscallError("wait4", err)
		}
		fd, err = unix.PidfdOpen(pid, 0)
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // PIDFD_NONBLOCK is of Linux 5.10
		return errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := f.SetReadDeadline(until); err != nil {
		return err
	}
	if perr := raw.Read(func(uintptr) bool { done, err = wait(); return done || err != nil }); perr != nil {
		return perr
	}
	return os.NewSyscallError("wait4", err)
}

// scarce reports whether something was refused for want of files or memory. That
// passes, and says nothing of a process: to wait for one continues.
func scarce(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// Signal sends sig; os.ErrProcessDone if the process has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	fd, err := p.open()
	if err == nil {
		err = ignoreInterrupt(func() error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
		unix.Close(fd)
	}
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.Pid, err)
	}
	return err
}

// SignalGroup is Signal to the process group of a process started beside
// another, which is the first of a session: to all that it started and that did
// not leave it.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return os.ErrProcessDone
	}
	if err := unix.Kill(-p.Pid, sig); err != nil {
		return fmt.Errorf("signal the group of process %d: %w", p.Pid, err)
	}
	return nil
}

// open returns a pidfd of the process. Its PID is its own as long as our child
// was not collected, if it is that, or has not ended, if that is its init.
func (p *Process) open() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return -1, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if err != nil || p.Pid == p.child {
		return fd, err
	}
	var info [128]byte
	err = ignoreInterrupt(func() error {
		return unix.Waitid(unix.P_PID, p.child, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	})
	if err == nil && *(*int32)(unsafe.Pointer(&info[siginfoPID])) != 0 {
		err = os.ErrProcessDone
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

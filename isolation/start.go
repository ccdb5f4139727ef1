package isolation

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start starts a process that is in the slice from its first instruction on,
// in a session of its own. Whoever calls must Wait for it. The limits of the
// spec are the slice's already.
//
// Some of what a process inherits belongs to the thread that forks: no new
// privileges, namespaces, v1 groups. So each start has a thread of its own,
// which ends with it.
func (s *Slice) Start(c Spec, f Files) (*Process, error) { return s.launch(c, f, 0) }

// StartBeside is Start in the mount and PID namespaces of a process that runs,
// in place of new ones.
func (s *Slice) StartBeside(p *Process, c Spec, f Files) (*Process, error) {
	return s.launch(c, f, p.Pid)
}

func (s *Slice) launch(c Spec, f Files, beside int) (*Process, error) {
	if c.Path == "" {
		return nil, errors.New("start a process: the path is empty: name a program")
	}
	var p *Process
	var err error
	onThread(func() { p, err = s.start(c, f, beside) })
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	if s.session != nil {
		s.session.add(p.Pid)
	}
	return p, nil
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread never ends, and is what /proc/PID shows of us: leave
			// it as it is. Another one is found while this one is held.
			onThread(f)
			runtime.UnlockOSThread()
			return
		}
		f() // no unlock: that ends the thread
	}()
	<-done
}

func (s *Slice) start(c Spec, f Files, beside int) (*Process, error) {
	attr, closeFiles, err := s.attributes(c, f, beside)
	if err != nil {
		return nil, err
	}
	defer closeFiles()
	if !c.AllowNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("forbid new privileges: %w", err)
		}
	}
	if c.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, c.Nice); err != nil { // of this thread, and what it forks
			return nil, fmt.Errorf("set the nice value %d: %w", c.Nice, err)
		}
	}
	if err := enterNamespaces(c.Confinement, beside); err != nil {
		return nil, err
	}
	if err := s.h.limiter.addThread(s.name); err != nil {
		return nil, err
	}
	ownProc := c.PrivatePIDs && c.PrivateMounts && beside == 0 && s.h.proc.can()
	attr.Sys.Ptrace = true
	proc, err := os.StartProcess(c.Path, args(c), attr)
	if err != nil {
		return nil, err
	}
	if err := s.atExec(proc, ownProc, c.Confinement); err != nil {
		return nil, err
	}
	return &Process{Pid: proc.Pid, os: proc, first: c.PrivatePIDs && beside == 0, procRoot: s.h.cfg.ProcRoot}, nil
}

// atExec does, while the process that the calling thread started stands at its
// exec, what can only be done from outside, and lets it go. A process that
// cannot be bounded as asked for never runs.
func (s *Slice) atExec(proc *os.Process, ownProc bool, c Confinement) error {
	err := stopped(proc.Pid)
	if err == nil {
		err = bound(proc.Pid, c)
	}
	if err != nil {
		_, werr := proc.Wait()
		return errors.Join(err, werr)
	}
	if ownProc {
		err = s.h.proc.mount(proc.Pid)
	}
	if derr := unix.PtraceDetach(proc.Pid); derr != nil && !errors.Is(derr, unix.ESRCH) {
		err = errors.Join(err, fmt.Errorf("let the process go: %w", derr))
	}
	if err != nil {
		s.h.proc.once.Do(func() {
			s.h.cfg.Log.Warn("isolation: tasks see the processes of the machine in /proc: a private one cannot be mounted", "error", err)
		})
	}
	return nil
}

// stopped waits until a traced process stands at its exec.
func stopped(pid int) error {
	var info unix.Siginfo
	for {
		// WNOWAIT: should it have been killed, whoever waits for it shall know.
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return errors.Join(fmt.Errorf("wait for the exec: %w", err), unix.Kill(pid, unix.SIGKILL))
		}
	}
}

// bound sets the limits of a process, or kills it. Those of another user's need
// CAP_SYS_RESOURCE from outside.
func bound(pid int, c Confinement) error {
	set := func(l Rlimit) error {
		return unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil)
	}
	for _, l := range c.Rlimits {
		if err := set(l); err != nil && !errors.Is(err, unix.ESRCH) {
			return errors.Join(&RlimitError{l, err}, unix.Kill(pid, unix.SIGKILL))
		}
	}
	if l, ok := c.openFiles(); ok {
		_ = set(l) // nobody asked for it
	}
	return nil
}

func (s *Slice) attributes(c Spec, f Files, beside int) (*os.ProcAttr, func(), error) {
	var opened []*os.File
	closeFiles := func() {
		for _, f := range opened {
			f.Close()
		}
	}
	sys := &syscall.SysProcAttr{Setsid: true}
	// A task must not get the keeper's groups, so even root has its list set.
	sys.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	if os.Geteuid() != 0 && int(c.UID) == os.Geteuid() {
		sys.Credential = nil // nobody but root may set any
	}
	if c.TTY {
		if f.Stdin == nil {
			return nil, nil, errors.New("a terminal was asked for, but Stdin is not set: give one")
		}
		sys.Setctty, sys.Ctty = true, 0
	}
	if s.dir != "" {
		group, err := open(s.dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return nil, nil, err
		}
		opened = append(opened, os.NewFile(uintptr(group), s.dir))
		sys.UseCgroupFD, sys.CgroupFD = true, group
	}
	if c.PrivatePIDs && beside == 0 {
		sys.Cloneflags |= unix.CLONE_NEWPID
	}
	files := []*os.File{f.Stdin, f.Stdout, f.Stderr}
	for i, given := range files {
		if given != nil {
			continue
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			closeFiles()
			return nil, nil, err
		}
		opened = append(opened, null)
		files[i] = null
	}
	env := c.Env
	if env == nil {
		env = []string{} // nil would be ours
	}
	return &os.ProcAttr{Dir: c.Dir, Env: env, Files: files, Sys: sys}, closeFiles, nil
}

func args(c Spec) []string {
	if len(c.Args) == 0 {
		return []string{c.Path}
	}
	return c.Args
}

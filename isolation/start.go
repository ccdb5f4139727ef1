package isolation

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is what Start starts. Only the three files are inherited; nil is
// /dev/null.
type Command struct {
	Path                  string   // of the program, absolute
	Args, Env             []string // Args[0] is the program's name
	Dir                   string
	UID, GID              uint32
	Groups                []uint32
	Stdin, Stdout, Stderr *os.File
	PrivatePIDs           bool // the process is PID 1 of a namespace of its own
	PrivateMounts         bool // what it mounts, the machine does not see
	AllowNewPrivileges    bool // programs like sudo work
	Setsid                bool // a session of its own, not only a process group
	TTY                   bool // Stdin is its controlling terminal; implies Setsid
	Join                  int  // PID whose mount and PID namespaces it enters; 0 = none
}

// Start starts a process that is in the slice from its first instruction on.
// Whoever calls must Wait for it.
//
// Some of what a process inherits belongs to the thread that forks: no new
// privileges, namespaces, v1 groups. So each start has a thread of its own,
// which ends with it.
func (s *Slice) Start(c Command) (*Process, error) {
	if c.Path == "" {
		return nil, errors.New("start a process: the path is empty: name a program")
	}
	var p *Process
	var err error
	onThread(func() { p, err = s.start(c) })
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

func (s *Slice) start(c Command) (*Process, error) {
	attr, closeFiles, err := s.attributes(c)
	if err != nil {
		return nil, err
	}
	defer closeFiles()
	if !c.AllowNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("forbid new privileges: %w", err)
		}
	}
	if err := enterNamespaces(c); err != nil {
		return nil, err
	}
	if err := s.h.limiter.addThread(s.name); err != nil {
		return nil, err
	}
	ownProc := c.PrivatePIDs && c.PrivateMounts && c.Join == 0 && s.h.proc.can()
	attr.Sys.Ptrace = ownProc
	proc, err := os.StartProcess(c.Path, args(c), attr)
	if err != nil {
		return nil, err
	}
	if ownProc {
		if err := s.h.proc.mount(proc.Pid); err != nil {
			s.h.proc.once.Do(func() {
				s.h.cfg.Log.Warn("isolation: tasks see the processes of the machine in /proc: a private one cannot be mounted", "error", err)
			})
		}
	}
	return &Process{Pid: proc.Pid, os: proc, first: c.PrivatePIDs && c.Join == 0, procRoot: s.h.cfg.ProcRoot}, nil
}

func (s *Slice) attributes(c Command) (*os.ProcAttr, func(), error) {
	var opened []*os.File
	closeFiles := func() {
		for _, f := range opened {
			f.Close()
		}
	}
	sys := &syscall.SysProcAttr{Setsid: c.Setsid || c.TTY, Setpgid: !c.Setsid && !c.TTY}
	// A task must not get the keeper's groups, so even root has its list set.
	sys.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	if os.Geteuid() != 0 && int(c.UID) == os.Geteuid() {
		sys.Credential = nil // nobody but root may set any
	}
	if c.TTY {
		if c.Stdin == nil {
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
	if c.PrivatePIDs && c.Join == 0 {
		sys.Cloneflags |= unix.CLONE_NEWPID
	}
	files := []*os.File{c.Stdin, c.Stdout, c.Stderr}
	for i, f := range files {
		if f != nil {
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

func args(c Command) []string {
	if len(c.Args) == 0 {
		return []string{c.Path}
	}
	return c.Args
}

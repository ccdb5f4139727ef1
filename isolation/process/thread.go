//go:build startbythread || !(amd64 || arm64)

package process

// This is the way to start without machine code of our own: the program is PID 1 of its
// namespace, a thread of ours is in the task's v1 groups until its exec, and
// mounting /proc takes ptrace and, before Linux 6.18, mount(8). It is for
// architectures that script_*.s does not know.

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AtFirst is how many processes and threads a group has as a program starts in it:
// no limit may be below.
const AtFirst = 2 // the forking thread is in it too

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

// setsFilters is not, as a filter of system calls has to come after the clone into
// the groups, where none of our code runs.
const setsFilters = false

// Birth is over at once here.
type Birth struct {
	c Spec
	p *Process
}

func (b *Birth) wait() (*Process, error) { return b.p, nil }

// Kill kills the process.
func (b *Birth) Kill() error { return b.p.Signal(unix.SIGKILL) }

// begin has a thread of its own, which ends with it: some of what a process
// inherits belongs to the thread that forks, as do no new privileges,
// namespaces, v1 groups.
func (st *Starter) begin(at Place, c Spec, f Files, beside *Process) (*Birth, error) {
	if err := st.prepare(st.ProcRoot); err != nil {
		return nil, err
	}
	pid := 0
	if beside != nil {
		pid = beside.Pid
	}
	confine := func() error { return nil }
	if beside == nil && c.PrivateMounts && c.ReadOnlySystem {
		trees, err := st.protected(c.Confinement) // before the thread has mounts of its own
		if err != nil {
			return nil, err
		}
		confine = func() error { return protectSystem(trees) }
	}
	var p *Process
	var err error
	onThread(func() { p, err = st.startHere(at, c, f, pid, confine) })
	if err != nil {
		return nil, err
	}
	if at.Began != nil {
		at.Began(p.Pid)
	}
	return &Birth{c: c, p: p}, nil
}

func (st *Starter) startHere(at Place, c Spec, f Files, beside int, confine func() error) (*Process, error) {
	attr, closeFiles, err := attributes(at.Group, c, f, beside)
	if err != nil {
		return nil, err
	}
	defer closeFiles()
	var entries []*os.File // opened here, as the mounts of a task do not let it write them
	for _, path := range at.Entries {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("enter the limits of %s: %w", at.Slice, err)
		}
		defer f.Close()
		entries = append(entries, f)
	}
	if !c.AllowNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("forbid new privileges: %w", err)
		}
	}
	unlearn()
	if c.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, c.Nice); err != nil { // of this thread, and what it forks
			return nil, c.notSoNice(err)
		}
	}
	layers, err := c.layers()
	if err != nil {
		return nil, err
	}
	if err := st.enterNamespaces(c, layers, beside); err != nil {
		return nil, err
	}
	if err := st.giveUp(c); err != nil {
		return nil, err
	}
	for _, f := range entries {
		if _, err := f.WriteString("0"); err != nil {
			return nil, fmt.Errorf("enter the limits of %s: %w", at.Slice, err)
		}
	}
	ownProc := c.PrivatePIDs && c.PrivateMounts && beside == 0 && st.can()
	attr.Sys.Ptrace = true
	proc, err := os.StartProcess(c.Path, args(c), attr)
	if err != nil {
		return nil, err
	}
	if err := st.atExec(proc, ownProc, confine, c.Confinement); err != nil {
		return nil, err
	}
	return &Process{Pid: proc.Pid, os: proc, first: c.PrivatePIDs && beside == 0, procRoot: st.ProcRoot}, nil
}

// giveUp takes from the program what it is forbidden, by what this thread hands
// on: it needs its own to the end, and the exec leaves root no more than the
// bounding set has, and others nothing.
func (st *Starter) giveUp(c Spec) error {
	if c.Forbidden == 0 {
		return nil
	}
	if st.own.permitted&(1<<unix.CAP_SETPCAP) == 0 && c.kept(st.own) != 0 {
		return errors.New("give up capabilities: CAP_SETPCAP is missing: give it to the daemon, or ask for a privileged task")
	}
	for capability := range each(c.dropped(st.own)) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("give up capabilities: %w", err)
		}
	}
	header, set := capHeader(), capSet(st.own.permitted) // none is inheritable
	if err := unix.Capset(&header, &set[0]); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

// unlearn puts back to what a system begins a service with all that this thread
// would hand on; it ends with the start. What cannot be put back stays.
func unlearn() {
	unix.Umask(usualUmask)                                                                              // of all threads, and we make no files that it matters to
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0) // the nice value, too
	_, _, _ = unix.RawSyscall(unix.SYS_IOPRIO_SET, ioprioProcess, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_SECUREBITS, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
}

// atExec does, while the process that the calling thread started stands at its
// exec, what can only be done from outside, and lets it go. A process that
// cannot be bounded or confined as asked for never runs.
func (st *Starter) atExec(proc *os.Process, ownProc bool, confine func() error, c Confinement) error {
	err := stopped(proc.Pid)
	if err == nil {
		err = bound(proc.Pid, c)
	}
	if err == nil && ownProc {
		if err := st.mount(proc.Pid); err != nil {
			st.warn.Do(func() {
				st.Log.Warn("isolation: tasks see the processes of the machine in /proc: a private one cannot be mounted", "error", err)
			})
		}
	}
	if err == nil {
		if err = confine(); err != nil {
			err = errors.Join(err, unix.Kill(proc.Pid, unix.SIGKILL))
		}
	}
	if err != nil {
		_, werr := proc.Wait()
		return errors.Join(err, werr)
	}
	if err := unix.PtraceDetach(proc.Pid); err != nil && !errors.Is(err, unix.ESRCH) {
		st.Log.Warn("isolation: let the process go", "error", err)
	}
	return nil
}

// putLayers takes hold of what is to be reached before anything is covered.
func putLayers(c Spec, layers []layer) error {
	held := make([]int, len(layers))
	for i := range held {
		held[i] = -1
	}
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for i, l := range layers {
		var err error
		switch {
		case l.kind == isNamed:
			if held[i], err = holdNamed(c, l.path); err != nil {
				return &os.PathError{Op: ReachOp, Path: l.path, Err: err}
			}
		case !l.empty():
			held[i], err = unix.OpenTree(unix.AT_FDCWD, l.from(), holdTree)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l.does(), err)
		}
	}
	for i, l := range layers {
		if err := l.put(held[i]); err != nil {
			return err
		}
	}
	for _, l := range layers {
		if l.kind != isCovered {
			continue
		}
		if err := unix.Mount("", l.path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|coverFlags, ""); err != nil {
			return fmt.Errorf("%s: %w", l.does(), err)
		}
	}
	return nil
}

// holdNamed takes hold of what the user of the process named, as that user, over
// no link: whoever may write above it could have it lead anywhere meanwhile.
func holdNamed(c Spec, path string) (int, error) {
	if os.Geteuid() == 0 {
		list := make([]uint32, len(c.Groups)+1)
		copy(list, c.Groups)
		if _, _, errno := unix.RawSyscall(sysSetgroups, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(&list[0])), 0); errno != 0 {
			return -1, errno
		}
		_, _, _ = unix.RawSyscall(sysSetfsgid, uintptr(c.GID), 0, 0)
		_, _, _ = unix.RawSyscall(sysSetfsuid, uintptr(c.UID), 0, 0)
	}
	how := onlyThere
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if os.Geteuid() == 0 {
		_, _, _ = unix.RawSyscall(sysSetfsuid, 0, 0, 0)
		_, _, _ = unix.RawSyscall(sysSetfsgid, 0, 0, 0)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return unix.OpenTree(fd, "", holdTree|unix.AT_EMPTY_PATH)
}

// put mounts what is held, or an empty one.
func (l layer) put(held int) error {
	for _, dir := range l.above {
		if err := unix.Mkdir(dir, 0o711); err != nil && !errors.Is(err, unix.EEXIST) {
			return l.makes(dir, err)
		}
	}
	if !l.empty() && !l.folder {
		if err := unix.Mknod(l.path, unix.S_IFREG|0o444, 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return l.makes(l.path, err)
		}
	}
	if err := l.mount(held); err != nil {
		return fmt.Errorf("%s: %w", l.puts(), err)
	}
	return nil
}

func (l layer) mount(held int) error {
	if l.empty() {
		return unix.Mount(coverFS, l.path, coverFS, l.flags(), l.data)
	}
	if err := unix.MoveMount(held, "", unix.AT_FDCWD, l.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if l.folder || l.kind != isReached {
		return nil
	}
	return unix.Mount("", l.path, "", reachedFlags, "")
}

// protectSystem changes the mounts of the calling thread, which are those of the
// process by now.
func protectSystem(trees []string) error {
	for _, path := range trees {
		attr := readOnlyTree
		if err := unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &attr); err != nil && !gone(path) {
			return fmt.Errorf("protect %s: %w", path, err)
		}
	}
	there := func(path string) bool { return unix.Faccessat(unix.AT_FDCWD, path, unix.F_OK, 0) == nil }
	for _, path := range secrets {
		if !there(path) {
			continue
		}
		if err := unix.Mount(os.DevNull, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide the machine's secrets in /proc: %w", err)
		}
	}
	for _, path := range settings {
		if !there(path) {
			continue
		}
		err := unix.Mount(path, path, "", unix.MS_BIND, "")
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|procFlags, "")
		}
		if err != nil {
			return fmt.Errorf("protect the kernel's settings in /proc: %w", err)
		}
	}
	return nil
}

// gone reports whether nothing is mounted there any more: the machine may unmount what
// it had when its mounts were read.
func gone(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err != nil || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0
}

// stopped waits until a traced process stands at its exec.
func stopped(pid int) error {
	const exited, killed, dumped = 1, 2, 3 // CLD_EXITED, CLD_KILLED, CLD_DUMPED
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil) // the caller collects it
		if err == nil {
			if info.Code == exited || info.Code == killed || info.Code == dumped {
				return ErrEnded
			}
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
	// This thread may see another /proc than ours, and the file is of the process:
	// another thread writes it.
	done := make(chan error)
	go func() { done <- os.WriteFile(fmt.Sprintf(oomScoreFile, strconv.Itoa(pid)), []byte(c.oomScore()), 0) }()
	if err := <-done; err != nil && c.OOMScore != 0 && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("choose who dies when memory runs out: %w", err), unix.Kill(pid, unix.SIGKILL))
	}
	return nil
}

func attributes(dir string, c Spec, f Files, beside int) (*os.ProcAttr, func(), error) {
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
	if dir != "" {
		group, err := open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return nil, nil, err
		}
		opened = append(opened, os.NewFile(uintptr(group), dir))
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

// enterNamespaces puts the calling thread, which must be of no other use, into
// the namespaces that its child shall have. A new PID namespace is not among
// them: that is made by the fork.
func (st *Starter) enterNamespaces(c Spec, layers []layer, beside int) error {
	ipc := 0
	if c.PrivateIPC && st.ipc {
		ipc = unix.CLONE_NEWIPC
	}
	if beside != 0 {
		return join(beside, unix.CLONE_NEWPID|unix.CLONE_NEWNS|ipc)
	}
	if ipc != 0 {
		if err := unix.Unshare(ipc); err != nil {
			return fmt.Errorf("make an IPC namespace: %w", err)
		}
	}
	if !c.PrivateMounts {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// Slave: what the machine mounts later is seen, the other way round it is not.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separate the mounts: %w", err)
	}
	if err := putLayers(c, layers); err != nil {
		return err
	}
	if ipc != 0 {
		_ = unix.Mount("mqueue", queues, "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") // not all systems have the folder
	}
	return nil
}

// join enters the namespaces of a process, held by a pidfd so that they are
// those of one process even if that ends meanwhile.
func join(pid, namespaces int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("join process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// Threads that share a working directory cannot change their mounts.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("join process %d: %w", pid, err)
	}
	if err := unix.Setns(fd, namespaces); err != nil {
		return fmt.Errorf("join the namespaces of process %d: %w", pid, err)
	}
	return nil
}

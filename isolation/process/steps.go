//go:build (amd64 || arm64) && !startbythread

package process

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a newborn process does. The order matters:
//
//	newborn   (a clone of a zygote) leaves its socket
//	          enters or makes its namespaces, and mounts what it is to see
//	program   (a child of the newborn)
//	          is born in its slice, and enters the v1 groups of its limits
//	          takes its session, files, terminal and limits
//	          becomes its user
//	          goes to its folder and executes
//	init      (the newborn, where there is a PID namespace) forgets the rest, collects the dead,
//	          tells of the program's end
//
// Only a child enters a PID namespace; and nobody enters a group with our files
// open, as one that is frozen or throttled there would keep each start and each
// pipe of another task from its end.
//
// The init is in our session and group of processes, as a session costs a group
// of the kernel's scheduler: a signal to that kills us too, or does nothing.
// It is in no group of the task's: it is not frozen, throttled or killed
// with it, so it can always tell, and costs the task nothing.
//
// Capabilities leave the bounding set while it may still do that, and the rest
// once it is its user, which takes some. Another root goes after the mounts. The
// filter of system calls comes before it loses its own: then it has no more than
// the task, where root could trace it while it has no filter yet; and the kernel
// wants that, or that the program gains no privileges.

// fails names the next stage, by what an error of it is called.
func (b *Birth) fails(err func(error) error) uintptr {
	b.stages = append(b.stages, stage{err: err})
	return uintptr(len(b.stages) - 1)
}

// does is a stage whose errors begin with what was done.
func (b *Birth) does(what string, args ...any) uintptr {
	what = fmt.Sprintf(what, args...)
	return b.fails(func(err error) error { return fmt.Errorf("%s: %w", what, err) })
}

// script writes all steps and returns the first.
func (b *Birth) script() *step {
	a := b.arena
	b.report = a.report()
	b.fails(nil) // 0 is none: so is the report of one who is there
	giveUp := &chain{a: a, keep: true}
	tell := giveUp.call(0, unix.SYS_WRITE, uintptr(b.theirs), b.report, 8)
	tell.fail = giveUp.call(0, unix.SYS_EXIT_GROUP, 1).addr()
	newborn := &chain{a: a, fail: tell.addr()}
	b.leaveZygote(newborn)
	b.enterNamespaces(newborn)
	born := cloneArgs{flags: unix.CLONE_PARENT}
	if b.init {
		// Files that are shared can be copied in part: the init does, before it closes
		// any. Memory is the program's, which the init waits for, until the exec.
		born = cloneArgs{flags: unix.CLONE_FILES | unix.CLONE_VM | unix.CLONE_VFORK, exitSignal: uint64(unix.SIGCHLD)}
		newborn.call(b.does("move a file"), unix.SYS_DUP3, uintptr(b.tell), tellFile, unix.O_CLOEXEC)
	}
	size := born.into(b.group)
	fork := newborn.call(b.fails(func(err error) error { return &os.PathError{Op: "fork/exec", Path: b.c.Path, Err: err} }),
		unix.SYS_CLONE3, a.bytes(false, (*[unsafe.Sizeof(born)]byte)(unsafe.Pointer(&born))[:]), size)
	program := &chain{a: a, fail: tell.addr()}
	program.call(b.does("tell of the process"), unix.SYS_WRITE, uintptr(b.theirs), a.bytes(false, make([]byte, 8)), 8)
	b.becomeProgram(program)
	fork.zero = program.first.addr()
	fork.next = b.stay(fork).addr()
	return newborn.first
}

// leaveZygote closes the zygote's socket, which is to end with it, and waits until we
// know of the newborn: if we never do, it is to begin nothing.
func (b *Birth) leaveZygote(c *chain) {
	leave := (&chain{a: b.arena}).call(0, unix.SYS_EXIT_GROUP, 1)
	c.call(b.does("close files"), unix.SYS_CLOSE_RANGE, 0, tellFile)
	known := c.call(0, unix.SYS_READ, uintptr(b.theirs), b.arena.bytes(false, make([]byte, 8)), 1)
	c.call(b.does("reset signals"), unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, b.arena.bytes(false, make([]byte, 8)), 0, 8)
	known.fail, known.zero = leave.addr(), leave.addr()
}

// enterLimits writes 0 for itself: the kernel moves that one without its global
// lock, which costs milliseconds for each group otherwise.
func (b *Birth) enterLimits(c *chain) {
	for _, fd := range b.limits {
		c.call(b.does("enter the limits of %s", b.at.Slice), unix.SYS_WRITE, uintptr(fd), b.arena.string("0"), 1)
	}
}

func (b *Birth) enterNamespaces(c *chain) {
	var ipc uintptr
	if b.c.PrivateIPC && b.st.ipc {
		ipc = unix.CLONE_NEWIPC
	}
	if b.beside != nil {
		c.call(b.does("join the namespaces of process %d", b.beside.Pid), unix.SYS_SETNS, uintptr(b.target), unix.CLONE_NEWPID|unix.CLONE_NEWNS|ipc)
		return
	}
	made := ipc
	if b.c.PrivateMounts {
		made |= unix.CLONE_NEWNS
	}
	if made != 0 {
		c.call(b.does("make its namespaces"), unix.SYS_UNSHARE, made)
	}
	if !b.c.PrivateMounts {
		return
	}
	a := b.arena
	// Slave: what the machine mounts later is seen, the other way round it is not.
	none := a.string("none")
	c.call(b.does("separate the mounts"), unix.SYS_MOUNT, none, a.string("/"), 0, unix.MS_REC|unix.MS_SLAVE)
	if ipc != 0 {
		fs := a.string("mqueue")
		c.try(unix.SYS_MOUNT, fs, a.string(queues), fs, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	}
	b.putLayers(c)
	if b.init {
		b.mountProc(c)
	}
	b.protectSystem(c)
}

// putLayers takes hold of what is to be reached before anything is covered.
func (b *Birth) putLayers(c *chain) {
	a := b.arena
	cwd, fs, none := unix.AT_FDCWD, a.string(coverFS), a.string("")
	if len(b.layers) > 0 {
		c.try(unix.SYS_UMASK, usualUmask)
	}
	stages, held := make([]uintptr, len(b.layers)), make([]*step, len(b.layers))
	for i, l := range b.layers {
		if stages[i] = b.does("%s", l.does()); l.kind == isNamed { // by the user, as is the program
			stages[i] = b.fails(func(err error) error { return &os.PathError{Op: ReachOp, Path: l.path, Err: err} })
		}
		if l.kind != isNamed && !l.empty() {
			held[i] = c.call(stages[i], unix.SYS_OPEN_TREE, uintptr(cwd), a.string(l.from()), holdTree)
		}
	}
	b.holdNamed(c, stages, held)
	for i, l := range b.layers {
		at, put := a.string(l.path), b.does("%s", l.puts())
		for _, dir := range l.above {
			b.unlessThere(c, c.call(b.makes(l, dir), unix.SYS_MKDIRAT, uintptr(cwd), a.string(dir), 0o711))
		}
		if l.empty() {
			c.call(put, unix.SYS_MOUNT, fs, at, fs, l.flags(), a.string(l.data))
			continue
		}
		if !l.folder {
			b.unlessThere(c, c.call(b.makes(l, l.path), unix.SYS_MKNODAT, uintptr(cwd), at, unix.S_IFREG|0o444, 0))
		}
		move := c.call(put, unix.SYS_MOVE_MOUNT, 0, none, uintptr(cwd), at, unix.MOVE_MOUNT_F_EMPTY_PATH)
		held[i].out = move.arg(0)
		if !l.folder && l.kind == isReached {
			c.call(put, unix.SYS_MOUNT, none, at, none, reachedFlags)
		}
	}
	for i, l := range b.layers {
		if l.kind == isCovered {
			c.call(stages[i], unix.SYS_MOUNT, none, a.string(l.path), none, unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|coverFlags)
		}
	}
}

func (b *Birth) makes(l layer, path string) uintptr {
	return b.fails(func(err error) error { return l.makes(path, err) })
}

// holdNamed takes hold of what the user of the process named, as that user, over
// no link: whoever may write above it could have it lead anywhere meanwhile.
func (b *Birth) holdNamed(c *chain, stages []uintptr, held []*step) {
	a := b.arena
	cwd, none, as := unix.AT_FDCWD, a.string(""), false
	for i, l := range b.layers {
		if l.kind != isNamed {
			continue
		}
		if !as && os.Geteuid() == 0 {
			as = true
			c.call(stages[i], unix.SYS_SETGROUPS, uintptr(len(b.c.Groups)), b.groupList())
			c.call(stages[i], unix.SYS_SETFSGID, uintptr(b.c.GID))
			c.call(stages[i], unix.SYS_SETFSUID, uintptr(b.c.UID))
		}
		how := onlyThere
		path := c.call(stages[i], unix.SYS_OPENAT2, uintptr(cwd), a.string(l.path), a.bytes(false, (*[unsafe.Sizeof(how)]byte)(unsafe.Pointer(&how))[:]), unsafe.Sizeof(how))
		held[i] = path
	}
	if as {
		c.call(0, unix.SYS_SETFSUID, 0)
		c.call(0, unix.SYS_SETFSGID, 0)
	}
	for i, path := range held {
		if b.layers[i].kind == isNamed {
			held[i] = c.call(stages[i], unix.SYS_OPEN_TREE, 0, none, holdTree|unix.AT_EMPTY_PATH)
			path.out = held[i].arg(0)
		}
	}
}

// protectSystem comes after the /proc that it is about.
func (b *Birth) protectSystem(c *chain) {
	if !b.c.ReadOnlySystem {
		return
	}
	a := b.arena
	cwd, none := unix.AT_FDCWD, a.string("")
	attr := readOnlyTree
	words := a.bytes(false, (*[unsafe.Sizeof(attr)]byte)(unsafe.Pointer(&attr))[:])
	found := a.bytes(false, make([]byte, unsafe.Sizeof(unix.Statx_t{})))
	for _, path := range b.trees {
		at := a.string(path)
		protect := c.call(b.does("protect %s", path), unix.SYS_MOUNT_SETATTR, uintptr(cwd), at, unix.AT_RECURSIVE, words, unsafe.Sizeof(attr))
		b.unlessGone(c, protect, at, found)
	}
	hide := b.does("hide the machine's secrets in /proc")
	null := a.string(os.DevNull)
	secretsHere, settingsHere := b.st.paths.look(b.st.ProcRoot)
	for _, path := range secretsHere {
		p := a.string(path)
		b.unlessAway(c, c.call(hide, unix.SYS_MOUNT, null, p, none, unix.MS_BIND), p)
	}
	protect := b.does("protect the kernel's settings in /proc")
	all := hasTrees() && !readOnly(b.st.ProcRoot)
	for _, path := range settingsHere {
		p := a.string(path)
		b.unlessAway(c, c.call(protect, unix.SYS_MOUNT, p, p, none, unix.MS_BIND), p)
		if !all {
			b.unlessAway(c, c.call(protect, unix.SYS_MOUNT, none, p, none, unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|procFlags), p)
		}
	}
	if all { // at once, and then what each process has there of its own can be written again
		proc, writable := a.string("/proc"), unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		c.call(protect, unix.SYS_MOUNT_SETATTR, uintptr(cwd), proc, unix.AT_RECURSIVE, words, unsafe.Sizeof(attr))
		c.call(protect, unix.SYS_MOUNT_SETATTR, uintptr(cwd), proc, 0, a.bytes(false, (*[unsafe.Sizeof(writable)]byte)(unsafe.Pointer(&writable))[:]), unsafe.Sizeof(writable))
	}
}

// unlessAway continues after an error if the kernel has no such path any more.
func (b *Birth) unlessAway(c *chain, does *step, path uintptr) {
	cwd := unix.AT_FDCWD
	look := (&chain{a: b.arena}).call(0, unix.SYS_FACCESSAT, uintptr(cwd), path, unix.F_OK)
	look.next, look.zero = c.fail, c.fail
	does.fail = look.addr()
	c.open = append(c.open, &look.fail)
}

// unlessThere continues after an error of making a file that is there already.
func (b *Birth) unlessThere(c *chain, does *step) {
	look := (&chain{a: b.arena}).call(0, compare, b.report+4, uintptr(unix.EEXIST))
	look.next = c.fail
	does.fail = look.addr()
	c.open = append(c.open, &look.zero)
}

// unlessGone continues after an error if nothing is mounted there any more: the machine
// may unmount what it had when its mounts were read.
func (b *Birth) unlessGone(c *chain, protect *step, path, found uintptr) {
	cwd := unix.AT_FDCWD
	gone := &chain{a: b.arena}
	look := gone.call(0, unix.SYS_STATX, uintptr(cwd), path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, found)
	plain := gone.call(0, compare, found+unsafe.Offsetof(unix.Statx_t{}.Attributes), 0) // it is not a mount's root
	end := (&chain{a: b.arena}).call(0, unix.SYS_GETPID)
	protect.goTo(end)
	protect.fail, look.fail = look.addr(), end.addr()
	plain.zero, plain.next = end.addr(), c.fail
	c.last = end
}

// mountProc gives the namespace a /proc that shows it, or continues without.
func (b *Birth) mountProc(c *chain) {
	a := b.arena
	st := b.does("tasks see the processes of the machine in /proc: a private one cannot be mounted")
	b.stages[st].goOn = true
	without := &chain{a: a}
	note := without.call(0, unix.SYS_WRITE, uintptr(b.theirs), b.report, 8)
	proc := &chain{a: a, fail: note.addr()}
	fs := proc.call(st, unix.SYS_FSOPEN, a.string("proc"), unix.FSOPEN_CLOEXEC)
	config := proc.call(st, unix.SYS_FSCONFIG, 0, unix.FSCONFIG_CMD_CREATE)
	mnt := proc.call(st, unix.SYS_FSMOUNT, 0, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	empty, cwd := a.string(""), unix.AT_FDCWD
	move := proc.call(st, unix.SYS_MOVE_MOUNT, 0, empty, uintptr(cwd), a.string("/proc"), unix.MOVE_MOUNT_F_EMPTY_PATH)
	// A descriptor is two arguments' value: it is kept once and read from there.
	fs.out, mnt.out = config.arg(0), move.arg(0)
	again := (*step)(unsafe.Pointer(&a.mem[a.take(false, int(unsafe.Sizeof(step{})))]))
	*again = step{nr: compare, args: [6]uintptr{config.arg(0)}, out: mnt.arg(0)}
	config.goTo(again)
	again.goTo(mnt)
	c.then(fs)
	end := (&chain{a: a}).call(0, unix.SYS_GETPID)
	move.goTo(end)
	note.goTo(end)
	note.fail = end.addr()
	c.last = end
}

// becomeProgram ends with the exec.
func (b *Birth) becomeProgram(c *chain) {
	a := b.arena
	b.enterLimits(c)
	c.call(b.does("begin a session"), unix.SYS_SETSID)
	files := b.does("take its files")
	for i, fd := range b.files {
		c.call(files, unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	if b.c.TTY {
		c.call(b.does("take its terminal"), unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 1)
	}
	b.unlearn(c)
	b.bound(c)
	if !b.c.AllowNewPrivileges {
		c.call(b.does("forbid new privileges"), unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if b.init && os.Geteuid() == 0 {
		// Until the exec it shares the memory of its init, which keeps all capabilities:
		// who has no more than it is about to have must not see into either.
		c.call(b.does("close its memory to others"), unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	}
	giveUp := b.does("give up capabilities")
	for capability := range each(b.c.dropped(b.st.own) &^ b.without) {
		c.call(giveUp, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
	}
	b.filter(c)
	if os.Geteuid() == 0 || int(b.c.UID) != os.Geteuid() { // nobody but root may set any
		user := b.fails(func(err error) error { return &os.PathError{Op: "fork/exec", Path: b.c.Path, Err: err} })
		// A task must not get the keeper's groups, so even root has its list set.
		c.call(user, unix.SYS_SETGROUPS, uintptr(len(b.c.Groups)), b.groupList())
		c.call(user, unix.SYS_SETGID, uintptr(b.c.GID))
		c.call(user, unix.SYS_SETUID, uintptr(b.c.UID))
	}
	if b.c.Forbidden != 0 {
		header, set := capHeader(), capSet(b.c.kept(b.st.own))
		c.call(giveUp, unix.SYS_CAPSET, a.bytes(false, (*[unsafe.Sizeof(header)]byte)(unsafe.Pointer(&header))[:]),
			a.bytes(false, (*[unsafe.Sizeof(set)]byte)(unsafe.Pointer(&set))[:]))
	}
	if b.c.Dir != "" {
		c.call(b.fails(func(err error) error { return &os.PathError{Op: "chdir", Path: b.c.Dir, Err: err} }), unix.SYS_CHDIR, a.string(b.c.Dir))
	}
	exec := b.fails(func(err error) error { return b.c.notExecuted(err) })
	there := make([]byte, 8)
	binary.NativeEndian.PutUint32(there, uint32(exec))
	c.call(b.does("tell of the exec"), unix.SYS_WRITE, uintptr(b.theirs), a.bytes(false, there), 8)
	c.call(exec, unix.SYS_EXECVE, a.string(b.c.Path), a.strings(args(b.c)), a.strings(b.c.Env))
}

func (b *Birth) groupList() uintptr {
	list := make([]byte, 0, 4*len(b.c.Groups))
	for _, g := range b.c.Groups {
		list = append(list, (*[4]byte)(unsafe.Pointer(&g))[:]...)
	}
	return b.arena.bytes(false, list)
}

// filter has the kernel refuse, from the next step on, what the program is not to
// call.
func (b *Birth) filter(c *chain) {
	code := b.st.filter
	if !b.c.FilterSyscalls || code == nil {
		return
	}
	program := struct { // unix.SockFprog, which wants a pointer that Go knows
		length uint16
		code   uintptr
	}{uint16(len(code) / unix.SizeofSockFilter), b.arena.bytes(false, code)}
	at := b.arena.bytes(false, (*[unsafe.Sizeof(program)]byte)(unsafe.Pointer(&program))[:])
	c.call(b.does("filter system calls"), unix.SYS_SECCOMP, setFilter, specAllow, at)
}

// unlearn puts back to what a system begins a service with all that a process
// hands on, since ours is that of whoever started us: a shell with umask 077 and
// root's keys, or a unit with a scheduler of its own. What cannot be put back
// stays. Which processors we may have is kept: the node offers only those.
func (b *Birth) unlearn(c *chain) {
	a := b.arena
	c.try(unix.SYS_UMASK, usualUmask)
	c.try(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_NORMAL, a.bytes(false, make([]byte, 4)))
	c.try(unix.SYS_IOPRIO_SET, ioprioProcess, 0, 0)
	c.try(unix.SYS_PERSONALITY, 0)
	c.try(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0, 0, 0, 0)
	c.try(unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
	c.try(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	if !b.st.scored {
		return
	}
	cwd := unix.AT_FDCWD
	open := c.try(unix.SYS_OPENAT, uintptr(cwd), a.string("/proc/self/oom_score_adj"), unix.O_WRONLY|unix.O_CLOEXEC)
	write := c.try(unix.SYS_WRITE, 0, a.string("0"), 1)
	open.out = write.arg(0)
	open.fail = c.try(unix.SYS_GETPID).addr()
}

// bound sets what each process of the program may take.
func (b *Birth) bound(c *chain) {
	if b.c.Nice != 0 {
		c.call(b.fails(b.c.notSoNice), unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(b.c.Nice))
	} else {
		c.try(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, 0)
	}
	b.setOOMScore(c)
	words := func(l Rlimit) uintptr {
		v := [2]uint64{l.Soft, l.Hard}
		return b.arena.bytes(false, (*[16]byte)(unsafe.Pointer(&v))[:])
	}
	for _, l := range b.c.Rlimits {
		st := b.fails(func(err error) error { return &RlimitError{l, err} })
		c.call(st, unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), words(l), 0)
	}
	if l, ok := b.c.openFiles(); ok {
		c.try(unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), words(l), 0) // nobody asked for it
	}
}

// setOOMScore has the kernel prefer the program, and all that it will start.
func (b *Birth) setOOMScore(c *chain) {
	if b.c.OOMScore <= 0 {
		return
	}
	a := b.arena
	failed := b.does("choose who dies when memory runs out")
	cwd := unix.AT_FDCWD
	open := c.call(failed, unix.SYS_OPENAT, uintptr(cwd), a.string(fmt.Sprintf(oomScoreFile, "self")), unix.O_WRONLY|unix.O_CLOEXEC)
	score := b.c.oomScore()
	write := c.call(failed, unix.SYS_WRITE, 0, a.string(score), uintptr(len(score)))
	open.out = write.arg(0)
}

// stay is what becomes of the newborn after the fork of its program: it says who
// that is, which may be frozen before it can, and leaves it to us; or it is the
// first process of the namespace.
func (b *Birth) stay(fork *step) *step {
	a := b.arena
	c := &chain{a: a, keep: true}
	if !b.init {
		who := a.bytes(true, make([]byte, 16))
		fork.out = who + 4
		say := c.call(0, unix.SYS_WRITE, uintptr(b.theirs), who, 8)
		say.fail = c.call(0, unix.SYS_EXIT_GROUP, 0).addr()
		return say
	}
	leave := c.call(0, unix.SYS_EXIT_GROUP, 0)
	c = &chain{a: a, keep: true, fail: leave.addr()}
	c.call(0, unix.SYS_CLOSE_RANGE, firstFile, uintptr(^uint32(0)), unix.CLOSE_RANGE_UNSHARE)
	c.call(0, unix.SYS_CLOSE_RANGE, 0, tellFile-1)
	c.call(0, unix.SYS_PRCTL, unix.PR_SET_NAME, a.bytes(true, []byte("mesita-init")))
	if !b.st.pinned {
		c.call(0, unix.SYS_MUNMAP, a.at(a.restAt), uintptr(len(a.mem)-a.restAt+(loopPages+sharedPages)*a.restAt)) // and what the zygote needs
	}
	info := a.bytes(true, make([]byte, 128))
	pid, options := info+siginfoPID, uintptr(unix.WEXITED|unix.WNOWAIT)
	look := c.call(0, unix.SYS_WAITID, unix.P_ALL, 0, info, options, 0)
	main := c.call(0, compare, pid, mainPID)
	load := c.call(0, compare, pid, 0)
	collect := c.call(0, unix.SYS_WAIT4, 0, 0, 0, 0)
	load.out = collect.arg(0)
	collect.goTo(look)
	// The program itself is not collected, so its PID stays its own as long as
	// we are there.
	tell := (&chain{a: a, keep: true, fail: leave.addr()}).call(0, unix.SYS_WRITE, tellFile, info, statusSize)
	tell.goTo(leave)
	main.zero = tell.addr()
	return c.first
}

const (
	mainPID      = 2 // in its namespace: who mounts and forks there before is the first alone
	siginfoPID   = 16
	statusSize   = 28
	siginfoCode  = 8
	siginfoValue = 24
)

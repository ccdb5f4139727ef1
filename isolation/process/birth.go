//go:build (amd64 || arm64) && !startbythread

package process

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const setsFilters = true

// Birth is a process between its clone and its program.
type Birth struct {
	st     *Starter
	at     Place
	c      Spec
	beside *Process
	init   bool // the newborn stays, as the parent of the program
	layers []layer
	trees  []string // to be read-only: see Starter.protected

	arena   *arena
	stages  []stage
	report  uintptr
	without uint64 // capabilities that it never may gain, as its zygote

	send    []int // files of ours that it is to have, from firstFile on
	ours    []int // those of them to be closed
	files   [3]int
	group   int
	limits  []int // of the groups to enter by a write
	target  int   // a pidfd of beside
	theirs  int   // the newborn's end of news
	tell    int   // the newborn's end of status
	news    *os.File
	status  *os.File
	newborn *Process // our child, whose child the program is

	mu      sync.Mutex // guards the rest
	program *Process
	killed  bool
}

// stage is a part of the birth, for the words of its error.
type stage struct {
	err  func(error) error
	goOn bool // the birth continues without
}

func (st *Starter) begin(at Place, c Spec, f Files, beside *Process) (*Birth, error) {
	if c.TTY && f.Stdin == nil {
		return nil, errors.New("a terminal was asked for, but Stdin is not set: give one")
	}
	if err := st.prepare(st.ProcRoot); err != nil {
		return nil, err
	}
	if err := c.mayFilter(st.own); err != nil {
		return nil, err
	}
	b := &Birth{st: st, at: at, c: c, beside: beside, init: c.PrivatePIDs && beside == nil, group: -1, tell: -1, target: -1}
	if beside == nil {
		var err error
		if b.layers, err = c.layers(); err != nil {
			return nil, err
		}
		if b.trees, err = st.protected(c.Confinement); err != nil {
			return nil, err
		}
	}
	defer runtime.KeepAlive(f)
	for n := 0; ; n++ {
		err := b.tryToBeBorn(f)
		if err == nil {
			return b, nil
		}
		if n == st.zygotes.most() || !errors.Is(err, errNoZygote) { // somebody may have stopped all
			return nil, err
		}
	}
}

// tryToBeBorn has files of its own for each try: what it was before may have them yet.
func (b *Birth) tryToBeBorn(f Files) error {
	defer b.closeOurs()
	err := b.open(f)
	if err == nil {
		err = b.beBorn()
	}
	if err != nil {
		b.news.Close()
		b.status.Close()
	}
	return err
}

func (b *Birth) beBorn() error {
	z, err := b.st.zygotes.take(&b.st.starter, b.st.ProcRoot, b.room(), b.c.dropped(b.st.own))
	if err != nil {
		return err
	}
	b.arena, b.stages, b.without = z.script, nil, z.without
	err = b.clone(z)
	b.st.zygotes.giveBack(z)
	b.arena = nil // the next one's
	if err != nil {
		return err
	}
	return b.letBegin()
}

// room is what its script takes, beside the steps of any: what it asks for may be
// as much as a message has room for.
func (b *Birth) room() int {
	const each = int(unsafe.Sizeof(step{})) + 64 // a step and what it points to
	lists := len(b.c.Rlimits) + len(b.st.ignored) + len(b.at.Entries) + bits.OnesCount64(b.c.dropped(b.st.own)) + 4*len(b.trees)
	text := [][]string{}
	for _, l := range b.layers {
		lists += l.steps()
		text = append(text, l.text())
	}
	return roomFor(text...) + roomFor(args(b.c), b.c.Env, []string{b.c.Path, b.c.Dir}, b.trees) + 8*len(b.c.Groups) + len(b.st.filter) + each*lists + 2048
}

// open opens what the newborn needs.
func (b *Birth) open(f Files) error {
	b.limits, b.news, b.status = nil, nil, nil
	for i, given := range []*os.File{f.Stdin, f.Stdout, f.Stderr} {
		fd, err := -1, error(nil)
		if given == nil {
			fd, err = open(os.DevNull, unix.O_RDWR)
		} else {
			b.lend(&b.files[i], int(given.Fd()))
			continue
		}
		if err := b.use(&b.files[i], fd, err); err != nil {
			return err
		}
	}
	if b.at.Group != "" {
		fd, err := open(b.at.Group, unix.O_PATH|unix.O_DIRECTORY)
		if err := b.use(&b.group, fd, err); err != nil {
			return err
		}
	}
	for _, path := range b.at.Entries {
		b.limits = append(b.limits, -1)
		fd, err := open(path, unix.O_WRONLY)
		if err := b.use(&b.limits[len(b.limits)-1], fd, err); err != nil {
			return fmt.Errorf("enter the limits of %s: %w", b.at.Slice, err)
		}
	}
	if b.beside != nil {
		fd, err := b.beside.open()
		if err := b.use(&b.target, fd, err); err != nil {
			return fmt.Errorf("join process %d: %w", b.beside.Pid, err)
		}
	}
	return b.openNews()
}

func (b *Birth) openNews() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil { // the newborn waits on its end
		return errors.Join(os.NewSyscallError("fcntl", err), unix.Close(pair[0]), unix.Close(pair[1]))
	}
	b.news = os.NewFile(uintptr(pair[0]), "news")
	if err := b.use(&b.theirs, pair[1], nil); err != nil {
		return err
	}
	// So that the kernel says which process writes, in our numbers.
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if !b.init {
		return nil
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	if err := b.use(&b.tell, pipe[1], nil); err != nil {
		return errors.Join(err, unix.Close(pipe[0]))
	}
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		return errors.Join(os.NewSyscallError("fcntl", err), unix.Close(pipe[0]))
	}
	b.status = os.NewFile(uintptr(pipe[0]), "status")
	return nil
}

// use notes a descriptor of ours, which ends here with the clone.
func (b *Birth) use(slot *int, fd int, err error) error {
	if err != nil {
		return err
	}
	b.ours = append(b.ours, fd)
	b.lend(slot, fd)
	return nil
}

// lend has the newborn have a file, too, and says which it is there.
func (b *Birth) lend(slot *int, fd int) {
	*slot = firstFile + len(b.send)
	b.send = append(b.send, fd)
}

func (b *Birth) closeOurs() {
	for _, fd := range b.ours {
		unix.Close(fd)
	}
	b.send, b.ours = nil, nil
}

// cloneArgs are those of clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

func (b *Birth) clone(z *zygote) error {
	first := b.script()
	a := cloneArgs{flags: unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID, parentTID: uint64(address(z.born))} // and with the exit signal of the zygote
	if b.init {
		a.flags |= unix.CLONE_NEWPID
	}
	size := a.into(-1)
	pid, refused, err := z.bear(b.arena.bytes(false, (*[unsafe.Sizeof(a)]byte)(unsafe.Pointer(&a))[:]), size, first, b.send)
	if err != nil {
		return err
	}
	if refused != 0 {
		return &os.PathError{Op: "fork/exec", Path: b.c.Path, Err: refused}
	}
	b.newborn = &Process{Pid: pid, child: pid}
	return nil
}

// letBegin has the newborn continue, now that it is known: one of whom nobody has heard
// would run what is started again elsewhere. One that cannot be told ends.
func (b *Birth) letBegin() error {
	raw, err := b.news.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		err := ignoreInterrupt(func() error { return unix.Send(int(fd), []byte{1}, unix.MSG_NOSIGNAL) })
		if err != nil {
			_ = unix.Shutdown(int(fd), unix.SHUT_WR) // it may have ended, which its news tell
		}
	})
}

// into has the process born in a group, and returns how much of the arguments
// there is.
func (a *cloneArgs) into(group int) uintptr {
	if group < 0 {
		return unsafe.Offsetof(a.setTID) // as of Linux 5.3
	}
	a.flags |= unix.CLONE_INTO_CGROUP
	a.cgroup = uint64(group)
	return unsafe.Sizeof(*a)
}

const cloneClearSighand = 0x1_0000_0000 // CLONE_CLEAR_SIGHAND: ours are not there any more

// Kill kills the process wherever its birth is. It does nothing after that.
func (b *Birth) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killed = true
	var err error
	if b.init || b.program == nil {
		// Its namespace ends with it. Without one it may have made the program by now,
		// which names itself, and is killed then.
		err = b.newborn.Signal(unix.SIGKILL)
	}
	if b.program != nil {
		err = b.program.Signal(unix.SIGKILL)
	}
	return err
}

// named takes note of the program's process.
func (b *Birth) named(pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.program != nil {
		return
	}
	b.program = &Process{Pid: pid, child: pid}
	if b.init {
		b.program.child, b.program.status = b.newborn.child, b.status
	}
	if b.killed {
		_ = b.program.Signal(unix.SIGKILL) // it may have ended
	}
}

// over leaves the processes to whoever waited for them.
func (b *Birth) over() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.newborn.forget()
	b.program = nil
}

func (b *Birth) wait() (*Process, error) {
	defer b.news.Close()
	err := b.follow()
	p := b.program
	if !b.init || err != nil {
		_, rerr := b.newborn.collect(time.Time{}) // it is ending
		err = cmp.Or(err, rerr)
	}
	if err != nil && !b.init && p != nil {
		_, _ = p.collect(time.Time{}) // what failed is known
	}
	b.over()
	if err != nil {
		b.status.Close()
		return nil, err
	}
	if b.at.Began != nil {
		b.at.Began(p.Pid)
	}
	return p, nil
}

// follow reads the news to their end, which is that of the process or of what it was
// before its program: that it came to the exec is the last that it tells.
func (b *Birth) follow() error {
	execs := false
	for {
		n, err := b.receive()
		switch {
		case err != nil:
			return fmt.Errorf("hear of the process: %w", err)
		case n == nil && !execs:
			return b.ended()
		case n == nil:
			return nil
		case n.stage == 0:
			b.named(n.pid)
		case n.errno == 0:
			execs = true
		case b.stages[n.stage].goOn:
			err := b.stages[n.stage].err(n.errno)
			b.st.warn.Do(func() { b.st.Log.Warn("isolation: " + err.Error()) })
		default:
			return b.stages[n.stage].err(n.errno)
		}
	}
}

// ended is why a process ended that did not tell of its exec. Once it is in its slice
// it becomes its user, who may kill it then: only we, and root, may as well.
func (b *Birth) ended() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.killed || b.program == nil || b.c.UID == 0 {
		return ErrEnded
	}
	return &RefusedError{"it was killed before its program began, as by another process of its user", ErrEnded}
}

// news is what a newborn tells: that a stage failed, or, without an error, that it is
// there; or, of stage 0, which process is to be the program.
type news struct {
	stage uint32
	errno unix.Errno
	pid   int
}

// receive returns nil when nobody is left to tell anything.
func (b *Birth) receive() (*news, error) {
	raw, err := b.news.SyscallConn()
	if err != nil {
		return nil, err
	}
	var msg [8]byte
	var n, oobn int
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, rerr = unix.Recvmsg(int(fd), msg[:], oob, 0)
		if errors.Is(rerr, unix.ECONNRESET) { // once, before all that it told: it was killed before it heard our word
			n, oobn, _, _, rerr = unix.Recvmsg(int(fd), msg[:], oob, 0)
		}
		return !errors.Is(rerr, unix.EAGAIN) && !errors.Is(rerr, unix.EINTR)
	})
	if err := cmp.Or(err, rerr); err != nil || n == 0 {
		return nil, err
	}
	if n != len(msg) {
		return nil, fmt.Errorf("%d bytes came and not %d", n, len(msg))
	}
	out := &news{stage: *(*uint32)(unsafe.Pointer(&msg[0])), errno: unix.Errno(*(*uint32)(unsafe.Pointer(&msg[4])))}
	if int(out.stage) >= len(b.stages) {
		return nil, fmt.Errorf("stage %d is unknown", out.stage)
	}
	cms, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(cms) != 1 {
		return nil, fmt.Errorf("it does not say who it is: %w", err)
	}
	cred, err := unix.ParseUnixCredentials(&cms[0])
	if err != nil {
		return nil, err
	}
	if out.pid = int(cred.Pid); out.stage == 0 && out.errno != 0 {
		out.pid, out.errno = int(out.errno), 0 // of its child
	}
	return out, nil
}

// notExecuted is why the kernel refuses to execute the program: for the number of its
// user's processes, of which it is one by now, only then.
func (c Spec) notExecuted(err error) error {
	if at := slices.IndexFunc(c.Rlimits, func(l Rlimit) bool { return l.Resource == unix.RLIMIT_NPROC }); errors.Is(err, unix.EAGAIN) {
		if at >= 0 {
			return &RlimitError{c.Rlimits[at], err}
		}
		return &RefusedError{"its user has as many processes on this node as it may have: end some of them, run it as another user, or raise the limit that the daemon there was started with", err}
	}
	return &os.PathError{Op: "fork/exec", Path: c.Path, Err: err}
}

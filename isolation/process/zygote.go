//go:build (amd64 || arm64) && !startbythread

package process

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// zygote is a process that all newborns are clones of. It has the memory that their
// scripts are written to, at the place where we have it, and no other of ours, and
// no files but those that come with a start. So a start costs the same however much
// memory and how many files we have, which a clone of us would copy and drop. The
// newborns are our children, not the zygote's.
//
// It runs a script itself, for ever: it receives files and a script, clones itself,
// has the clone continue with that script, and answers with its PID. It ends with us,
// as its socket does.
type zygote struct {
	mem    []byte
	loop   *arena   // its own script
	script *arena   // of the next newborn
	born   *uint32  // where the kernel writes the newborn's PID, which we see however the zygote ends
	sock   *os.File // ours; a zygote that is none any more is seen by its end
	pid    int
	over   bool // it was ended
	// Capabilities that left its bounding set, and so that of all its newborns: the
	// kernel makes credentials anew for each.
	without uint64
}

// Its memory: a page of code, the script of a newborn, its own, and one that it shares
// with us. Newborns drop those with theirs.
const (
	loopPages   = 2
	sharedPages = 1
	usualMemory = 1 << 20
)

// maxFiles bounds the files that come with a start.
const maxFiles = 64

// Files of a newborn: the program's three, where an init tells, and from then on
// what came with its start, in that order. In a zygote the first four are its socket,
// so that what comes is numbered like that.
const (
	tellFile  = 3
	firstFile = 4
)

// cloneFailed is in place of the PID in an answer.
const cloneFailed = ^uint32(0)

// One that does not answer is looked at each tick, and was stopped, as by an admin, or
// has so long. Who waits knows what became of the newborn, so nothing hangs on it but
// time.
var (
	zygotePatience = 10 * time.Second
	zygoteTick     = unix.Timeval{Usec: 100_000}
)

// endPatience is how long the kernel may take to end one that was killed.
const endPatience = time.Second

var (
	errNoZygote = errors.New("the process that clones itself for each start was killed or stopped, or did not answer")
	errNotSent  = errors.New("ask for a clone")
)

// zygotes are as many as starts can be under way on this machine.
type zygotes struct {
	making sync.Mutex // one at a time: none has the memory of another
	once   sync.Once
	idle   chan *zygote // nil is one to be made
}

func (zs *zygotes) queue() chan *zygote {
	zs.once.Do(func() {
		n := runtime.NumCPU()
		zs.idle = make(chan *zygote, n)
		for range n {
			zs.idle <- nil
		}
	})
	return zs.idle
}

func (zs *zygotes) most() int { return cap(zs.queue()) }

// take waits for its turn, and has a zygote with room for a script, of a newborn that
// drops these capabilities. One that has too few for it makes way for one that has all.
func (zs *zygotes) take(in *starter, proc string, room int, drops uint64) (*zygote, error) {
	z := <-zs.queue()
	if z != nil && z.script.has(room) && z.without&^drops == 0 {
		z.script.reset()
		return z, nil
	}
	without := in.own.bounding &^ UsualCapabilities // most newborns drop them
	if z != nil && z.without == 0 || without&^drops != 0 {
		without = 0
	}
	_, _ = z.end() // nothing is under way in it
	z, err := zs.make(in, proc, room, without)
	if err != nil {
		zs.idle <- nil
		return nil, fmt.Errorf("get ready to start: %w", err)
	}
	return z, nil
}

// giveBack is for the next start, unless it was ended, or is uncommonly large.
func (zs *zygotes) giveBack(z *zygote) {
	if !z.over && len(z.mem) > usualMemory {
		_, _ = z.end() // nothing is under way in it
	}
	if z.over {
		z = nil
	}
	zs.idle <- z
}

func (zs *zygotes) make(in *starter, proc string, room int, without uint64) (_ *zygote, err error) {
	zs.making.Lock()
	defer zs.making.Unlock()
	memory, err := readMaps(proc, !in.pinned)
	if err != nil {
		return nil, err
	}
	page := os.Getpagesize()
	loop := loopPages * page
	z := &zygote{without: without}
	defer func() {
		if err != nil {
			_, _ = z.end() // nothing was asked of it
		}
	}()
	if z.mem, err = unix.Mmap(-1, 0, max(usualMemory, (room+stepsRoom+3*page-1)/page*page+loop+sharedPages*page), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	if _, err := unix.MmapPtr(in.code, 0, unsafe.Pointer(&z.mem[0]), uintptr(page), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	shared := len(z.mem) - sharedPages*page
	z.born = (*uint32)(unsafe.Pointer(&z.mem[shared]))
	if _, err := unix.MmapPtr(-1, 0, unsafe.Pointer(z.born), sharedPages*uintptr(page), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_FIXED); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	*z.born = 0 // so that the page is there when the kernel writes to it
	end := shared - loop
	z.loop, z.script = newArena(z.mem[end:shared], 0), newArena(z.mem[page:end], page)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	z.sock = os.NewFile(uintptr(pair[0]), "zygote")
	for _, way := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, way, &zygoteTick); err != nil {
			return nil, errors.Join(os.NewSyscallError("setsockopt", err), unix.Close(pair[1]))
		}
	}
	theirs, err := unix.FcntlInt(uintptr(pair[1]), unix.F_DUPFD_CLOEXEC, firstFile)
	unix.Close(pair[1])
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	defer unix.Close(theirs)
	a := &cloneArgs{flags: cloneClearSighand, exitSignal: uint64(unix.SIGCHLD)}
	first := z.write(in, memory, theirs)
	z.pid, err = cloneOf(a, z.mem, first, z.script.report())
	z.script.reset() // here: it has a copy
	return z, err
}

func cloneOf(a *cloneArgs, code []byte, first *step, report uintptr) (int, error) {
	size := a.into(-1)
	r := clone(unsafe.Pointer(a), size, uintptr(unsafe.Pointer(&code[0])), first.addr(), report)
	runtime.KeepAlive(a)
	if errno := -int(r); errno > 0 && errno < 4096 {
		return 0, os.NewSyscallError("clone3", unix.Errno(errno))
	}
	return int(r), nil
}

// message and vector are the kernel's struct msghdr and iovec: of memory that Go does
// not own.
type (
	message struct {
		_          uintptr // of whom it is
		_          uint64
		vectors    uintptr
		vectorsLen uint64
		control    uintptr
		controlLen uint64
		_          uint64 // flags
	}
	vector struct{ base, length uintptr }
)

// header is what a zygote receives first: where and how long the script is, and the
// arguments of the clone that runs it.
type header struct {
	script    vector
	args      uintptr // cloneArgs
	argsSize  uintptr
	firstStep uintptr
	rest      uintptr // how many bytes follow
}

// write writes its own script. What a newborn is to do is received right into the
// arguments of the steps.
func (z *zygote) write(in *starter, memory memoryMap, theirs int) *step {
	a := z.loop
	c := &chain{a: a}
	end := c.call(0, unix.SYS_EXIT_GROUP, 0)
	c = &chain{a: a, fail: end.addr()}
	z.letGo(in, c, memory, theirs)
	z.giveUp(c, end)

	first, second := room[message](a), room[message](a)
	into, rest := room[[4]vector](a), room[[2]vector](a)
	answer, came := a.bytes(false, make([]byte, 8)), a.bytes(false, make([]byte, 8))
	// A signal, a freeze or our end cuts what is received short: no part of a script is
	// run, and nothing of it is taken for a header.
	receive := c.call(0, unix.SYS_RECVMSG, 0, address(first), unix.MSG_WAITALL|unix.MSG_CMSG_CLOEXEC)
	all := c.call(0, compare, came, unsafe.Sizeof(header{}))
	receiveRest := c.call(0, unix.SYS_RECVMSG, 0, address(second), unix.MSG_WAITALL)
	allRest := c.call(0, compare, came)
	receive.out, receiveRest.out = came, came
	fork := c.call(uintptr(cloneFailed), unix.SYS_CLONE3)
	tell := c.call(0, unix.SYS_WRITE, 0, answer, 8)
	clean := c.call(0, unix.SYS_CLOSE_RANGE, firstFile, uintptr(^uint32(0)))
	clean.goTo(receive)
	refused := (&chain{a: a, fail: end.addr()}).call(0, unix.SYS_WRITE, 0, z.script.report(), 8)
	refused.goTo(clean)
	receive.zero, receiveRest.zero = end.addr(), end.addr() // nobody is there any more
	all.zero, all.next = receiveRest.addr(), end.addr()
	allRest.zero, allRest.next = fork.addr(), end.addr()
	fork.out, fork.fail = answer, refused.addr()
	fork.next = tell.addr()

	// The order is that of header; of the rest the length of the control data comes
	// first, as the kernel writes there what it used.
	const word = unsafe.Sizeof(uintptr(0))
	*into = [4]vector{{address(&rest[1]), unsafe.Sizeof(rest[1])}, {fork.arg(0), 2 * word}, {address(&fork.zero), word}, {allRest.arg(1), word}}
	*rest = [2]vector{{address(&first.controlLen), unsafe.Sizeof(first.controlLen)}, {}}
	*first = message{vectors: address(into), vectorsLen: uint64(len(into)), control: a.bytes(false, make([]byte, controlSize)), controlLen: uint64(controlSize)}
	*second = message{vectors: address(rest), vectorsLen: uint64(len(rest))}
	return c.first
}

var controlSize = unix.CmsgSpace(4 * maxFiles)

// letGo gives back our memory and files.
func (z *zygote) letGo(in *starter, c *chain, memory memoryMap, theirs int) {
	a := z.loop
	if !in.pinned {
		from := uintptr(unsafe.Pointer(&z.mem[0]))
		for _, gap := range gaps(memory.top, append([]interval{{from, from + uintptr(len(z.mem))}}, memory.special...)...) {
			c.call(0, unix.SYS_MUNMAP, gap.from, gap.to-gap.from)
		}
		for _, k := range memory.special {
			c.try(unix.SYS_MUNMAP, k.from, k.to-k.from) // newer kernels seal them
		}
	}
	for fd := range uintptr(firstFile) {
		c.call(0, unix.SYS_DUP3, uintptr(theirs), fd, unix.O_CLOEXEC)
	}
	c.call(0, unix.SYS_CLOSE_RANGE, firstFile, uintptr(^uint32(0)))
	for _, sig := range in.ignored {
		c.call(0, unix.SYS_RT_SIGACTION, uintptr(sig), a.bytes(false, make([]byte, 32)), 0, 8)
	}
	c.call(0, unix.SYS_PRCTL, unix.PR_SET_NAME, a.bytes(false, []byte("mesita-zygote")))
	// Signals stay blocked: those of a terminal are for us.
}

// giveUp takes capabilities out of its bounding set. The steps are where the script of a
// newborn will be: they are many, and run once.
func (z *zygote) giveUp(c *chain, end *step) {
	drop := &chain{a: z.script, fail: end.addr()}
	for capability := range each(z.without) {
		drop.call(0, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
	}
	if drop.first != nil {
		c.then(drop.first)
		c.last = drop.last
	}
}

// bear has a newborn run the script that was written, with these files. The error
// number is the kernel's, which refuses the clone. A zygote that does not do as it was
// asked is ended; if it made a newborn before, that is as good. With errNoZygote there
// is none that will ever be let begin.
func (z *zygote) bear(args, argsSize uintptr, first *step, files []int) (pid int, refused unix.Errno, err error) {
	if len(files) > maxFiles {
		return 0, 0, fmt.Errorf("%d files are more than the %d that a start may have", len(files), maxFiles)
	}
	a := z.script
	size := uint64(controlSize)
	h := header{script: vector{a.at(0), uintptr(a.used())}, args: args, argsSize: argsSize, firstStep: first.addr()}
	h.rest = unsafe.Sizeof(size) + h.script.length
	all := append(unsafe.Slice((*byte)(unsafe.Pointer(&h)), unsafe.Sizeof(h)), unsafe.Slice((*byte)(unsafe.Pointer(&size)), unsafe.Sizeof(size))...)
	var answer [2]uint32
	atomic.StoreUint32(z.born, 0)
	err = z.ask([][]byte{all, a.mem[:a.used()]}, unix.UnixRights(files...), unsafe.Slice((*byte)(unsafe.Pointer(&answer)), unsafe.Sizeof(answer)))
	if errors.Is(err, errNotSent) {
		return 0, 0, err
	}
	if err == nil {
		switch born := atomic.LoadUint32(z.born); {
		case born == 0 && answer[0] == cloneFailed:
			return 0, unix.Errno(answer[1]), nil
		case born != 0 && born == answer[0]:
			atomic.StoreUint32(z.born, 0)
			return int(born), 0, nil
		}
	}
	if pid, err = z.end(); pid == 0 && err == nil {
		err = errNoZygote
	}
	return pid, 0, err
}

// ask sends all and receives an answer.
func (z *zygote) ask(parts [][]byte, files, answer []byte) error {
	fd, since := int(z.sock.Fd()), time.Now()
	defer runtime.KeepAlive(z)
	n, err := z.patiently(since, func() (int, error) { return unix.SendmsgBuffers(fd, parts, files, nil, unix.MSG_NOSIGNAL) })
	switch {
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	for _, rest := range parts { // mostly nothing is left
		sent := min(n, len(rest))
		n -= sent
		rest = rest[sent:]
		if err := z.all(rest, since, func(b []byte) (int, error) { return unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL) }); err != nil {
			return err
		}
	}
	return z.all(answer, since, func(b []byte) (int, error) { return unix.Read(fd, b) })
}

// all sends or receives b.
func (z *zygote) all(b []byte, since time.Time, some func(b []byte) (int, error)) error {
	for len(b) > 0 {
		n, err := z.patiently(since, func() (int, error) { return some(b) })
		if err != nil || n == 0 {
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		b = b[n:]
	}
	return nil
}

// patiently has a call take more than a tick, as long as it is to be waited for.
func (z *zygote) patiently(since time.Time, call func() (int, error)) (int, error) {
	for {
		n, err := call()
		again := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) // the kernel begins none anew that has a deadline
		if !again || time.Since(since) > zygotePatience || z.stopped() {
			return n, err
		}
	}
}

// stopped reports whether it will do nothing, as a signal of an admin's stopped it.
func (z *zygote) stopped() bool {
	var info [128]byte
	err := ignoreInterrupt(func() error {
		return unix.Waitid(unix.P_PID, z.pid, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
	})
	return err == nil && *(*int32)(unsafe.Pointer(&info[siginfoPID])) != 0
}

// end ends it, and returns the newborn that it made before and did not tell of. With
// errNoZygote it does not end, as one that was frozen: a newborn that it makes yet is
// let begin by nobody, and collected. nil is none.
func (z *zygote) end() (born int, err error) {
	if z == nil || z.over {
		return 0, nil
	}
	z.over = true
	if z.pid == 0 {
		return z.release(), nil
	}
	_ = unix.Kill(z.pid, unix.SIGKILL) // it is ours until it is collected
	p := &Process{child: z.pid}
	if _, err := p.collect(time.Now().Add(endPatience)); err == nil {
		return z.release(), nil
	}
	go func() { // as with a program's namespace, nobody waits for that
		_, _ = p.collect(time.Time{})
		if born := z.release(); born != 0 {
			_, _ = (&Process{child: born}).collect(time.Time{})
		}
	}()
	return 0, fmt.Errorf("%w, and does not end", errNoZygote)
}

// release gives back what we have of one that ended.
func (z *zygote) release() (born int) {
	if z.born != nil {
		born = int(atomic.LoadUint32(z.born))
	}
	if z.sock != nil {
		_ = z.sock.Close()
	}
	if z.mem != nil {
		_ = unix.Munmap(z.mem)
	}
	return born
}

func room[T any](a *arena) *T {
	var zero T
	return (*T)(unsafe.Pointer(&a.mem[a.take(false, int(unsafe.Sizeof(zero)))]))
}

func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

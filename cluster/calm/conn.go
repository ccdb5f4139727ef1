// Package calm reads and writes sockets without waking the monitor of the Go
// runtime.
//
// While nothing runs, the monitor (sysmon) sleeps. Every system call that might
// block wakes it, and it then looks around, waits for a moment, and looks again: of
// a voter that does nothing but answer heartbeats, every fourth context switch was
// such a one. A socket of package net never blocks, so nobody has to watch over its
// calls.
//
// It is for small messages between long silences. Where much is moved, the
// microseconds are no matter, and the monitor should know of a thread that is busy
// in the kernel: a connection is an ordinary one until Still is called.
package calm

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Conn is a stream. It is an ordinary one until Still is called.
type Conn struct {
	net.Conn
	still atomic.Bool
	in    half
	out   half
}

// half is one direction. Only one call is under way in it, as one reader or
// writer after the other would have to wait anyway.
type half struct {
	mu    sync.Mutex
	raw   syscall.RawConn // nil: the connection is not a socket
	trap  uintptr
	b     []byte
	n     int
	errno syscall.Errno
	step  func(fd uintptr) bool // made once, or each call would allocate it
}

// NewConn wraps a connection.
func NewConn(c net.Conn) *Conn {
	q := &Conn{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			q.in = half{raw: raw, trap: syscall.SYS_READ}
			q.out = half{raw: raw, trap: syscall.SYS_WRITE}
			q.in.step, q.out.step = q.in.once, q.out.all
		}
	}
	return q
}

// Still has the connection used so from now on.
func (c *Conn) Still() { c.still.Store(c.in.raw != nil) }

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// SyscallConn is the socket, for its options.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.in.raw == nil {
		return nil, errors.ErrUnsupported
	}
	return c.in.raw, nil
}

// CloseWrite says that nothing more will be sent.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

func (c *Conn) Read(b []byte) (int, error) {
	if !c.still.Load() || len(b) == 0 {
		return c.Conn.Read(b)
	}
	h := &c.in
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b = b
	err := h.raw.Read(h.step)
	n, errno := h.done()
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, c.failed("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c *Conn) Write(b []byte) (int, error) {
	if !c.still.Load() || len(b) == 0 {
		return c.Conn.Write(b)
	}
	h := &c.out
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b = b
	err := h.raw.Write(h.step)
	n, errno := h.done()
	if err == nil && errno != 0 {
		err = c.failed("write", errno)
	}
	return n, err
}

func (c *Conn) failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}

// done ends a call; h.mu is held.
func (h *half) done() (n int, errno syscall.Errno) {
	n, errno = h.n, h.errno
	h.b, h.n, h.errno = nil, 0, 0
	return n, errno
}

// once makes one transfer; false = the socket is not ready.
func (h *half) once(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(h.trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h.b))), uintptr(len(h.b)))
		switch errno {
		case 0:
			h.n += int(n)
			h.b = h.b[n:]
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			h.errno = errno
			return true
		}
	}
}

// all makes transfers until nothing is left.
func (h *half) all(fd uintptr) bool {
	for len(h.b) > 0 && h.errno == 0 {
		if !h.once(fd) {
			return false
		}
	}
	return true
}

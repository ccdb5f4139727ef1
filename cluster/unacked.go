package cluster

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unackedMost is how long what was sent on a connection may stay without an
// acknowledgement. Over a link that drops all, one with something on its way
// would last for a quarter of an hour: no keepalive is sent meanwhile. It is longer
// than two of those take, as one may be lost.
const unackedMost = 40 * time.Second

// boundListener sets that on what it accepts: not every kind of socket that Go
// listens with has it before.
type boundListener struct{ *net.TCPListener }

func (l boundListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	if raw := rawConn(c); raw != nil {
		_ = setUnacked(raw, unackedMost) // keepalives end it where a kernel has no such bound
	}
	return c, nil
}

// boundUnacked sets it on a socket that is dialed.
func boundUnacked(_, _ string, c syscall.RawConn) error {
	return setUnacked(c, unackedMost)
}

func setUnacked(c syscall.RawConn, most time.Duration) (err error) {
	e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(most.Milliseconds()))
	})
	if e != nil {
		return e
	}
	return err
}

package exchange

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

// ExecProtocol is what an exec request upgrades to: frames of one byte type,
// four bytes length (big-endian) and that many bytes.
const ExecProtocol = "mesita-exec"

// WindowHeader says how many bytes of input the caller of an exec may send before
// it is told that it may send more. Without it there is no such limit.
const WindowHeader = "Mesita-Window"

// Upgrade takes the connection over and says so to the caller, with its window if
// it has one.
func (c *Call) Upgrade(window int) (net.Conn, io.Reader, error) {
	conn, rw, err := http.NewResponseController(c.W).Hijack()
	if err != nil {
		return nil, nil, api.Errorf(api.CodeInvalid, "this connection cannot be upgraded (%v): use HTTP/1.1", err)
	}
	c.Answered, c.Status = true, http.StatusSwitchingProtocols
	c.begun()
	conn.SetDeadline(time.Time{}) // the write below fails if the connection does
	more := ""
	if window > 0 {
		more = fmt.Sprintf("%s: %d\r\n", WindowHeader, window)
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s\r\n", ExecProtocol, more)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	c.whenOver(func() { time.AfterFunc(farewell, func() { conn.Close() }) })
	return conn, rw.Reader, nil
}

// passUpgrade joins the caller's connection with the other node's.
func (c *Call) passUpgrade(res *http.Response) error {
	far, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return api.Errorf(api.CodeInternal, "the transport between nodes cannot upgrade")
	}
	window, _ := strconv.Atoi(res.Header.Get(WindowHeader)) // an older node has none
	conn, in, err := c.Upgrade(window)
	if err != nil {
		return err
	}
	c.whenOver(func() {
		conn.Close()
		far.Close()
	})
	left := make(chan struct{})
	go func() {
		defer close(left)
		to := &sink{w: far}
		io.Copy(to, in) // ends when either side does
		if to.failed {  // the far side takes no more: what it has said is still to be passed on
			io.Copy(io.Discard, in)
		}
		far.Close()
	}()
	io.Copy(deadlineWriter{conn, c.Patience.Exec}, far) // ends when either side does
	Part(conn)
	<-left
	conn.Close()
	return nil
}

// sink notes that it takes no more.
type sink struct {
	w      io.Writer
	failed bool
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.failed = s.failed || err != nil
	return n, err
}

// Part says that nothing more will be sent on an upgraded connection. Who reads
// it to its end then closes it, or is given up on: a connection that is closed
// while something on it is unread loses what the other side has not read yet.
func Part(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // the reads fail if the connection does
	}
	conn.SetReadDeadline(time.Now().Add(farewell))
}

// deadlineWriter cuts a caller who does not take what is sent.
type deadlineWriter struct {
	net.Conn
	patience time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.patience)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"time"
)

// ackWithin is how long the host of a peer may take to acknowledge a request,
// while a caller waits at least 2 s.
const ackWithin = 1500 * time.Millisecond

// pooled is a connection that is kept for later requests. Where packets are
// dropped it looks as good as any, so a request on it has to be acknowledged
// soon. Whether the request was acted on is not known when it was not; the
// error wraps ETIMEDOUT then, and the other connections to the node are closed.
type pooled struct {
	net.Conn
	closeIdle func()

	mu    sync.Mutex
	timer *time.Timer // ends the haste
	until time.Time
}

func newPooled(c net.Conn, closeIdle func()) *pooled {
	p := &pooled{Conn: c, closeIdle: closeIdle}
	p.timer = time.AfterFunc(time.Hour, p.calm)
	p.timer.Stop()
	return p
}

func (p *pooled) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
		p.closeIdle()
		err = fmt.Errorf("nothing was acknowledged: %w: %w", syscall.ETIMEDOUT, err)
	}
	return n, err
}

func (p *pooled) Close() error {
	p.timer.Stop()
	return p.Conn.Close()
}

// hurry ends the connection if what is sent now is not acknowledged in time.
func (p *pooled) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Now().Add(2 * ackWithin)
	p.timer.Reset(2 * ackWithin)
	p.userTimeout(ackWithin)
}

// calm takes that back: an answer may be long in coming, and with the short limit
// one keepalive that is lost would end the connection.
func (p *pooled) calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !time.Now().Before(p.until) {
		p.userTimeout(unackedMost)
	}
}

func (p *pooled) userTimeout(d time.Duration) {
	raw := rawConn(p.Conn)
	if raw == nil {
		return
	}
	_ = setUnacked(raw, d) // it is a closed one at worst
}

// rawConn is the socket below a connection to a peer; nil if there is none.
func rawConn(c net.Conn) syscall.RawConn {
	if r, ok := c.(refusable); ok {
		c = r.Conn
	}
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// acknowledged sends requests that must be acknowledged soon.
type acknowledged struct{ *http.Transport }

func (a acknowledged) RoundTrip(r *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if c, ok := i.Conn.(*pooled); ok {
			c.hurry()
		}
	}}
	return a.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

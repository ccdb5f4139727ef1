package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

const acceptBacklog = 64

// subListener is the net.Listener of one protocol.
type subListener struct {
	addr    net.Addr
	maxOpen int64 // 0: no limit
	open    atomic.Int64

	mu     sync.RWMutex // deliver holds it to read, so that Close sees all that was queued
	queue  chan *tls.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*subListener)(nil)

func newSubListener(addr net.Addr, maxOpen int) *subListener {
	return &subListener{addr: addr, maxOpen: int64(maxOpen), queue: make(chan *tls.Conn, acceptBacklog), closed: make(chan struct{})}
}

// deliver queues a connection; on an error it is still the caller's.
func (l *subListener) deliver(ctx context.Context, conn *tls.Conn, raw *countedConn) error {
	if open := l.open.Add(1); l.maxOpen > 0 && open > l.maxOpen {
		l.open.Add(-1)
		return fmt.Errorf("%d connections are open, no more are taken", l.maxOpen)
	}
	raw.onClose(func() { l.open.Add(-1) })
	l.mu.RLock()
	defer l.mu.RUnlock()
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
	}
	select {
	case l.queue <- conn:
		return nil
	case <-l.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return errors.New("nobody accepted the connection in time")
	}
}

func (l *subListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-l.queue:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and closes what was queued; the port stays open for the
// other protocols.
func (l *subListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.mu.Lock()
		defer l.mu.Unlock()
		for {
			select {
			case conn := <-l.queue:
				conn.NetConn().Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *subListener) Addr() net.Addr { return l.addr }

// countedConn calls back once when it is closed.
type countedConn struct {
	net.Conn
	mu     sync.Mutex
	done   func()
	closed bool
}

func (c *countedConn) onClose(f func()) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.done = f
	}
	c.mu.Unlock()
	if closed {
		f()
	}
}

func (c *countedConn) Close() error {
	c.mu.Lock()
	f := c.done
	c.done, c.closed = nil, true
	c.mu.Unlock()
	if f != nil {
		f()
	}
	return c.Conn.Close()
}

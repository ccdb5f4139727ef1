package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

const acceptBacklog = 64

// subListener is the net.Listener of one protocol.
type subListener struct {
	addr    net.Addr
	counted bool // its connections are charged to who is there

	mu     sync.RWMutex // deliver holds it to read, so that Close sees all that was queued
	queue  chan *tls.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*subListener)(nil)

func newSubListener(addr net.Addr, counted bool) *subListener {
	return &subListener{addr: addr, counted: counted, queue: make(chan *tls.Conn, acceptBacklog), closed: make(chan struct{})}
}

// deliver queues a connection; on an error it is still the caller's.
func (l *subListener) deliver(ctx context.Context, conn *tls.Conn) error {
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

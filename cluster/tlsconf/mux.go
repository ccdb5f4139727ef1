package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mesita/mesita/api/backoff"
)

// MuxConfig is what a Mux needs. Zero numbers take the defaults named.
type MuxConfig struct {
	Listener net.Listener // the one TCP port; closed when Run ends
	TLS      *tls.Config  // see Holder.ServerConfig
	Log      *slog.Logger

	HandshakeTimeout time.Duration // 10 s; also the longest a connection waits to be accepted
	MaxHandshakes    int           // 1024 at a time; the greediest address loses its oldest beyond that
	MaxHTTPConns     int           // 4096 open HTTP connections; more are closed. Nodes are not counted
}

// Mux shares one TCP port: it takes connections, does the TLS handshake and
// hands the *tls.Conn to the listener of the protocol that ALPN chose.
//
// A client that is slow, silent or talks nonsense costs one goroutine for at
// most the handshake timeout and delays nobody else.
type Mux struct {
	conf    MuxConfig
	pending *pendingSet

	mu     sync.Mutex
	routes map[string]*subListener
	wg     sync.WaitGroup
}

// NewMux wraps a listener. Take the sub-listeners, then call Run.
func NewMux(conf MuxConfig) *Mux {
	if conf.HandshakeTimeout <= 0 {
		conf.HandshakeTimeout = 10 * time.Second
	}
	if conf.MaxHandshakes <= 0 {
		conf.MaxHandshakes = 1024
	}
	if conf.MaxHTTPConns <= 0 {
		conf.MaxHTTPConns = 4096
	}
	return &Mux{conf: conf, pending: newPendingSet(conf.MaxHandshakes), routes: map[string]*subListener{}}
}

// HTTP is the listener for "h2", "http/1.1" and clients without ALPN. Pass it
// to http.Server.Serve (with no TLSConfig): requests have their TLS field set,
// and HTTP/2 works.
func (m *Mux) HTTP() net.Listener {
	return m.route(m.conf.MaxHTTPConns, protoHTTP2, protoHTTP1, "")
}

// Listener is the listener for one ALPN name, such as ProtoRaft.
func (m *Mux) Listener(proto string) net.Listener { return m.route(0, proto) }

func (m *Mux) route(maxOpen int, protos ...string) net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.routes[protos[0]]; l != nil {
		return l
	}
	l := newSubListener(m.conf.Listener.Addr(), maxOpen)
	for _, p := range protos {
		m.routes[p] = l
	}
	return l
}

// Run takes connections until ctx is done (then it returns nil) or the
// listener fails. It closes the listener and the sub-listeners, and waits for
// every handshake to end. Connections already handed over stay open.
func (m *Mux) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { m.conf.Listener.Close() })
	err := m.accept(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	stop()
	m.conf.Listener.Close()
	m.wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.routes {
		l.Close()
	}
	return err
}

func (m *Mux) accept(ctx context.Context) error {
	retry := backoff.New(5*time.Millisecond, time.Second)
	for {
		conn, err := m.conf.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return fmt.Errorf("accept on %s: %w", m.conf.Listener.Addr(), err)
			}
			// Most likely out of file descriptors: wait for some to be closed.
			delay := retry.Next()
			m.conf.Log.Warn("accept failed", "error", err, "retry", delay)
			if !backoff.Pause(ctx, delay) {
				return nil
			}
			continue
		}
		retry.Reset()
		hctx, cancel := context.WithTimeout(ctx, m.conf.HandshakeTimeout)
		p := m.pending.add(sourceOf(conn.RemoteAddr()), cancel)
		m.wg.Go(func() {
			defer cancel()
			defer m.pending.remove(p)
			if err := m.serve(hctx, conn); err != nil {
				m.conf.Log.Debug("connection refused", "from", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// serve does the handshake and hands the connection over, or closes it.
func (m *Mux) serve(ctx context.Context, raw net.Conn) error {
	counted := &countedConn{Conn: raw}
	conn := tls.Server(counted, m.conf.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return err
	}
	proto := conn.ConnectionState().NegotiatedProtocol
	m.mu.Lock()
	l := m.routes[proto]
	m.mu.Unlock()
	if l == nil {
		raw.Close()
		return fmt.Errorf("nothing serves protocol %q", proto)
	}
	if err := l.deliver(ctx, conn, counted); err != nil {
		raw.Close()
		return err
	}
	return nil
}

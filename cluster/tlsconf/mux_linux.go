package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/cluster/calm"
)

// MuxConfig is what a Mux needs. Zero numbers take the defaults named.
type MuxConfig struct {
	Listener net.Listener // the one TCP port; closed when Run ends
	TLS      *tls.Config  // see Holder.ServerConfig
	Log      *slog.Logger

	HandshakeTimeout time.Duration // 10 s; also the longest a connection waits to be accepted
	MaxHandshakes    int           // 1024 under way; the greediest address loses its oldest beyond that
	Turns            int           // handshakes that are computed at a time: one for two CPUs
	Accepts          budget.Pace   // of an address where no node is; 256/s and 1024 at once. What is more is closed at once
	HTTPConns        *budget.Conns // bounds those that are open; nil = one with budget.DefaultConns
	// Who is at the other end, of connections that show a node's certificate; nil
	// or false: nobody knows yet, and its address is charged.
	Who func(tls.ConnectionState) (budget.Who, bool)
	// Keep is told of each connection that shows a certificate, and how to end it, see
	// Holder.Keep; nil = none is ended.
	Keep func(cs tls.ConnectionState, end func()) (forget func())
}

// Mux shares one TCP port: it takes connections, does the TLS handshake and
// hands the *tls.Conn to the listener of the protocol that ALPN chose.
//
// A client that is slow, silent or talks nonsense costs one goroutine for at
// most the handshake timeout and delays nobody else.
type Mux struct {
	conf    MuxConfig
	pending [2]*pendingSet // of addresses where nodes are, and others
	turns   *turns
	rate    *budget.Rate // of connections from where no node is

	mu     sync.Mutex
	nodes  map[string]time.Time // when a node last proved who it is from an address
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
	if conf.Turns <= 0 {
		conf.Turns = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if conf.Accepts == (budget.Pace{}) {
		conf.Accepts = budget.Pace{Second: 256, Burst: 1024}
	}
	if conf.HTTPConns == nil {
		conf.HTTPConns = budget.NewConns(budget.DefaultConns, conf.Log, nil)
	}
	return &Mux{conf: conf, pending: [2]*pendingSet{newPendingSet(conf.MaxHandshakes), newPendingSet(conf.MaxHandshakes)}, turns: newTurns(conf.Turns), rate: budget.NewRate(conf.Accepts, budget.Pace{Second: 8 * conf.Accepts.Second, Burst: 8 * conf.Accepts.Burst}), nodes: map[string]time.Time{}, routes: map[string]*subListener{}}
}

// HTTP is the listener for "h2", "http/1.1" and clients without ALPN. Pass it
// to http.Server.Serve (with no TLSConfig): requests have their TLS field set,
// and HTTP/2 works.
func (m *Mux) HTTP() net.Listener {
	return m.route(true, protoHTTP2, protoHTTP1, "")
}

// Listener is the listener for one ALPN name, such as ProtoRaft.
func (m *Mux) Listener(proto string) net.Listener { return m.route(false, proto) }

func (m *Mux) route(counted bool, protos ...string) net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.routes[protos[0]]; l != nil {
		return l
	}
	l := newSubListener(m.conf.Listener.Addr(), counted)
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
		source, kin := m.sourceOf(conn.RemoteAddr().String())
		if kin == ofOthers && m.rate.Try(source, 1) > 0 {
			m.conf.HTTPConns.Refused(budget.Who{Class: budget.Stranger, Name: source}, "connections in a second", 0)
			abandon(conn)
			continue
		}
		hctx, cancel := context.WithTimeout(ctx, m.conf.HandshakeTimeout)
		p := m.pending[kin].add(source, cancel)
		m.wg.Go(func() {
			defer cancel()
			defer m.pending[kin].remove(p)
			socket := calm.NewConn(conn)
			h := &handshake{Conn: m.conf.HTTPConns.Wrap(socket), socket: socket, ctx: hctx, turns: m.turns, source: source, kin: kin}
			if err := m.serve(h); err != nil {
				m.conf.Log.Debug("connection refused", "from", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// abandon closes a connection and forgets it, so that it does not stay with the
// kernel for minutes.
func abandon(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0) // it is closed either way
	}
	_ = c.Close() // it is given up
}

// serve does the handshake and hands the connection over, or closes it.
func (m *Mux) serve(h *handshake) error {
	conn, err := h.do(m.conf.TLS)
	if err != nil {
		h.Close()
		return err
	}
	proto := conn.ConnectionState().NegotiatedProtocol
	m.mu.Lock()
	l := m.routes[proto]
	m.mu.Unlock()
	if l == nil {
		h.Close()
		return fmt.Errorf("nothing serves protocol %q", proto)
	}
	if who := m.who(conn, h); l.counted {
		h.Charge(who)
	} else {
		h.socket.Still()
	}
	if cs := conn.ConnectionState(); m.conf.Keep != nil && len(cs.PeerCertificates) > 0 {
		forget := m.conf.Keep(cs, func() { _ = h.Conn.Close() }) // who reads it sees so
		h.forget.Store(&forget)
	}
	if err := l.deliver(h.ctx, conn); err != nil {
		h.Close()
		return err
	}
	return nil
}

func (m *Mux) who(c *tls.Conn, h *handshake) budget.Who {
	if cs := c.ConnectionState(); m.conf.Who != nil && len(cs.PeerCertificates) > 0 {
		if who, ok := m.conf.Who(cs); ok {
			m.seeNode(budget.AddressOf(h.RemoteAddr().String()))
			return who
		}
	}
	return budget.Who{Class: budget.Stranger, Name: h.source}
}

// Of the addresses of nodes that many are remembered, and each for that long: it is
// somebody else's some day.
const (
	maxNodeAddresses = 1 << 14
	nodeAddressLives = 10 * time.Minute
)

func (m *Mux) seeNode(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.nodes) >= maxNodeAddresses {
		clear(m.nodes) // who is there is seen again
	}
	m.nodes[address] = time.Now()
}

// sourceOf is to whom a connection is charged, and in which line it waits. A node has
// its address for itself, whoever else is in its network: of IPv6 that is all of a
// site, and one of its machines would be let in as the nodes are, and before them.
func (m *Mux) sourceOf(remote string) (string, kin) {
	if address := budget.AddressOf(remote); m.kin(address) == ofNodes {
		return address, ofNodes
	}
	return budget.SourceOf(remote), ofOthers
}

// kin is in which line those of an address wait.
func (m *Mux) kin(source string) kin {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen, ok := m.nodes[source]
	switch {
	case !ok:
		return ofOthers
	case time.Since(seen) > nodeAddressLives:
		delete(m.nodes, source)
		return ofOthers
	}
	return ofNodes
}

package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A connection is as good as what the other end showed when it began. Streams of
// Raft and gossip, and answers that flow, continue for days: so each is ended once
// nobody of its certificate is let in any more.

// keptGrace is how long a connection for HTTP continues after the key of its peer's
// certificate was dropped or its node removed, so that what was asked before is
// answered: a node that asks for its own removal hears of it. What is asked on it
// meanwhile is nobody's, see PeerOf, or refused, as a removed node's requests are; and
// who answers for long ends that by itself.
const keptGrace = 10 * time.Second

// kept are the connections of a holder whose other end showed a certificate.
type kept struct {
	mu    sync.Mutex
	conns map[*keptConn]struct{}
}

type keptConn struct {
	leaf   *x509.Certificate
	by     atomic.Pointer[trust] // its key was found to be trusted
	id     string
	http   bool // it may carry what was asked for before
	end    func()
	ending *time.Timer
}

// Keep has a connection be ended by end once its peer's certificate is of a key that
// is not trusted any more, or of a node that belongs to the cluster no more: see
// SetGone. Its owner calls forget when it closes the connection itself. end may be
// called at once, and more than once.
func (h *Holder) Keep(cs tls.ConnectionState, end func()) (forget func()) {
	if len(cs.PeerCertificates) == 0 {
		return func() {}
	}
	leaf := cs.PeerCertificates[0]
	id, ok := certID(leaf)
	if !ok {
		return func() {}
	}
	c := &keptConn{leaf: leaf, id: id, http: !strings.HasPrefix(cs.NegotiatedProtocol, nodeProtos), end: end}
	h.kept.mu.Lock()
	if h.kept.conns == nil {
		h.kept.conns = map[*keptConn]struct{}{}
	}
	h.kept.conns[c] = struct{}{}
	h.kept.mu.Unlock()
	h.endStrange(c) // what it showed may have been dropped meanwhile
	return func() {
		h.kept.mu.Lock()
		defer h.kept.mu.Unlock()
		delete(h.kept.conns, c)
		if c.ending != nil {
			c.ending.Stop()
		}
	}
}

// SetGone says which nodes were removed. It is called before there is a connection.
func (h *Holder) SetGone(gone func(nodeID string) bool) { h.gone.Store(&gone) }

// EndStrange ends the connections that are of nobody any more. It is to be called
// once more nodes were removed; SetRoots does it by itself.
func (h *Holder) EndStrange() {
	h.kept.mu.Lock()
	all := make([]*keptConn, 0, len(h.kept.conns))
	for c := range h.kept.conns {
		all = append(all, c)
	}
	h.kept.mu.Unlock()
	for _, c := range all {
		h.endStrange(c)
	}
}

func (h *Holder) endStrange(c *keptConn) {
	if !h.isStrange(c) {
		return
	}
	if !c.http {
		c.end()
		return
	}
	h.kept.mu.Lock()
	defer h.kept.mu.Unlock()
	if _, open := h.kept.conns[c]; open && c.ending == nil {
		c.ending = time.AfterFunc(keptGrace, c.end)
	}
}

// isStrange reports whether a connection is of a removed node, or its certificate of a
// key that is not trusted any more.
func (h *Holder) isStrange(c *keptConn) bool {
	if gone := h.gone.Load(); gone != nil && (*gone)(c.id) {
		return true
	}
	trusts := h.trusts.Load()
	if c.by.Load() == trusts {
		return false
	}
	if signed(c.leaf, trusts.pool) {
		c.by.Store(trusts)
		return false
	}
	return true
}

// Dialed is a connection that this node opened, which is ended as Keep says.
func (h *Holder) Dialed(c *tls.Conn) *KeptConn {
	k := &KeptConn{Conn: c}
	k.forget = h.Keep(c.ConnectionState(), func() { _ = c.NetConn().Close() }) // who reads it sees so
	return k
}

// KeptConn is a connection that is ended once its peer is nobody any more.
type KeptConn struct {
	*tls.Conn
	forget func()
}

// Close ends the connection.
func (k *KeptConn) Close() error {
	k.forget()
	return k.Conn.Close()
}

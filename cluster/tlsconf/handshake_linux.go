package tlsconf

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/cluster/calm"
)

// handshake is a connection below TLS. Until its handshake is over, whoever does
// it has a turn but while it waits for the other side.
type handshake struct {
	*budget.Conn
	socket *calm.Conn // below it
	ctx    context.Context
	turns  *turns
	source string
	kin    kin
	has    bool
	since  time.Time // of the turn
	over   bool
	forget atomic.Pointer[func()] // whoever may end it has no business with it any more
}

// NetConn is the connection below.
func (h *handshake) NetConn() net.Conn { return h.Conn }

// Close ends the connection.
func (h *handshake) Close() error {
	if forget := h.forget.Swap(nil); forget != nil {
		(*forget)()
	}
	return h.Conn.Close()
}

func (h *handshake) Read(p []byte) (int, error) {
	if h.over {
		return h.Conn.Read(p)
	}
	h.rest()
	n, err := h.Conn.Read(p)
	if err != nil {
		return n, err
	}
	return n, h.turn()
}

func (h *handshake) turn() error {
	err := h.turns.take(h.ctx, h.source, h.kin)
	h.has, h.since = err == nil, time.Now()
	return err
}

func (h *handshake) rest() {
	if h.has {
		h.turns.give(h.kin, time.Since(h.since))
	}
	h.has = false
}

// do does the handshake.
func (h *handshake) do(conf *tls.Config) (*tls.Conn, error) {
	conf = conf.Clone()
	if verify := conf.VerifyConnection; verify != nil {
		conf.VerifyConnection = func(cs tls.ConnectionState) error { // may ask another node
			if len(cs.PeerCertificates) == 0 {
				return verify(cs)
			}
			h.rest()
			if err := verify(cs); err != nil {
				return err
			}
			return h.turn()
		}
	}
	conn := tls.Server(h, conf)
	err := conn.HandshakeContext(h.ctx)
	h.rest()
	h.over = true
	return conn, err
}

package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// verify tells which node of the cluster a chain of certificates is of; the
// error of one that is good but for its age is ErrExpired, with the id.
//
// A certificate that is not valid yet is taken: the authority signs for now,
// so it says only that a clock is wrong, as one that stands in 1970 until the
// network is up. One that has expired is taken of a node that the state knows
// as a member: who holds its key would be given a new one for the asking. A node
// whose own has expired, too, was off for long or has a clock that is ahead, as
// when others have just signed it: it takes what was good when its own was made.
func (h *Holder) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage) (id string, err error) {
	id, err = nodeOf(chain, h.trusts.Load().pool, usage)
	if err != nil {
		return "", err
	}
	now := h.now()
	if !now.After(chain[0].NotAfter) {
		return id, nil
	}
	if own := h.Leaf(); now.After(own.NotAfter) && !chain[0].NotAfter.Before(own.NotBefore) {
		return id, nil
	}
	if member := h.member.Load(); member != nil && (*member)(id) {
		return id, nil
	}
	return id, expiredError(chain[0], now)
}

func expiredError(leaf *x509.Certificate, now time.Time) error {
	return fmt.Errorf("%w: it was good from %s to %s, and the clock here says %s", ErrExpired,
		leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

// nodeOf checks all of a node's certificate but its dates.
func nodeOf(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) (id string, err error) {
	if len(chain) == 0 {
		return "", ErrNoNodeCertificate
	}
	leaf := chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return "", fmt.Errorf("%w: %w", ErrOtherAuthority, err)
	}
	id, ok := certID(leaf)
	if !ok {
		return "", ErrNoNodeCertificate
	}
	return id, nil
}

func (h *Holder) verifyClient(cs tls.ConnectionState) error {
	forNodes := strings.HasPrefix(cs.NegotiatedProtocol, nodeProtos)
	if len(cs.PeerCertificates) == 0 {
		if forNodes {
			return fmt.Errorf("%w (%s)", ErrNoNodeCertificate, cs.NegotiatedProtocol)
		}
		return nil
	}
	id, err := h.verify(cs.PeerCertificates, x509.ExtKeyUsageClientAuth)
	switch {
	case forNodes && err != nil:
		return fmt.Errorf("%s: %w", cs.NegotiatedProtocol, err)
	case forNodes:
		return h.admitted(Caller{Peer: peerOf(id, cs), Proto: cs.NegotiatedProtocol})
	case errors.Is(err, ErrExpired), errors.Is(err, ErrNoNodeCertificate):
		return nil // it is nobody, and may ask for a new one
	}
	return err
}

func (h *Holder) verifyServer(cs tls.ConnectionState, alpn, expect string) error {
	id, err := h.verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth)
	h.noteStrange(err)
	switch {
	case err != nil:
		return fmt.Errorf("the server: %w", err)
	case expect != "" && id != expect:
		return fmt.Errorf("the server is node %q, want %q", id, expect)
	case alpn != "" && cs.NegotiatedProtocol != alpn:
		return fmt.Errorf("the server does not speak %s", alpn)
	}
	if strings.HasPrefix(alpn, nodeProtos) {
		return h.admitted(Caller{Peer: Peer{ID: id, Voter: saysVoter(cs.PeerCertificates[0])}, Proto: alpn, Dialed: true})
	}
	return nil
}

// RenewalConfig is for asking any node for a new certificate, whatever became
// of this node's and of the other's: what is answered proves itself.
func (h *Holder) RenewalConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protoHTTP1},
		ServerName:         AnyNode,
		InsecureSkipVerify: true, // VerifyConnection does it, without the dates
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := nodeOf(cs.PeerCertificates, h.trusts.Load().pool, x509.ExtKeyUsageServerAuth)
			h.noteStrange(err)
			return err
		},
	}
}

func (h *Holder) noteStrange(err error) {
	if errors.Is(err, ErrOtherAuthority) {
		poke(h.strange)
	}
}

// NodeOf is the node whose certificate a connection shows.
func (h *Holder) NodeOf(cs tls.ConnectionState) (id string, ok bool) {
	id, err := h.verify(cs.PeerCertificates, x509.ExtKeyUsageClientAuth)
	return id, err == nil
}

type peerKey struct{}

// ConnContext is for an http.Server: PeerOf finds the node there that a
// connection of the Mux comes from.
func (h *Holder) ConnContext(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*tls.Conn)
	if !ok {
		return ctx
	}
	trusts, cs := h.trusts.Load(), conn.ConnectionState()
	id, err := h.verify(cs.PeerCertificates, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return ctx
	}
	s := &shown{holder: h, chain: cs.PeerCertificates, peer: peerOf(id, cs)}
	s.by.Store(trusts)
	return context.WithValue(ctx, peerKey{}, s)
}

// shown is the certificate that a connection began with, which outlives the key of
// the authority that it is of.
type shown struct {
	holder *Holder
	chain  []*x509.Certificate
	peer   Peer
	by     atomic.Pointer[trust] // verified it last
}

// good reports whether the certificate is of an authority that is trusted now.
func (s *shown) good() bool {
	trusts := s.holder.trusts.Load()
	if s.by.Load() == trusts {
		return true
	}
	if _, err := nodeOf(s.chain, trusts.pool, x509.ExtKeyUsageClientAuth); err != nil {
		return false
	}
	s.by.Store(trusts)
	return true
}

// Peer is the node at the other end of a connection.
type Peer struct {
	ID      string
	Session string // of its daemon; "" if its program knows none, and of a server
	Voter   bool   // as its certificate says
}

func peerOf(id string, cs tls.ConnectionState) Peer {
	return Peer{ID: id, Session: sessionOf(cs), Voter: saysVoter(cs.PeerCertificates[0])}
}

// PeerOf is the node that a request with this context came from; ok is false
// for everybody else, and once the key is dropped that its certificate is of.
func PeerOf(ctx context.Context) (p Peer, ok bool) {
	s, ok := ctx.Value(peerKey{}).(*shown)
	if !ok || !s.good() {
		return Peer{}, false
	}
	return s.peer, true
}

// sessionSuffix ends the server name that a node asks for: which server it
// means is in the certificate, so the name is free to say who calls, in the one
// place of a handshake that programs of before ignore.
const sessionSuffix = ".session.mesita"

func sessionOf(cs tls.ConnectionState) string {
	if s, ok := strings.CutSuffix(cs.ServerName, sessionSuffix); ok && len(s) <= 40 {
		return s
	}
	return ""
}

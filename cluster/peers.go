package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/calm"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// dialTimeout bounds how long a connection to a peer may take.
const dialTimeout = 3 * time.Second

// peers reaches other nodes by id, over mutual TLS, wherever they are now.
type peers struct {
	certs  *tlsconf.Holder
	addrOf func(id string) (string, bool)
	ages   *ageGuard
	doubt  func() // called when another node refuses this one
	// trusts reports whether this node may talk to any other: one without a copy of
	// the state has business with voters alone, and takes nobody else for one.
	trusts func() bool

	mu   sync.Mutex
	http map[peerKey]*http.Transport
}

// peerKey is a kind of connections: to a node, whatever it is or as a voter.
type peerKey struct {
	id    string
	voter bool
}

func newPeers(certs *tlsconf.Holder, addrOf func(string) (string, bool), guard *ageGuard, doubt func()) *peers {
	return &peers{certs: certs, addrOf: addrOf, ages: guard, doubt: doubt, trusts: func() bool { return true }, http: map[peerKey]*http.Transport{}}
}

// dial opens a connection to an address for one ALPN; with an id the peer must
// be that node.
func (p *peers) dial(ctx context.Context, addr, alpn, id string) (net.Conn, error) {
	return p.dialWith(ctx, addr, p.certs.ClientConfig(alpn, id))
}

func (p *peers) dialWith(ctx context.Context, addr string, conf *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := dialTLS(ctx, addr, conf)
	if noCommonProtocol(err) {
		return nil, fmt.Errorf("the node at %s does not speak %s: it is of another age of the cluster (%w)", addr, conf.NextProtos, err)
	}
	if err != nil {
		return nil, p.noteRefusal(err)
	}
	return refusable{p.certs.Dialed(c), p}, nil
}

func dialTLS(ctx context.Context, addr string, conf *tls.Config) (*tls.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: boundUnacked}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if tlsconf.BetweenNodes(conf.NextProtos) {
		q := calm.NewConn(raw)
		q.Still()
		raw = q
	}
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // it is given up
		return nil, err
	}
	return c, nil
}

// noteRefusal has this node ask why another refused it.
func (p *peers) noteRefusal(err error) error {
	var op *net.OpError
	// The kinds of alerts are not exported; those about certificates say so.
	if errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate") {
		p.refused()
	}
	return err
}

func (p *peers) refused() {
	p.certs.Refused()
	p.doubt()
}

// refusable is a connection whose other end may refuse this node's certificate:
// in TLS 1.3 that shows at the first read.
type refusable struct {
	net.Conn
	peers *peers
}

func (c refusable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		err = c.peers.noteRefusal(err)
	}
	return n, err
}

// transport is the way to a node over HTTP; connections are kept and reused. It
// does not lead into another age, nor from a node that knows no state to one
// that cannot prove that it votes.
func (p *peers) transport(id string) http.RoundTripper {
	return p.way(peerKey{id, !p.trusts()})
}

// anyTransport is the way to a node whose answer proves itself.
func (p *peers) anyTransport(id string) http.RoundTripper { return p.way(peerKey{id: id}) }

func (p *peers) way(to peerKey) http.RoundTripper {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := to.id
	t, ok := p.http[to]
	if !ok {
		t = &http.Transport{
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				addr, ok := p.addrOf(id)
				if !ok {
					return nil, fmt.Errorf("the address of node %s is not known", id)
				}
				conf := p.certs.ClientConfig("http/1.1", id)
				if to.voter {
					conf = p.certs.VoterConfig(id)
				}
				c, err := p.dialWith(ctx, addr, conf)
				if err != nil {
					return nil, err
				}
				return newPooled(c, t.CloseIdleConnections), nil
			},
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       2 * time.Minute,
			ResponseHeaderTimeout: 11 * time.Minute, // a wait may take ten
		}
		p.http[to] = t
	}
	return sameAge{acknowledged{t}, p.ages, id}
}

// renewed has what is sent from now on go over new connections: what the
// certificate says of this node has changed.
func (p *peers) renewed() {
	p.mu.Lock()
	old := p.http
	p.http = map[peerKey]*http.Transport{}
	p.mu.Unlock()
	for _, t := range old {
		t.CloseIdleConnections()
	}
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.http {
		t.CloseIdleConnections()
	}
}

// callAt asks a node that may have no known address but this one.
func (p *peers) callAt(ctx context.Context, id, addr, method, path string, out any) error {
	if known, ok := p.addrOf(id); ok {
		addr = known
	}
	t := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.dial(ctx, addr, "http/1.1", id)
	}}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+id+path, nil)
	if err != nil {
		return err
	}
	res, err := sameAge{t, p.ages, id}.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("call node %s: %w", id, err)
	}
	defer res.Body.Close()
	return api.ReadAnswer(res, out)
}

// call sends a JSON request to a node and decodes the answer into out.
func (p *peers) call(ctx context.Context, id, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+id+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if path == helloPath {
		req.Header.Set(api.HeaderLevel, strconv.Itoa(int(fsm.Newest)))
	}
	res, err := p.transport(id).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("call node %s: %w", id, err)
	}
	defer res.Body.Close()
	return p.answer(res, out)
}

// answer decodes another node's answer. That this one may not do what all
// nodes may is a refusal of the node.
func (p *peers) answer(res *http.Response, out any) error {
	err := api.ReadAnswer(res, out)
	switch {
	case api.ErrorCode(err) == api.CodeNotAllowed:
		p.refused()
	case isHeld(err):
		p.doubt()
	}
	return err
}

// alive asks a node directly whether it answers at all; a node that knows no
// leader does.
func (p *peers) alive(ctx context.Context, id string) error {
	err := p.call(ctx, id, http.MethodGet, "/v1/health", nil, nil)
	var e *api.Error
	if errors.As(err, &e) || err == nil {
		return nil
	}
	return err
}

package exchange

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// suspect is how often a relayed request that has no answer yet looks whether
// the node it was sent to still leads.
const suspect = 250 * time.Millisecond

func newKey() string { return rand.Text() }

// relayed are the request headers that travel on.
var relayed = []string{"Accept", "Accept-Encoding", "If-None-Match", "Prefer", "Content-Type", "Idempotency-Key", "Last-Event-Id", "User-Agent", api.HeaderLevel, HeaderAttempt, "Content-Encoding", HeaderStreamID}

// HeaderStreamID names the connection by which a framework of the Mesos API is subscribed.
const HeaderStreamID = "Mesos-Stream-Id"

// HeaderAttempt is which attempt of a task an exec is for: the one for which it was
// looked whether the caller may.
const HeaderAttempt = "X-Mesita-Attempt"

// Relay sends the request to another node and passes its answer on. It is
// false if nothing was answered to the caller, with the reason.
func (c *Call) Relay(ctx context.Context, nodeID, path string) (answered bool, err error) {
	return c.relay(ctx, way{to: nodeID}, path)
}

func (c *Call) relay(ctx context.Context, w way, path string) (answered bool, err error) {
	nodeID := w.to
	addr, rt, err := c.Cluster.Peer(nodeID)
	if err != nil {
		return false, api.Errorf(api.CodeUnavailable, "node %s cannot be reached: %v", nodeID, err)
	}
	// The wait for a leader must not cut an answer that has begun.
	sendCtx, cancel := context.WithCancelCause(c.R.Context())
	defer cancel(nil)
	req, conn := w.connecting(c.outgoing(sendCtx, w, addr, path), cancel)
	if w.passOn {
		req.Header.Set(headerPassOn, "1")
	}
	if w.search {
		req.Header.Set(headerSearch, "1")
	}
	stopGuard := c.guard(ctx, w.leader, cancel)
	stopSearch := func() bool { return true }
	if w.search {
		stopSearch = context.AfterFunc(ctx, func() { cancel(errors.New("no answer in time")) })
	}
	res, err := rt.RoundTrip(req)
	stopGuard()
	stopSearch()
	conn.stop()
	if err != nil {
		return false, sendError(sendCtx, nodeID, err, conn.made.Load())
	}
	defer res.Body.Close()
	if res.Header.Get(headerNotLeader) != "" && res.StatusCode == api.CodeUnknown.HTTPStatus() {
		return false, api.Errorf(api.CodeUnknown, "node %s lost the lead, and may or may not have done it; try again with the same Idempotency-Key", nodeID)
	}
	if res.Header.Get(headerNotLeader) != "" {
		return false, api.Errorf(api.CodeUnavailable, "node %s does not lead any more", nodeID)
	}
	if w.search && res.StatusCode != http.StatusOK {
		return false, refusal(res)
	}
	if res.StatusCode == http.StatusUnauthorized && (c.ID.Unverified || c.Route.Action == auth.Nothing) {
		c.Auth.Failed(c.R)
	}
	c.decided = c.decided || w.leader != "" // who leads has decided, and recorded it
	if c.doubt && (res.StatusCode == http.StatusConflict || res.StatusCode == http.StatusNotFound) {
		return true, c.refused(refusal(res))
	}
	return true, c.passOn(res)
}

// refusal is the error that another node answered.
func refusal(res *http.Response) error {
	var e struct {
		Error *api.Error `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxRefusal)).Decode(&e); err != nil || e.Error == nil {
		return api.Errorf(api.CodeUnknown, "the other node refused with %s, and its reason broke off", res.Status)
	}
	return e.Error
}

// maxRefusal bounds the text of a refusal that is read, in bytes.
const maxRefusal = 64 << 10

// RelayTo sends a request of a route that this node could answer itself to
// another node, once.
func (c *Call) RelayTo(nodeID string) (answered bool, err error) {
	if err := c.keepRequest(); err != nil {
		return false, err
	}
	return c.Relay(c.R.Context(), nodeID, c.R.URL.Path)
}

// AtLeader has the leader answer a request of a route that nodes answer themselves.
func (c *Call) AtLeader() error { return c.runElsewhere(nil) }

// headerSearch says that the node that relays a request knows what it asks for, and asks
// one after the other: the one that it asks is to answer by itself. It counts between
// nodes only, and does not travel on.
const headerSearch = "X-Mesita-Search"

// Searched reports whether another node looks for what one of them has, and asks this one.
func (c *Call) Searched() bool { return c.ID.Forwarded && c.R.Header.Get(headerSearch) != "" }

// maxSearch is how many nodes are asked for what one of them has.
const maxSearch = 8

// RelayToAny sends a request that reads what some nodes have to one after the other,
// until one begins to answer with it: all in the time that a body may pause, as a holder
// looks at all of what it has before, which a silent one cannot use up. It is false if
// nothing was answered to the caller.
func (c *Call) RelayToAny(nodeIDs []string) (answered bool, err error) {
	if err := c.keepRequest(); err != nil {
		return false, err
	}
	nodeIDs = nodeIDs[:min(len(nodeIDs), maxSearch)]
	end := time.Now().Add(c.Patience.Body)
	for i, id := range nodeIDs {
		share := time.Until(end) / time.Duration(len(nodeIDs)-i)
		ctx, cancel := context.WithTimeout(c.R.Context(), share)
		way := way{to: id, within: share, search: true}
		if i < len(nodeIDs)-1 {
			way.within = min(share, c.Patience.Connect)
		}
		answered, err = c.relay(ctx, way, c.R.URL.Path)
		cancel()
		if answered || c.R.Context().Err() != nil {
			return answered, err
		}
	}
	return false, err
}

// sendError is CodeUnknown unless the request cannot have been acted on, as no
// connection was ever made for it.
func sendError(ctx context.Context, nodeID string, err error, connected bool) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var op *net.OpError
	unreached := errors.Is(err, errNoConnection) || errors.As(err, &op) && op.Op == "dial"
	if unreached && !connected {
		e := api.Errorf(api.CodeUnavailable, "node %s cannot be reached: %v", nodeID, err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return e
		}
		return noLink{e}
	}
	e := api.Errorf(api.CodeUnknown, "node %s did not answer, and may or may not have done it: %v; try again with the same Idempotency-Key", nodeID, err)
	if unreached || errors.Is(err, syscall.ETIMEDOUT) { // no packet of it was acknowledged
		return noLink{e}
	}
	return e
}

// guard gives a request up when the node that is to act on it leads no more, or
// when the time is up and the route is none that may be held. The returned
// function ends the guard.
func (c *Call) guard(ctx context.Context, leader string, cancel context.CancelCauseFunc) (stop func()) {
	if leader == "" {
		return func() {}
	}
	var ended atomic.Bool
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() {
		switch {
		case ended.Load():
		case c.Cluster.LeaderID() != leader:
			cancel(errors.New("the leader changed"))
		case ctx.Err() != nil && (c.Route.Held == "" && !c.Route.Stream || c.Route.Lasts != nil && !c.Route.Lasts(c)):
			cancel(errors.New("no answer in time"))
		default:
			timer.Reset(suspect)
		}
	})
	timer.Reset(suspect)
	return func() { ended.Store(true); timer.Stop() }
}

// outgoing is the request as it goes to another node: with the caller's
// credentials to the leader, which checks them, with the verified identity to
// others, which could not; and no header that the caller made up.
func (c *Call) outgoing(ctx context.Context, w way, addr, path string) *http.Request {
	u := &url.URL{Scheme: "https", Host: addr, Path: path, RawQuery: c.R.URL.RawQuery}
	h := make(http.Header, 8)
	for _, name := range relayed {
		if v := c.R.Header[name]; v != nil {
			h[name] = v
		}
	}
	if w.leader != "" || c.ID.Unverified {
		c.ID.PassOn(h, c.R.Header)
	} else {
		c.ID.Forward(h)
	}
	h.Set(auth.HeaderFrom, c.ID.From(c.R))
	if from := site(c.R); from != "" {
		h.Set(headerSite, from)
	}
	if h["Accept-Encoding"] == nil {
		h.Set("Accept-Encoding", "identity") // or the transport asks for gzip, and takes the lengths away
	}
	if c.Route.Stream && c.R.Header.Get("Upgrade") != "" {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", ExecProtocol)
	}
	req := (&http.Request{Method: c.R.Method, URL: u, Host: addr, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if len(c.body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
	}
	return req
}

// headerSite is by which a browser says whether a page of the site that it asks had it ask.
const headerSite = "Sec-Fetch-Site"

// site is what a browser says of the page that had it ask. One that does not say it, as
// over a connection in the clear, names the page: whether that is of the host that was
// asked the next node cannot tell, which is asked by another name. It is for reads alone:
// what changes something goes by what the browser itself says.
func site(r *http.Request) string {
	if says := r.Header.Get(headerSite); says != "" || r.Method != http.MethodGet {
		return says
	}
	switch from, err := url.Parse(r.Header.Get("Referer")); {
	case err != nil || from.Host == "":
		return ""
	case from.Host == r.Host:
		return "same-origin"
	default:
		return "cross-site"
	}
}

// answerHeaders are the answer's headers that travel on.
var answerHeaders = []string{"Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options", "Www-Authenticate", "Allow", "Retry-After", "Content-Encoding", "Etag", "Vary", HeaderStreamID, HeaderIndex, HeaderEvent, HeaderStale}

// passOn copies another node's answer to the caller as it comes.
func (c *Call) passOn(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return c.passUpgrade(res)
	}
	for _, name := range answerHeaders {
		if v := res.Header[name]; v != nil {
			c.W.Header()[name] = v
		}
	}
	for name := range res.Trailer {
		c.W.Header().Add("Trailer", name)
	}
	c.Answered, c.Status = true, res.StatusCode
	c.begun()
	out := newStream(c)
	out.extend()
	c.W.WriteHeader(res.StatusCode)
	flush := res.ContentLength < 0
	if flush && out.Flush() != nil { // a stream that is silent so far is an answer, too
		return nil
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if out.Write(buf[:n], flush) != nil {
				return nil // the caller is gone or too slow
			}
		}
		if errors.Is(err, io.EOF) {
			maps.Copy(c.W.Header(), res.Trailer)
			return nil
		}
		if err != nil {
			return fmt.Errorf("answer of the other node: %w", err)
		}
	}
}

// verifyElsewhere has the leader check a token that this node cannot, for a
// request that this node answers itself.
func (c *Call) verifyElsewhere() error {
	var who Whoami
	if err := c.Ask(http.MethodGet, "/v1/whoami", nil, &who); err != nil {
		if api.ErrorCode(err) == api.CodeNotAllowed {
			c.Auth.Failed(c.R)
		}
		return err
	}
	c.ID, c.elsewhere = who.identity(), true
	c.ID.Checked = true
	if err := c.Route.check(c.ID); err != nil {
		return err
	}
	if err := c.readQuery(); err != nil {
		return err
	}
	return c.readBody()
}

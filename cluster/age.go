package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// headerAge tells the age of whoever sends a request or an answer; without it,
// it is the first.
const headerAge = "X-Mesita-Age"

// ageGuard keeps the nodes of different ages of the cluster apart, in both
// directions, and says so in words. Raft and gossip do not get that far: their
// names on the port carry the age.
type ageGuard struct {
	own    ages.Line
	nameOf func(id string) string
	log    *slog.Logger

	mu    sync.Mutex
	told  map[string]time.Time // when it was last said of a node
	later *ages.Other          // that this node was left behind by
}

// ageReminder is how often it is said of the same node that it is of another
// age.
const ageReminder = time.Minute

// maxStrangers bounds for how many nodes that is remembered.
const maxStrangers = 1024

func newAgeGuard(own ages.Line, nameOf func(string) string, log *slog.Logger) *ageGuard {
	return &ageGuard{own: own, nameOf: nameOf, log: log, told: map[string]time.Time{}}
}

// compare is nil for a node of the same age, else why it is refused; header is
// what the node sent.
func (g *ageGuard) compare(node, header string) error {
	its, err := ages.Parse(header)
	if err != nil {
		return fmt.Errorf("node %s told its age: %w", node, err)
	}
	other := ages.Compare(g.own, its, node)
	if other == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if other.Relation == ages.Later {
		g.later = other
	}
	if last, ok := g.told[node]; !ok || time.Since(last) >= ageReminder {
		if len(g.told) >= maxStrangers {
			clear(g.told)
		}
		g.told[node] = time.Now()
		g.log.Error("a node of another age of the cluster is refused", "node", node, "err", other)
	}
	return other
}

// behind is the later age that this node was left behind by, nil as far as it
// knows of none.
func (g *ageGuard) behind() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.later == nil {
		return nil
	}
	return g.later
}

// admit refuses a request of a node of another age.
func (g *ageGuard) admit(r *http.Request, nodeID string) error {
	if err := g.compare(g.nameOf(nodeID), r.Header.Get(headerAge)); err != nil {
		return api.Errorf(api.CodeConflict, "%v", err)
	}
	return nil
}

// tell adds this node's age to all answers, and notices nodes of another one,
// also where anybody may ask.
func (g *ageGuard) tell(h http.Handler) http.Handler {
	own := []string{g.own.String()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(g.own) > 0 {
			w.Header()[headerAge] = own
		}
		if p, ok := tlsconf.PeerOf(r.Context()); ok {
			_ = g.admit(r, p.ID) // the route refuses it if it matters there
		}
		h.ServeHTTP(w, r)
	})
}

// sign has a request tell this node's age.
func (g *ageGuard) sign(r *http.Request) {
	if len(g.own) > 0 {
		r.Header.Set(headerAge, g.own.String())
	}
}

// sameAge sends requests to a node, and takes no answer of another age.
type sameAge struct {
	http.RoundTripper
	guard *ageGuard
	id    string
}

func (s sameAge) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	s.guard.sign(r)
	res, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := s.guard.compare(s.guard.nameOf(s.id), res.Header.Get(headerAge)); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}

// protocols are those of the one port in an age.
func protocols(l ages.Line) []string {
	out := tlsconf.Protocols()
	for i, p := range out {
		if p == tlsconf.ProtoRaft || p == tlsconf.ProtoGossip {
			out[i] = l.Name(p)
		}
	}
	return out
}

// noCommonProtocol reports whether a peer refused a connection because it serves
// no protocol of that name.
func noCommonProtocol(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no application protocol") // crypto/tls has no type for a peer's alert
}

// told is what a node says when it is asked by its address.
type told struct {
	addr string
	line ages.Line
	api.Health
}

// mayVote reports whether the node may be a voter: one of an older version does
// not say.
func (t told) mayVote() bool { return t.Role != "worker" }

// askAge asks the node at an address, whichever it is, for its age, and tells
// it one's own.
func askAge(ctx context.Context, certs *tlsconf.Holder, own ages.Line, addr string) (t told, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	rt := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: certs.ClientConfig("http/1.1", "")}).DialContext(ctx, "tcp", addr)
	}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v1/health", nil)
	if err != nil {
		return t, err
	}
	if len(own) > 0 {
		req.Header.Set(headerAge, own.String())
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return t, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, api.MaxAnswer))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(b, &t.Health); err != nil {
		return t, fmt.Errorf("the answer of %s: %w", addr, err)
	}
	t.addr = addr
	t.line, err = ages.Parse(res.Header.Get(headerAge))
	return t, err
}

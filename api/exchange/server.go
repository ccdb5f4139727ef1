// Package exchange takes an HTTP request from its header to its answer: route,
// identity, body, the relay to the leader, and the encoding of answers, errors
// and streams, with a bound on the time and size of each.
//
// It does not know what is asked for: api/server and api/mesos hand it a table of routes each,
// whose handlers return a value or an error. It owns no state, no listener and
// no goroutines beyond a request.
package exchange

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/fsm"
)

// Cluster is what an exchange asks of the node about the others.
type Cluster interface {
	NodeID() string
	LeaderID() string // "" while there is none
	IsLeader() bool   // leads, and the store has all that was acknowledged
	HasReplica() bool // the store follows the log, and has read it once
	// Healthy is nil if this node can do its part of the log, else why it
	// cannot.
	Healthy() error
	// PassOn are nodes that may reach a leader that this one cannot.
	PassOn(leader string) []string
	// Peer is the address of a node, host:port, and how to reach it with this
	// node's certificate. The round tripper speaks HTTP/1.1, follows nothing
	// and has no time limit on a response.
	Peer(nodeID string) (addr string, rt http.RoundTripper, err error)
}

// Patience is how long the server waits for whom.
type Patience struct {
	Write, Read time.Duration // for a leader, until a request is refused or answered from old state
	Connect     time.Duration // for a node to accept a connection while there is another way to it
	Reader      time.Duration // to take a part of a stream
	Exec        time.Duration // to take a part of what a command prints, which waits for it
	Body        time.Duration // to send a request's body, or a part of an upload
	Look        time.Duration // between two looks at whether who opened what lasts still may
}

// DefaultPatience is what users of a cluster get.
func DefaultPatience() Patience {
	return Patience{Write: writeWait, Read: readWait, Connect: connectWithin, Reader: streamTimeout, Exec: execTimeout, Body: bodyTimeout, Look: lookAgain}
}

// Config is what a Server needs.
type Config struct {
	Store      *fsm.Store
	Cluster    Cluster
	Auth       *auth.Authenticator
	Now        func() time.Time // for times that go into the state
	Log        *slog.Logger
	NodeName   string
	MaxStreams int // that users have open at a time
	Patience   Patience
	Floods     *budget.Floods // is told who is refused; may be nil
	Audit      Auditor        // nil = none
	// Took is told of each answer, how long it took; may be nil.
	Took func(r *Route, status int, took time.Duration)
}

// Server answers requests by a table of routes.
type Server struct {
	Config
	routes  *routes
	bytes   *budget.Budget
	streams *budget.Budget
	ponders *pondering
	paces   *budget.Rate // of strangers' requests
	holds   atomic.Int64
	cut     atomic.Pointer[cutLink]
	counts  []requestCount // by route
}

// requestCount counts a route's answers by the first digit of their status.
type requestCount [6]atomic.Uint64

func (n *requestCount) add(status int) {
	if c := status / 100; c > 0 && c < len(n) {
		n[c].Add(1)
	}
}

// New makes a Server.
func New(cfg Config, table []*Route) *Server {
	return &Server{Config: cfg, routes: newRoutes(named(table)), counts: make([]requestCount, len(table)), bytes: bytesHeld(cfg.Log, cfg.Floods), streams: streamsOpen(cfg.MaxStreams, cfg.Log, cfg.Floods), ponders: newPondering(cfg.Log, cfg.Floods), paces: budget.NewRate(strangersEach, strangersAll)}
}

// Handler serves a listener whose callers prove themselves by cred.
func (s *Server) Handler(cred auth.Credentials) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &Call{Server: s, W: w, R: r}
		c.serve(cred)
	})
}

// Serves reports whether the table has the path of a request.
func (s *Server) Serves(r *http.Request) bool {
	var args [1]string
	_, err := s.routes.find(r, &args)
	return api.ErrorCode(err) != api.CodeNotFound
}

// Streams is how many streams are open.
func (s *Server) Streams() int64 { return s.streams.Held() }

// Held is how many bytes of requests are held.
func (s *Server) Held() int64 { return s.bytes.Held() }

// Answers counts what was answered on the route at that place of the table,
// by the first digit of the status.
func (s *Server) Answers(route int) (by [6]uint64) {
	for i := range by {
		by[i] = s.counts[route][i].Load()
	}
	return by
}

// Whoami is who the caller is to the cluster.
type Whoami struct {
	Actor string   `json:"actor"`
	Role  api.Role `json:"role"`

	Rights string `json:"rights,omitempty"` // beside the role, with commas: see api.Right
}

func (w Whoami) identity() auth.Identity {
	return auth.Identity{Actor: w.Actor, Role: w.Role, Rights: w.Rights}
}

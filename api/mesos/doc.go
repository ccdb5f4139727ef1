// Package mesos serves the Mesos v1 scheduler API: frameworks that were written for
// Apache Mesos subscribe here, are offered room and start tasks in it.
//
// It owns the border: what a call has to look like, who is subscribed and what they are
// told, and how roles, agents and TaskInfos become partitions, nodes and specs. It does
// not own what frameworks are (package fsm does) nor who is offered what (the Desk
// does). Package cluster gives it listeners, and has it lead while its node does.
package mesos

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/api/exchange"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// Desk makes offers. It is told what frameworks say of those that they want, which only
// the leader remembers.
type Desk interface {
	// Connect begins a session, in which nothing was declined yet; accepts says which nodes
	// may be offered at all.
	Connect(framework, session string, suppressed []string, accepts func(partition string, n *api.Node) bool)
	Leave(framework, session string)
	// Refuse keeps a framework from being offered that much or less of a node for a while;
	// declined says that it wanted nothing of an offer. What it returns takes that back.
	Refuse(framework, partition, nodeID string, refused, reserved api.Resources, d time.Duration, declined bool) (takeBack func())
	// Revive forgets what was refused and suppressed in those partitions; nil: in all.
	Revive(framework string, partitions []string)
	// Request notes what a framework waits for, in place of what it said before.
	Request(framework string, wants []api.OfferRequest)
	// Suppress ends offers in those partitions until they are revived.
	Suppress(framework string, partitions []string)
}

// Config is what a Server needs; all of it, except where noted.
type Config struct {
	Store    *fsm.Store
	Cluster  exchange.Cluster
	Auth     *auth.Authenticator
	Now      func() time.Time
	Forgets  func() bool // whether Now is to be trusted with the end of a framework
	Log      *slog.Logger
	NodeName string
	Send     func(ctx context.Context, m *Message) error // to the node where the executor runs
	Receive  func(m *Message) error                      // hands it to the executor, which runs here
	Floods   *budget.Floods                              // may be nil
	Audit    exchange.Auditor                            // may be nil
	Took     func(r *exchange.Route, status int, took time.Duration)
	Others   []*exchange.Route // of other APIs of Mesos that are served at the same addresses
}

// maxStreams is how many subscriptions a node serves or relays at a time.
const maxStreams = 8192

// Server answers the calls of frameworks.
type Server struct {
	Config
	http    *exchange.Server
	hub     atomic.Pointer[hub] // nil while this node does not lead
	started time.Time
	calls   callCounts
}

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, started: cfg.Now()}
	s.http = exchange.New(exchange.Config{Store: cfg.Store, Cluster: cfg.Cluster, Auth: cfg.Auth, Now: cfg.Now, Log: cfg.Log, NodeName: cfg.NodeName,
		MaxStreams: maxStreams, Patience: exchange.DefaultPatience(), Floods: cfg.Floods, Audit: cfg.Audit, Took: cfg.Took}, append(s.routes(), cfg.Others...))
	return s
}

// Handler serves a listener whose callers prove themselves by cred. What is not of Mesos
// goes to rest; with nil it is a listener in the clear, for Mesos alone.
func (s *Server) Handler(cred auth.Credentials, rest http.Handler) http.Handler {
	own := s.http.Handler(cred)
	if rest == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			own.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), inTheClear{}, true)))
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := strings.Trim(r.URL.Path, "/"); strings.HasPrefix(path, "api/v1") || strings.HasPrefix(path, "master/") || s.http.Serves(r) {
			own.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// Master is this node as the leader, and since when it is; not if it is none.
func (s *Server) Master() (m *v1.MasterInfo, since time.Time, ok bool) {
	h := s.hub.Load()
	if h == nil {
		return nil, time.Time{}, false
	}
	return h.masterInfo(), h.began, true
}

// Lead has frameworks subscribe here until ctx ends, with the lead of this node.
func (s *Server) Lead(ctx context.Context, desk Desk) error {
	h := newHub(s.Config, desk)
	s.hub.Store(h)
	defer s.hub.Store(nil)
	return h.run(ctx)
}

// Package operator serves the Mesos v1 operator API of a master: what the cluster has, its
// changes as they happen, and what operators change.
//
// It owns what these calls mean here. What a cluster has in the messages of Mesos is
// package rows', who leads is its caller's to say: package cluster makes a Server, gives
// its routes to api/mesos, which serves them, and has it lead while its node does.
package operator

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// Config is what a Server needs; all of it.
type Config struct {
	// Master is this node as the leader, and since when it is; not if it is none.
	Master  func() (m *v1.MasterInfo, since time.Time, ok bool)
	Store   *fsm.Store
	Nodes   Nodes
	Version string // of mesita
	Figures func() Figures
}

// Figures tells metrics by the names of Mesos, of what a reader sees.
type Figures func(r *rows.Rows, put func(name string, value float64))

// maxSnapshots is how many subscribers are told at a time what there is, which takes long
// on a large cluster.
const maxSnapshots = 4

// Server answers operators.
type Server struct {
	Config
	feed      atomic.Pointer[feed] // nil while this node does not lead
	snapshots chan struct{}
}

// New makes a Server.
func New(cfg Config) *Server {
	return &Server{Config: cfg, snapshots: make(chan struct{}, maxSnapshots)}
}

// Routes are where it is served.
func (s *Server) Routes() (table []*exchange.Route) {
	for _, path := range []string{"/api/v1", "/master/api/v1"} {
		table = append(table, &exchange.Route{Method: http.MethodPost, Any: true, Path: path, Action: auth.Look, Scope: auth.OfAny, Basic: true, Stream: true, Lasts: subscribes, Changes: changes,
			Body: exchange.RawBody, Fails: reply.Fails(reply.Operator), Handle: s.serve, Answer: exchange.Text(""), Summary: "the operator API of Mesos v1"})
	}
	return append(table, s.forms()...)
}

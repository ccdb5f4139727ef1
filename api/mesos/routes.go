package mesos

import (
	"cmp"
	"net"
	"net/http"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/legacy"
	"github.com/mesita/mesita/api/mesos/reply"
)

func (s *Server) routes() (table []*exchange.Route) {
	for _, path := range []string{"/api/v1/scheduler", "/master/api/v1/scheduler"} {
		table = append(table, &exchange.Route{Method: http.MethodPost, Any: true, Path: path, Action: auth.Deploy, Scope: auth.OfAny, Basic: true, Routine: true, Stream: true, Lasts: subscribes,
			Body: exchange.RawBody, Most: call.MaxBody, Fails: reply.Fails(reply.Scheduler), Handle: s.scheduler, Answer: exchange.Text(""), Summary: "the scheduler API of Mesos v1"})
	}
	table = append(table, s.messageRoutes()...)
	table = append(table, legacy.Routes(legacy.Config{Master: s})...)
	for _, path := range []string{"/redirect", "/master/redirect"} {
		table = append(table, &exchange.Route{Method: http.MethodGet, Any: true, Path: path, Action: auth.Nothing, Scope: auth.OfAny, Local: true, Routine: true,
			Fails: reply.Fails(reply.Scheduler), Handle: s.redirect, Answer: exchange.Text(""), Summary: "where the leader is"})
	}
	return table
}

// inTheClear marks requests of a listener that speaks no TLS.
type inTheClear struct{}

type problem = call.Problem

func bad(body string) *problem { return call.Bad(body) }

// redirect tells where the leader is, whichever node is asked.
func (s *Server) redirect(c *exchange.Call) (any, error) {
	v := s.Store.View()
	n := v.Node(s.Cluster.LeaderID())
	if n == nil {
		return nil, reply.Unavailable(reply.NoLeader)
	}
	host, port, err := net.SplitHostPort(n.Addr)
	if err != nil {
		return nil, reply.Unavailable(reply.NoLeader)
	}
	at := net.JoinHostPort(cmp.Or(host, n.Name), port)
	if c.R.Context().Value(inTheClear{}) != nil && c.R.Host != "" {
		at = c.R.Host // the leader's port speaks TLS, and this node passes on what it is asked
	}
	c.W.Header().Set("Location", "//"+at)
	return reply.Done(c, http.StatusTemporaryRedirect)
}

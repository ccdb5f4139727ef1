package mesos

import (
	"cmp"
	"net"
	"net/http"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
)

func (s *Server) routes() (table []*exchange.Route) {
	for _, path := range []string{"/api/v1/scheduler", "/master/api/v1/scheduler"} {
		table = append(table, &exchange.Route{Method: http.MethodPost, Any: true, Path: path, Action: auth.Deploy, Scope: auth.OfAny, Basic: true, Routine: true, Stream: true, Lasts: subscribes,
			Body: exchange.RawBody, Most: call.MaxBody, Fails: fails, Handle: s.scheduler, Answer: exchange.Text(""), Summary: "the scheduler API of Mesos v1"})
	}
	table = append(table, s.messageRoutes()...)
	for _, path := range []string{"/redirect", "/master/redirect"} {
		table = append(table, &exchange.Route{Method: http.MethodGet, Any: true, Path: path, Action: auth.Nothing, Scope: auth.OfAny, Local: true, Routine: true,
			Fails: fails, Handle: s.redirect, Answer: exchange.Text(""), Summary: "where the leader is"})
	}
	return table
}

// inTheClear marks requests of a listener that speaks no TLS.
type inTheClear struct{}

type problem = call.Problem

func bad(body string) *problem { return call.Bad(body) }

// The answers of who cannot serve now.
const (
	noLeader     = "No leader elected"
	notRecovered = "Master has not finished recovery"
)

var plainText = []string{"text/plain; charset=utf-8"}

// fails writes an error as Mesos does: in plain text.
func fails(c *exchange.Call, err error) {
	if c.Answered {
		panic(http.ErrAbortHandler)
	}
	p, ok := err.(*problem)
	if !ok {
		e := exchange.AsError(err)
		p = &problem{Status: e.Code.HTTPStatus(), Body: e.Error()}
		switch {
		case e.Code == api.CodeNotAllowed && !c.ID.Known():
			p.Status = http.StatusUnauthorized
			c.W.Header().Set("WWW-Authenticate", `Basic realm="mesos-master-scheduler"`)
		case e.Code == api.CodeUnavailable, e.Code == api.CodeUnknown:
			p = &problem{Status: http.StatusServiceUnavailable, Body: noLeader}
		case e.Code == api.CodeBusy:
			c.W.Header().Set("Retry-After", strconv.Itoa(int(max(1, e.Retry.Seconds()))))
		case e.Code == api.CodeInternal:
			c.Log.Error("request failed", "path", c.R.URL.Path, "err", err)
		}
	}
	if p.Allow != "" {
		c.W.Header().Set("Allow", p.Allow)
	}
	say(c, p.Status, p.Body)
}

func say(c *exchange.Call, status int, body string) {
	c.W.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if body == "" {
		c.Head(status, nil)
		return
	}
	c.Head(status, plainText)
	if c.R.Method != http.MethodHead {
		_, _ = c.W.Write([]byte(body)) // the caller is gone if this fails
	}
}

// done answers a call that has no answer but that it was taken.
func done(c *exchange.Call, status int) (any, error) {
	say(c, status, "")
	return exchange.Done{}, nil
}

// redirect tells where the leader is, whichever node is asked.
func (s *Server) redirect(c *exchange.Call) (any, error) {
	v := s.Store.View()
	n := v.Node(s.Cluster.LeaderID())
	if n == nil {
		return nil, &problem{Status: http.StatusServiceUnavailable, Body: noLeader}
	}
	host, port, err := net.SplitHostPort(n.Addr)
	if err != nil {
		return nil, &problem{Status: http.StatusServiceUnavailable, Body: noLeader}
	}
	at := net.JoinHostPort(cmp.Or(host, n.Name), port)
	if c.R.Context().Value(inTheClear{}) != nil && c.R.Host != "" {
		at = c.R.Host // the leader's port speaks TLS, and this node passes on what it is asked
	}
	c.W.Header().Set("Location", "//"+at)
	return done(c, http.StatusTemporaryRedirect)
}

package node

import (
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// passable are the signals that a command may be sent beside the one that kills it.
var passable = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM}

// killNested sends a command a signal.
func (s *Server) killNested(c *exchange.Call, r *request) (any, error) {
	n, err := s.beside(c, r)
	if err != nil {
		return nil, err
	}
	if err := s.mayTouch(c, n); err != nil {
		return nil, err
	}
	sig := syscall.SIGKILL
	if k := r.call.KillNestedContainer; r.kind == v1.AgentCallTypeKillNestedContainer && k.Signal != nil {
		sig = syscall.Signal(*k.Signal)
	} else if k := r.call.KillContainer; r.kind == v1.AgentCallTypeKillContainer && k.Signal != nil {
		sig = syscall.Signal(*k.Signal)
	}
	switch {
	case sig == syscall.SIGKILL:
		n.kill()
	case !slices.Contains(passable, sig):
		return nil, call.Bad("A nested container is sent SIGHUP (1), SIGINT (2), SIGQUIT (3), SIGKILL (9) or SIGTERM (15) here, and no other signal")
	default:
		select {
		case n.signals <- sig:
		default: // there are more of them than anybody needs
		}
	}
	return reply.Done(c, http.StatusOK)
}

// killPatience is how long a killed command may take to be told of as ended. A keeper from
// before it passed that signal on never does.
const killPatience = 10 * time.Second

func (n *nested) kill() {
	for sent := false; !sent; { // it counts more than those that wait
		select {
		case n.signals <- syscall.SIGKILL:
			sent = true
		default:
			select {
			case <-n.signals:
			default:
			}
		}
	}
	time.AfterFunc(killPatience, func() { n.cancel(errSurvived) })
}

// mayTouch refuses who may not run commands beside the task of one.
func (s *Server) mayTouch(c *exchange.Call, n *nested) error {
	a := s.find(n.of)
	if a == nil {
		return missing(n.id)
	}
	return s.mayEnter(c, a)
}

// removeNested forgets a command that has ended.
func (s *Server) removeNested(c *exchange.Call, r *request) (any, error) {
	n, err := s.beside(c, r)
	if err != nil {
		return nil, err
	}
	if err := s.mayTouch(c, n); err != nil {
		return nil, err
	}
	if !n.over() {
		return nil, &call.Problem{Status: http.StatusConflict, Body: "Container " + named(n.id) + " runs: kill it first"}
	}
	s.strike(n)
	return reply.Done(c, http.StatusOK)
}

package mesos

import (
	"context"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

const (
	maxMessage    = 4 << 20 // bytes of what frameworks and executors send each other
	messageWithin = 5 * time.Second
)

// Message is what a framework and an executor of its send each other, between nodes. It may
// be lost, as with Mesos.
type Message struct {
	Framework string `json:"framework"`
	Executor  string `json:"executor"`
	Node      string `json:"node"` // where the executor runs
	Data      []byte `json:"data"`
}

// The paths between nodes, which Mesos does not have.
const (
	ToFrameworkPath = "/api/v1/internal/to-framework"
	ToExecutorPath  = "/api/v1/internal/to-executor"
)

func (s *Server) messageRoutes() []*exchange.Route {
	between := exchange.Route{Method: http.MethodPost, Action: auth.BeNode, Scope: auth.OfCluster, Routine: true, Body: Message{}, Most: 2 * maxMessage, Answer: struct{}{}}
	up, down := between, between
	up.Path, up.Handle, up.Summary = ToFrameworkPath, s.toFramework, "what an executor sends its framework"
	down.Path, down.Handle, down.Local, down.Summary = ToExecutorPath, s.toExecutor, true, "what a framework sends an executor that runs here"
	return []*exchange.Route{&up, &down}
}

// toFramework takes what an executor on the calling node sends.
func (s *Server) toFramework(c *exchange.Call) (any, error) {
	var m Message
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	if m.Node != c.ID.NodeID {
		return nil, api.Errorf(api.CodeNotAllowed, "a node speaks for executors on it alone")
	}
	return struct{}{}, s.ToFramework(&m)
}

// toExecutor takes what the leader passes on.
func (s *Server) toExecutor(c *exchange.Call) (any, error) {
	var m Message
	if err := c.Decode(&m); err != nil {
		return nil, err
	}
	if c.ID.NodeID != s.Cluster.LeaderID() {
		return nil, api.Errorf(api.CodeNotAllowed, "only the leader speaks for frameworks")
	}
	return struct{}{}, s.Receive(&m)
}

// ToFramework tells a framework that is connected to this node, which leads, what its
// executor sends. That executor is to be there.
func (s *Server) ToFramework(m *Message) error {
	h := s.hub.Load()
	if h == nil {
		return api.Errorf(api.CodeUnavailable, "this node does not lead the cluster")
	}
	se := h.begun(m.Framework)
	if se == nil || !h.runs(m) {
		return api.NotFound("framework", m.Framework)
	}
	s.calls[countToFramework].Add(1)
	e := event(v1.SchedulerEventTypeMessage)
	e.Message = &v1.SchedulerEventMessage{AgentID: &v1.AgentID{Value: m.Node}, ExecutorID: &v1.ExecutorID{Value: m.Executor}, Data: m.Data}
	se.push(e)
	return nil
}

// runs reports whether the executor that sends runs where that is said of it.
func (h *hub) runs(m *Message) bool {
	return h.Store.View().Executor(m.Framework, m.Node, m.Executor) != nil
}

// message takes what a framework sends to its executor. Nobody is told if it does not arrive.
func (h *hub) message(ctx context.Context, s *session, sent *v1.SchedulerCallMessage) {
	m := &Message{Framework: s.framework, Executor: sent.ExecutorID.Value, Node: sent.AgentID.Value, Data: sent.Data}
	if len(m.Data) > maxMessage || !h.runs(m) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, messageWithin)
	defer cancel()
	if err := h.Send(ctx, m); err != nil {
		h.Log.Debug("what a framework sent its executor is lost", "framework", m.Framework, "executor", m.Executor, "err", err)
	}
}

package operator

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// Nodes removes nodes, which takes more than a command: see cluster.
type Nodes interface {
	RemoveNode(ctx context.Context, n *api.Node, force bool, actor string) error
}

// noted says what is recorded of a call.
func noted(c *exchange.Call, a auth.Action, object, asked string) {
	c.Subject.Action, c.Subject.Object, c.Subject.Asked = a.String(), object, asked
}

// teardown ends a framework for good, with all that it runs.
func (s *Server) teardown(c *exchange.Call, m *v1.MasterCall) error {
	v := s.Store.View()
	id := m.Teardown.FrameworkID.Value
	f := v.Framework(id)
	noted(c, auth.Deploy, id, "TEARDOWN")
	if f == nil || !f.Ended.IsZero() || !rows.Of(v, c.ID).SeesFramework(f) {
		return api.Errorf(api.CodeInvalid, "No framework found with specified ID")
	}
	if err := admit.MayEnd(v, c.ID, f); err != nil {
		return err
	}
	_, err := c.Do(&fsm.FrameworkRemove{Meta: c.Meta(), ID: id, Reason: "removed by " + c.ID.Actor})
	return err
}

// maxDrain bounds the grace of a drain, as of any.
const maxDrain = 7 * 24 * time.Hour

// agent is the node of an id, for who may do something to nodes.
func (s *Server) agent(c *exchange.Call, id *v1.AgentID, what string) (*api.Node, error) {
	noted(c, auth.ManageNodes, id.Value, what)
	if err := auth.May(c.ID, auth.ManageNodes, auth.Object{}); err != nil {
		return nil, err
	}
	n := s.Store.View().Node(id.Value)
	if n == nil {
		return nil, api.Errorf(api.CodeInvalid, "Unknown agent")
	}
	c.Subject.Before = drained{n.State, n.Drain, n.DrainBy}
	return n, nil
}

// drained is what is recorded of a node.
type drained struct {
	State   api.NodeState `json:"state"`
	Drain   bool          `json:"drain"`
	DrainBy time.Time     `json:"drainBy,omitzero"`
}

func (s *Server) setDrain(c *exchange.Call, n *api.Node, drain bool, by time.Time) error {
	n, err := exchange.DoAs[*api.Node](c, &fsm.NodeDrain{Meta: c.Meta(), ID: n.ID, Drain: drain, By: by})
	if err != nil {
		return err
	}
	c.Subject.After = drained{n.State, n.Drain, n.DrainBy}
	return nil
}

// drain has all end that runs on a node, in that time or at once.
func (s *Server) drain(c *exchange.Call, m *v1.MasterCall) error {
	d := m.DrainAgent
	n, err := s.agent(c, d.AgentID, "DRAIN_AGENT")
	if err != nil {
		return err
	}
	var grace time.Duration
	if d.MaxGracePeriod != nil {
		grace = d.MaxGracePeriod.Value()
	}
	switch {
	case grace < 0 || grace > maxDrain:
		return api.Errorf(api.CodeInvalid, "max_grace_period: %s is not within 0s to %s", grace, maxDrain)
	case d.GetMarkGone():
		return api.Errorf(api.CodeInvalid, "mark_gone: mesita does not remove a node by itself once it is drained: call MARK_AGENT_GONE then")
	}
	return s.setDrain(c, n, true, c.Now().Add(grace))
}

// deactivate has a node get nothing new. What frameworks run there continues; services of
// jobs move, as a drain of mesita has them do.
func (s *Server) deactivate(c *exchange.Call, m *v1.MasterCall) error {
	n, err := s.agent(c, m.DeactivateAgent.AgentID, "DEACTIVATE_AGENT")
	if err != nil || n.Drain { // which may have a time by which it ends
		return err
	}
	return s.setDrain(c, n, true, time.Time{})
}

func (s *Server) reactivate(c *exchange.Call, m *v1.MasterCall) error {
	n, err := s.agent(c, m.ReactivateAgent.AgentID, "REACTIVATE_AGENT")
	if err != nil {
		return err
	}
	return s.setDrain(c, n, false, time.Time{})
}

// gone removes a node for good, whatever it runs.
func (s *Server) gone(c *exchange.Call, m *v1.MasterCall) error {
	id := m.MarkAgentGone.AgentID
	if s.Store.View().Node(id.Value) == nil && auth.May(c.ID, auth.ManageNodes, auth.Object{}) == nil {
		return api.Errorf(api.CodeNotFound, "Unknown agent")
	}
	n, err := s.agent(c, id, "MARK_AGENT_GONE")
	if err != nil || n.State == api.NodeGone {
		return err
	}
	return s.Nodes.RemoveNode(c.R.Context(), n, true, c.ID.Actor)
}

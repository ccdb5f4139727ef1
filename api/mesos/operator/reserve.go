package operator

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/reserve"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// reserveResources keeps room of a node for roles, also such as is on offer. It is out of
// turn, so who may do that has a say in nodes.
func (s *Server) reserveResources(c *exchange.Call, m *v1.MasterCall) error {
	noted(c, auth.ManageNodes, m.ReserveResources.AgentID.Value, "RESERVE_RESOURCES")
	if len(m.ReserveResources.Source) > 0 {
		return api.Errorf(api.CodeInvalid, "'source' of RESERVE_RESOURCES is not supported: unreserve first")
	}
	return s.convert(c, fsm.StepReserve, m.ReserveResources.AgentID, m.ReserveResources.Resources)
}

// unreserveResources gives back what no task uses.
func (s *Server) unreserveResources(c *exchange.Call, m *v1.MasterCall) error {
	noted(c, auth.ManageNodes, m.UnreserveResources.AgentID.Value, "UNRESERVE_RESOURCES")
	return s.convert(c, fsm.StepUnreserve, m.UnreserveResources.AgentID, m.UnreserveResources.Resources)
}

// createVolumes makes volumes of what is reserved, whoever is offered it.
func (s *Server) createVolumes(c *exchange.Call, m *v1.MasterCall) error {
	noted(c, auth.ManageNodes, m.CreateVolumes.AgentID.Value, "CREATE_VOLUMES")
	return s.convert(c, fsm.StepCreate, m.CreateVolumes.AgentID, m.CreateVolumes.Volumes)
}

// destroyVolumes removes volumes that no task uses, with all that is in them.
func (s *Server) destroyVolumes(c *exchange.Call, m *v1.MasterCall) error {
	noted(c, auth.ManageNodes, m.DestroyVolumes.AgentID.Value, "DESTROY_VOLUMES")
	return s.convert(c, fsm.StepDestroy, m.DestroyVolumes.AgentID, m.DestroyVolumes.Volumes)
}

func (s *Server) convert(c *exchange.Call, kind fsm.StepKind, agent *v1.AgentID, resources []*v1.Resource) error {
	if err := auth.May(c.ID, auth.ManageNodes, auth.Object{}); err != nil {
		return err
	}
	v := s.Store.View()
	if (kind == fsm.StepCreate || kind == fsm.StepDestroy) && !v.Does(fsm.Volumes) {
		return reply.Unavailable("The cluster's level does not have persistent volumes yet: `mesita cluster show` says what it waits for")
	}
	if n := v.Node(agent.Value); n == nil || n.State == api.NodeGone {
		return api.Errorf(api.CodeInvalid, "No agent found with specified ID")
	}
	steps, err := reserve.Steps(kind, resources)
	if err != nil {
		return err
	}
	for i := range steps {
		if v.Partition(steps[i].Partition) == nil {
			return api.Errorf(api.CodeInvalid, "Unknown role '%s'", steps[i].Partition)
		}
	}
	_, err = c.Do(&fsm.ReservationChange{Meta: c.Meta(), NodeID: agent.Value, Steps: steps})
	return err
}

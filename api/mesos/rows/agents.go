package rows

import (
	"cmp"
	"iter"
	"net"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// agentPath is that of an agent's process, which is in what clients call it.
const agentPath = "slave(1)"

// Registered reports whether a node is an agent that a master of Mesos would know of: not
// one that was removed, or nobody hears of.
func Registered(n *api.Node) bool {
	switch {
	case n == nil || n.State == api.NodeGone:
		return false
	case n.State == api.NodeUnreachable || n.State == api.NodeDown:
		return n.Away
	}
	return true
}

// Address is where a node listens.
func Address(n *api.Node) (ip string, port int, ok bool) {
	host, p, err := net.SplitHostPort(n.Addr)
	if err != nil {
		return "", 0, false
	}
	port, err = strconv.Atoi(p)
	return host, port, err == nil
}

// PID is what Mesos calls a process of its on a node; "" if that has no address.
func PID(process string, n *api.Node) string {
	ip, port, ok := Address(n)
	if !ok {
		return ""
	}
	return process + "@" + net.JoinHostPort(ip, strconv.Itoa(port))
}

// AgentURL is where an agent is asked, nil if it has no address.
func AgentURL(n *api.Node) *v1.URL {
	ip, port, ok := Address(n)
	if !ok {
		return nil
	}
	return &v1.URL{Scheme: "http", Address: &v1.Address{Hostname: new(cmp.Or(n.Name, ip)), IP: &ip, Port: int32(port)}, Path: new("/" + agentPath)}
}

// Attributes are those of a node.
func Attributes(n *api.Node) []*v1.Attribute { return attributes(n.Attrs) }

// AgentInfo is what a node says of itself, which knows of no reservations: those are in its
// total.
func AgentInfo(n *api.Node) *v1.AgentInfo {
	m := &v1.AgentInfo{ID: &v1.AgentID{Value: n.ID}, Hostname: n.Name, Resources: Resources(n.Resources, Form{}), Attributes: Attributes(n)}
	if ip, port, ok := Address(n); ok {
		m.Hostname, m.Port = cmp.Or(n.Name, ip), new(int32(port))
	}
	return m
}

// agentCapabilities are what agents of Mesos say that they can, and nodes do.
func agentCapabilities() (out []*v1.AgentInfoCapability) {
	for _, c := range []v1.AgentInfoCapabilityType{v1.AgentInfoCapabilityTypeMultiRole, v1.AgentInfoCapabilityTypeHierarchicalRole,
		v1.AgentInfoCapabilityTypeReservationRefinement, v1.AgentInfoCapabilityTypeAgentDraining, v1.AgentInfoCapabilityTypeTaskResourceLimits} {
		out = append(out, &v1.AgentInfoCapability{Type: &c})
	}
	return out
}

// offered are the offers of a view by what they are of.
func offered(v *fsm.View, of func(*api.Offer) string) map[string][]*api.Offer {
	out := map[string][]*api.Offer{}
	for o := range v.Offers() {
		out[of(o)] = append(out[of(o)], o)
	}
	return out
}

// Agents lists the nodes that are registered; they are everybody's who may look.
func (r *Rows) Agents() iter.Seq[*v1.MasterResponseGetAgentsAgent] {
	return func(yield func(*v1.MasterResponseGetAgentsAgent) bool) {
		offers := offered(r.View, func(o *api.Offer) string { return o.NodeID })
		for n := range r.View.Nodes() {
			if Registered(n) && !yield(r.agent(n, offers[n.ID])) {
				return
			}
		}
	}
}

// Agent is a node as an operator is told of it.
func (r *Rows) Agent(n *api.Node) *v1.MasterResponseGetAgentsAgent {
	var offers []*api.Offer
	for o := range r.View.Offers() {
		if o.NodeID == n.ID {
			offers = append(offers, o)
		}
	}
	return r.agent(n, offers)
}

func (r *Rows) agent(n *api.Node, offers []*api.Offer) *v1.MasterResponseGetAgentsAgent {
	m := &v1.MasterResponseGetAgentsAgent{AgentInfo: AgentInfo(n), Active: n.State == api.NodeReady && !n.Drain, Deactivated: &n.Drain, Version: Version,
		RegisteredTime: timeOf(n.Joined), TotalResources: r.total(n), Capabilities: agentCapabilities()}
	if !n.Since.Equal(n.Joined) {
		m.ReregisteredTime = timeOf(n.Since)
	}
	if pid := PID(agentPath, n); pid != "" {
		m.PID = &pid
	}
	held, open, tasks := r.sums(), r.sums(), 0
	for t := range r.View.NodeTasks(n.ID) {
		held.add(n.ID, t.Partition, t.Held(), reservedOf(t))
		tasks++
	}
	for _, o := range offers {
		open.add(n.ID, o.Partition, o.Resources, o.Reserved)
	}
	m.AllocatedResources, m.OfferedResources = held.resources(), open.resources()
	if n.Drain {
		m.DrainInfo = drainOf(n, tasks)
		m.EstimatedDrainStartTime = timeOf(n.Since)
	}
	return m
}

func drainOf(n *api.Node, tasks int) *v1.DrainInfo {
	d := &v1.DrainInfo{State: v1.DrainStateDraining, Config: &v1.DrainConfig{}}
	if tasks == 0 {
		d.State = v1.DrainStateDrained
	}
	if grace := n.DrainBy.Sub(n.Since); !n.DrainBy.IsZero() && grace > 0 {
		d.Config.MaxGracePeriod = &v1.DurationInfo{Nanoseconds: int64(grace)}
	}
	return d
}

func timeOf(t time.Time) *v1.TimeInfo {
	if t.IsZero() {
		return nil
	}
	return &v1.TimeInfo{Nanoseconds: t.UnixNano()}
}

// Seconds is a time as Mesos' statuses have it, nil if there is none.
func Seconds(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	return new(float64(t.UnixMicro()) / 1e6)
}

// Drained lists the nodes that are drained, and whether nothing runs there any more: then
// they are down, as Mesos says it.
func (r *Rows) Drained() iter.Seq2[*api.Node, bool] {
	return func(yield func(*api.Node, bool) bool) {
		for n := range r.View.Nodes() {
			if _, tasks := r.View.Ledger(n.ID); n.Drain && n.State != api.NodeGone && !yield(n, tasks == 0) {
				return
			}
		}
	}
}

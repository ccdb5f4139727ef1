package rows

import (
	"iter"
	"slices"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// Frameworks lists those that the caller sees: Own and those that have not ended, or those
// that have and are remembered.
func (r *Rows) Frameworks(ended bool) iter.Seq[*v1.MasterResponseGetFrameworksFramework] {
	return func(yield func(*v1.MasterResponseGetFrameworksFramework) bool) {
		if !ended && !yield(r.OwnFramework()) {
			return
		}
		offers := offered(r.View, func(o *api.Offer) string { return o.Framework })
		for f := range r.View.Frameworks() {
			if ended != f.Ended.IsZero() && r.SeesFramework(f) && !yield(r.framework(f, offers[f.ID])) {
				return
			}
		}
	}
}

// Framework is one as an operator is told of it.
func (r *Rows) Framework(f *api.Framework) *v1.MasterResponseGetFrameworksFramework {
	var offers []*api.Offer
	for o := range r.View.Offers() {
		if o.Framework == f.ID {
			offers = append(offers, o)
		}
	}
	return r.framework(f, offers)
}

func (r *Rows) framework(f *api.Framework, offers []*api.Offer) *v1.MasterResponseGetFrameworksFramework {
	m := &v1.MasterResponseGetFrameworksFramework{FrameworkInfo: r.FrameworkInfo(f), Active: f.Connected, Connected: f.Connected, RegisteredTime: timeOf(f.Created)}
	if f.Connected && f.Since.After(f.Created) {
		m.ReregisteredTime = timeOf(f.Since)
	}
	switch {
	case !f.Ended.IsZero():
		m.UnregisteredTime = timeOf(f.Ended)
	case !f.Connected:
		m.UnregisteredTime = timeOf(f.Since)
	}
	held, open := r.sums(), r.sums()
	for _, j := range r.View.FrameworkJobs(f.ID) {
		if p := j.Spec.Partition; r.SeesPartition(p) {
			u := r.View.FrameworkUsage(f.ID, p)
			if held.plain[p] = u.Allocated.Minus(u.Reserved); u.Reserved.Equal(api.Resources{}) {
				continue
			}
			for t := range r.View.MadeTasks(j.ID) {
				if t.Holds() {
					held.add(t.NodeID, p, api.Resources{}, reservedOf(t))
				}
			}
		}
	}
	for _, o := range offers {
		if r.SeesPartition(o.Partition) {
			open.add(o.NodeID, o.Partition, o.Resources, o.Reserved)
			m.Offers = append(m.Offers, r.Offer(o))
		}
	}
	m.AllocatedResources, m.OfferedResources = held.resources(), open.resources()
	return m
}

// Offer is an offer as everybody but its framework is told of it.
func (r *Rows) Offer(o *api.Offer) *v1.Offer {
	role := Role(o.Partition)
	m := &v1.Offer{ID: &v1.OfferID{Value: o.ID}, FrameworkID: &v1.FrameworkID{Value: o.Framework}, AgentID: &v1.AgentID{Value: o.NodeID},
		AllocationInfo: &v1.ResourceAllocationInfo{Role: &role}, Resources: r.parted(o.NodeID, o.Resources, o.Reserved, Form{Role: role})}
	if n := r.View.Node(o.NodeID); n != nil {
		m.Hostname, m.URL, m.Attributes = n.Name, AgentURL(n), Attributes(n)
	}
	return m
}

// FrameworkInfo is what a framework said of itself, with those of its roles that the
// caller sees.
func (r *Rows) FrameworkInfo(f *api.Framework) *v1.FrameworkInfo {
	m := &v1.FrameworkInfo{}
	if wire.Unmarshal(wire.Protobuf, f.Info, m) != nil || m.Name == "" {
		m = &v1.FrameworkInfo{User: f.User, Name: f.Name}
	}
	m.ID = &v1.FrameworkID{Value: f.ID}
	m.Roles = slices.DeleteFunc(m.Roles, func(role string) bool { return !r.SeesPartition(Partition(role)) })
	return m
}

// OwnFramework is what jobs are shown as tasks of.
func (r *Rows) OwnFramework() *v1.MasterResponseGetFrameworksFramework {
	info := &v1.FrameworkInfo{User: "root", Name: Own, ID: &v1.FrameworkID{Value: Own}, Checkpoint: new(true)}
	for _, c := range []v1.FrameworkInfoCapabilityType{v1.FrameworkInfoCapabilityTypeMultiRole, v1.FrameworkInfoCapabilityTypePartitionAware,
		v1.FrameworkInfoCapabilityTypeTaskKillingState, v1.FrameworkInfoCapabilityTypeGPUResources} {
		info.Capabilities = append(info.Capabilities, &v1.FrameworkInfoCapability{Type: &c})
	}
	held := byRole{}
	for _, p := range r.partitions() {
		info.Roles = append(info.Roles, Role(p.Path))
		u := r.View.Usage(p.Path)
		held[p.Path] = u.Allocated.Minus(u.Reserved) // that is nobody's until a task has it
	}
	for f := range r.View.Frameworks() {
		for _, j := range r.View.FrameworkJobs(f.ID) {
			if have, ok := held[j.Spec.Partition]; ok {
				u := r.View.FrameworkUsage(f.ID, j.Spec.Partition)
				held[j.Spec.Partition] = have.Minus(u.Allocated.Minus(u.Reserved))
			}
		}
	}
	m := &v1.MasterResponseGetFrameworksFramework{FrameworkInfo: info, Active: true, Connected: true, AllocatedResources: held.resources()}
	if c := r.View.Cluster(); c != nil {
		m.RegisteredTime = timeOf(c.Created)
	}
	return m
}

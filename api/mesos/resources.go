package mesos

import (
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/reserve"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// mebibyte is the unit of mem and disk.
const mebibyte = 1 << 20

// formOf is how a framework is told of resources.
func formOf(partition string, caps capabilities) rows.Form {
	in := rows.Form{Refined: caps.refinement, NoGPUs: !caps.gpus}
	if caps.multiRole {
		in.Role = role(partition)
	}
	return in
}

// share is what of a task's resources is of reservations: all of it, and which are volumes.
type share struct {
	reserved []api.Reserved
	volumes  []api.VolumeMount
}

// toRequest is what a task asks for and what of that is reserved, or why it cannot be.
func toRequest(resources []*v1.Resource, role string) (q api.Request, of share, err error) {
	if len(resources) == 0 {
		return q, of, wrong("Task uses no resources")
	}
	var sum api.Resources
	plain := map[string]bool{} // sets and ranges and the like: not of what is reserved beside
	for _, r := range resources {
		id, err := reservedAs(r, role)
		if err != nil {
			return q, of, err
		}
		amount, err := reserve.Amount(r)
		if err != nil {
			return q, of, wrong("Task uses invalid resources: %v", err)
		}
		if r.Disk != nil {
			if id, err = of.mount(r, role, id); err != nil {
				return q, of, err
			}
		}
		if err := addPorts(&q, amount.Ports); err != nil {
			return q, of, err
		}
		if len(amount.Custom) > 0 && id == "" {
			if plain[r.Name] {
				return q, of, wrong("Task uses invalid resources: '%s' is given twice", r.Name)
			}
			plain[r.Name] = true
		}
		sum = sum.Add(amount)
		if id == "" {
			continue
		}
		i := slices.IndexFunc(of.reserved, func(p api.Reserved) bool { return p.Reservation == id })
		if i < 0 {
			of.reserved = append(of.reserved, api.Reserved{Reservation: id, Resources: amount})
		} else {
			of.reserved[i].Resources = of.reserved[i].Resources.Add(amount)
		}
	}
	q.CPUs, q.Mem, q.Disk, q.GPUs, q.Custom = sum.CPUs, sum.Mem, sum.Disk, sum.GPUs, sum.Custom
	return q, of, nil
}

// mount adds a volume, and returns the id of the reservation that it is; from is that of
// the disk that it was made of.
func (of *share) mount(r *v1.Resource, role, from string) (id string, err error) {
	v, err := reserve.VolumeOf(r)
	switch {
	case err != nil:
		return "", wrong("Task uses invalid resources: %v", err)
	case from == "":
		return "", wrong("Task uses invalid resources: Persistent volumes cannot be created from unreserved resources")
	}
	id = api.VolumeID(rows.Partition(role), v.ID)
	if slices.ContainsFunc(of.volumes, func(m api.VolumeMount) bool { return m.Reservation == id }) {
		return "", wrong("Task uses duplicate persistence ID %s", v.ID)
	}
	of.volumes = append(of.volumes, api.VolumeMount{Reservation: id, Path: v.Path})
	return id, nil
}

// noVolumes refuses volumes of who has no folder to find them in.
func (of *share) noVolumes(instead string) error {
	if len(of.volumes) == 0 {
		return nil
	}
	return wrong("Task uses invalid resources: a persistent volume is put into the folder of a process: %s", instead)
}

// reservedAs is of which reservation a resource is, "" if of none, or why it cannot
// be used.
func reservedAs(r *v1.Resource, role string) (id string, err error) {
	m, err := reserve.MarkOf(r)
	if err != nil {
		return "", wrong("Task uses invalid resources: %v", err)
	}
	switch {
	case r.AllocationInfo != nil && r.AllocationInfo.Role != nil && *r.AllocationInfo.Role != role:
		return "", wrong("The resources of the task are allocated to role '%s', and the offer is to '%s'", *r.AllocationInfo.Role, role)
	case m.Is() && m.Partition != rows.Partition(role):
		return "", wrong("Task uses invalid resources: '%s' is reserved for role '%s', and the offer is to '%s'", r.Name, rows.Role(m.Partition), role)
	case m.Is():
		return m.ID(), nil
	}
	return "", nil
}

// maxTaskPorts bounds the ports of a task, as of one of any job.
const maxTaskPorts = 64

func addPorts(q *api.Request, ranges api.Ranges) error {
	for _, x := range ranges {
		for port := x.First; port <= x.Last; port++ {
			if len(q.Ports) >= maxTaskPorts {
				return wrong("Task uses more than %d ports, the most that a task may have", maxTaskPorts)
			}
			q.Ports = append(q.Ports, api.PortRequest{Name: "p" + strconv.Itoa(len(q.Ports)), Port: int(port)})
		}
	}
	return nil
}

// offersEvent is one OFFERS event of all that a framework was offered at once.
func offersEvent(offers []*v1.Offer) *v1.SchedulerEvent {
	e := event(v1.SchedulerEventTypeOffers)
	e.Offers = &v1.SchedulerEventOffers{Offers: offers}
	return e
}

// reservedOf are those of it that are reserved.
func reservedOf(v *fsm.View, o *api.Offer, caps capabilities) (out []*v1.Resource) {
	in := formOf(o.Partition, caps)
	for i := range o.Reserved {
		if r := v.Reservation(o.NodeID, o.Reserved[i].Reservation); r != nil {
			out = append(out, rows.Reserved(r, o.Reserved[i].Resources, in)...)
		}
	}
	return out
}

// offerOf is an offer as a framework knows it.
func offerOf(v *fsm.View, o *api.Offer, n *api.Node, caps capabilities) *v1.Offer {
	role := role(o.Partition)
	m := &v1.Offer{ID: &v1.OfferID{Value: o.ID}, FrameworkID: &v1.FrameworkID{Value: o.Framework}, AgentID: &v1.AgentID{Value: o.NodeID}, Hostname: n.Name, Resources: append(rows.Resources(o.Resources, formOf(o.Partition, caps)), reservedOf(v, o, caps)...)}
	if caps.multiRole {
		m.AllocationInfo = &v1.ResourceAllocationInfo{Role: &role}
	}
	if m.URL = rows.AgentURL(n); m.URL != nil {
		m.Hostname = *m.URL.Address.Hostname
	}
	m.Attributes = rows.Attributes(n)
	return m
}

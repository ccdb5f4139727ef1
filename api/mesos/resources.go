package mesos

import (
	"math"
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// mebibyte is the unit of mem and disk.
const mebibyte = 1 << 20

// resourcesOf are the resources of an offer as a framework knows them.
func resourcesOf(r api.Resources, role string, caps capabilities) []*v1.Resource {
	in := rows.Form{Refined: caps.refinement, NoGPUs: !caps.gpus}
	if caps.multiRole {
		in.Role = role
	}
	return rows.Resources(r, in)
}

// toRequest is what a task asks for, or why it cannot be.
func toRequest(resources []*v1.Resource, role string) (q api.Request, err error) {
	if len(resources) == 0 {
		return q, wrong("Task uses no resources")
	}
	var sum [4]int64 // in thousandths
	for _, r := range resources {
		if err := plain(r, role); err != nil {
			return q, err
		}
		switch r.Name {
		case "cpus", "mem", "disk", "gpus":
			if r.Type != v1.ValueTypeScalar || r.Scalar == nil {
				return q, wrong("Task uses invalid resources: '%s' is not a scalar", r.Name)
			}
			v := r.Scalar.Value
			if !(v >= 0) || v > 1e12 {
				return q, wrong("Task uses invalid resources: %s of %v", r.Name, v)
			}
			sum[slices.Index([]string{"cpus", "mem", "disk", "gpus"}, r.Name)] += rows.Milli(v)
		case "ports":
			if err := addPorts(&q, r.Ranges); err != nil {
				return q, err
			}
		default:
			if err := addCustom(&q, r); err != nil {
				return q, err
			}
		}
	}
	if sum[3]%1000 != 0 {
		return q, wrong("Task uses invalid resources: gpus of %v, and only whole ones are given", float64(sum[3])/1000)
	}
	q.CPUs, q.Mem, q.Disk, q.GPUs = api.MilliCPU(sum[0]), rows.Bytes(sum[1]), rows.Bytes(sum[2]), sum[3]/1000
	return q, nil
}

// plain refuses resources that are more than an amount.
func plain(r *v1.Resource, role string) error {
	switch {
	case r.Name == "":
		return wrong("Task uses invalid resources: Empty resource name")
	case r.Disk != nil:
		return wrong("Task uses invalid resources: persistent volumes come with a later version of mesita")
	case r.Reservation != nil || len(r.Reservations) > 0 || r.GetRole() != "*":
		return wrong("Task uses invalid resources: reservations come with a later version of mesita")
	case r.Revocable != nil:
		return wrong("Task uses invalid resources: no offer has revocable resources")
	case r.Shared != nil:
		return wrong("Task uses invalid resources: no offer has shared resources")
	case r.AllocationInfo != nil && r.AllocationInfo.Role != nil && *r.AllocationInfo.Role != role:
		return wrong("The resources of the task are allocated to role '%s', and the offer is to '%s'", *r.AllocationInfo.Role, role)
	}
	return nil
}

// maxTaskPorts bounds the ports of a task, as of one of any job.
const maxTaskPorts = 64

func addPorts(q *api.Request, ranges *v1.ValueRanges) error {
	if ranges == nil {
		return wrong("Task uses invalid resources: 'ports' has no ranges")
	}
	for _, x := range ranges.Range {
		if x.Begin > x.End || x.Begin == 0 || x.End > 65535 {
			return wrong("Task uses invalid resources: ports %d to %d", x.Begin, x.End)
		}
		for port := x.Begin; port <= x.End; port++ {
			if len(q.Ports) >= maxTaskPorts {
				return wrong("Task uses more than %d ports, the most that a task may have", maxTaskPorts)
			}
			q.Ports = append(q.Ports, api.PortRequest{Name: "p" + strconv.Itoa(len(q.Ports)), Port: int(port)})
		}
	}
	return nil
}

func addCustom(q *api.Request, r *v1.Resource) error {
	var amount api.Quantity
	var ranges api.Ranges
	switch {
	case r.Type == v1.ValueTypeScalar && r.Scalar != nil && r.Scalar.Value >= 0 && r.Scalar.Value < 1e12:
		amount.Scalar = rows.Milli(r.Scalar.Value)
	case r.Type == v1.ValueTypeSet && r.Set != nil:
		amount.Set = slices.Compact(slices.Sorted(slices.Values(r.Set.Item)))
	case r.Type == v1.ValueTypeRanges && r.Ranges != nil:
		for _, x := range r.Ranges.Range {
			if x.Begin > x.End || x.End > math.MaxInt32 {
				return wrong("Task uses invalid resources: %s of %d to %d", r.Name, x.Begin, x.End)
			}
			ranges = append(ranges, api.Range{First: int64(x.Begin), Last: int64(x.End)})
		}
		amount.Ranges = api.Ranges{}.Union(ranges)
	default:
		return wrong("Task uses invalid resources: '%s' has no value of its type", r.Name)
	}
	if q.Custom == nil {
		q.Custom = map[string]api.Quantity{}
	}
	if _, twice := q.Custom[r.Name]; twice {
		return wrong("Task uses invalid resources: '%s' is given twice", r.Name)
	}
	q.Custom[r.Name] = amount
	return nil
}

// offersEvent is one OFFERS event of all that a framework was offered at once.
func offersEvent(offers []*v1.Offer) *v1.SchedulerEvent {
	e := event(v1.SchedulerEventTypeOffers)
	e.Offers = &v1.SchedulerEventOffers{Offers: offers}
	return e
}

// offerOf is an offer as a framework knows it.
func offerOf(o *api.Offer, n *api.Node, caps capabilities) *v1.Offer {
	role := role(o.Partition)
	m := &v1.Offer{ID: &v1.OfferID{Value: o.ID}, FrameworkID: &v1.FrameworkID{Value: o.Framework}, AgentID: &v1.AgentID{Value: o.NodeID}, Hostname: n.Name, Resources: resourcesOf(o.Resources, role, caps)}
	if caps.multiRole {
		m.AllocationInfo = &v1.ResourceAllocationInfo{Role: &role}
	}
	if m.URL = rows.AgentURL(n); m.URL != nil {
		m.Hostname = *m.URL.Address.Hostname
	}
	m.Attributes = rows.Attributes(n)
	return m
}

// Package reserve reads what resources of Mesos say of reservations, and
// operations on them, as changes of what a node has reserved.
package reserve

import (
	"math"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

func wrong(format string, args ...any) error { return api.Errorf(api.CodeInvalid, format, args...) }

// Mark is how a resource is reserved; the zero one is not at all.
type Mark struct {
	Partition string
	Principal string
	Labels    map[string]string
}

// Is reports whether it is reserved.
func (m *Mark) Is() bool { return m.Partition != "" }

// ID is that of the reservation, on its node.
func (m *Mark) ID() string { return api.ReservationID(m.Partition, m.Principal, m.Labels) }

// MarkOf is how a resource is reserved, in either of the forms of Mesos, or why that cannot
// be.
func MarkOf(r *v1.Resource) (m Mark, err error) {
	var info *v1.ResourceReservationInfo
	role := r.GetRole()
	switch {
	case len(r.Reservations) > 1:
		return m, wrong("resource '%s' has a reservation of a reservation: mesita keeps one for a role", r.Name)
	case len(r.Reservations) == 1 && (r.Role != nil && role != "*" || r.Reservation != nil):
		return m, wrong("resource '%s' has 'reservations', and may not have 'role' or 'reservation' beside", r.Name)
	case len(r.Reservations) == 1:
		if info = r.Reservations[0]; v1.Get(info.Type) != v1.ResourceReservationInfoTypeDynamic {
			return m, wrong("resource '%s' has a reservation whose type is not DYNAMIC: mesita has no others", r.Name)
		}
		role = v1.Get(info.Role)
	case r.Reservation != nil:
		if info = r.Reservation; role == "*" && info.Role != nil {
			role = *info.Role
		}
		if role == "*" {
			return m, wrong("Invalid reservation: role \"*\" cannot be dynamically reserved")
		}
	case role != "*":
		return m, wrong("resource '%s' has the role '%s' and no 'reservation': mesita has no static ones", r.Name, role)
	default:
		return m, nil
	}
	if role == "" || role == "*" || rows.Partition(role) == api.DefaultPartition {
		return m, wrong("Invalid reservation: role \"%s\" cannot be dynamically reserved", role)
	}
	m = Mark{Partition: rows.Partition(role), Principal: v1.Get(info.Principal)}
	if info.Labels == nil || len(info.Labels.Labels) == 0 {
		return m, api.ValidateReserver(m.Principal, nil)
	}
	m.Labels = map[string]string{}
	for _, l := range info.Labels.Labels {
		if _, twice := m.Labels[l.Key]; twice {
			return m, wrong("resource '%s' has a reservation with the label '%s' twice", r.Name, l.Key)
		}
		m.Labels[l.Key] = v1.Get(l.Value)
	}
	return m, api.ValidateReserver(m.Principal, m.Labels)
}

// The bounds of one resource.
const (
	maxRanges = 1000
	maxItems  = 1000
	maxItem   = 255 // bytes
)

// Amount is how much a resource is, or why that cannot be.
func Amount(r *v1.Resource) (out api.Resources, err error) {
	if err := small(r); err != nil {
		return out, err
	}
	switch {
	case r.Name == "":
		return out, wrong("Empty resource name")
	case r.Revocable != nil:
		return out, wrong("no offer has revocable resources")
	case r.Shared != nil:
		return out, wrong("no offer has shared resources")
	case r.Disk != nil && r.Name != "disk":
		return out, wrong("'%s' has 'disk', which only the resource 'disk' may have", r.Name)
	case r.ProviderID != nil:
		return out, wrong("mesita has no resource providers")
	}
	switch r.Name {
	case "cpus", "mem", "disk", "gpus":
		if r.Type != v1.ValueTypeScalar || r.Scalar == nil {
			return out, wrong("'%s' is not a scalar", r.Name)
		}
		if v := r.Scalar.Value; !(v >= 0) || v > 1e12 {
			return out, wrong("%s of %v", r.Name, v)
		}
	case "ports":
		if r.Ranges == nil {
			return out, wrong("'ports' has no ranges")
		}
		for _, x := range r.Ranges.Range {
			if x.Begin > x.End || x.Begin == 0 || x.End > 65535 {
				return out, wrong("ports %d to %d", x.Begin, x.End)
			}
			out.Ports = append(out.Ports, api.Range{First: int64(x.Begin), Last: int64(x.End)})
		}
		out.Ports = api.Ranges{}.Union(out.Ports)
		return out, nil
	}
	switch n := int64(0); r.Name {
	case "cpus":
		out.CPUs = api.MilliCPU(rows.Milli(r.Scalar.Value))
	case "mem":
		out.Mem = rows.Bytes(rows.Milli(r.Scalar.Value))
	case "disk":
		out.Disk = rows.Bytes(rows.Milli(r.Scalar.Value))
	case "gpus":
		if n = rows.Milli(r.Scalar.Value); n%1000 != 0 {
			return out, wrong("gpus of %v, and only whole ones are given", r.Scalar.Value)
		}
		out.GPUs = n / 1000
	default:
		q, err := Quantity(r)
		if err != nil {
			return out, err
		}
		out.Custom = map[string]api.Quantity{r.Name: q}
	}
	return out, nil
}

// small refuses what has more parts than anybody could use.
func small(r *v1.Resource) error {
	if r.Ranges != nil && len(r.Ranges.Range) > maxRanges {
		return wrong("a resource has %d ranges, at most %d are allowed", len(r.Ranges.Range), maxRanges)
	}
	if len(r.Name) > maxItem {
		return wrong("a resource has a name of %d bytes, at most %d are allowed", len(r.Name), maxItem)
	}
	if r.Set == nil {
		return nil
	}
	if n := len(r.Set.Item); n > maxItems {
		return wrong("'%s' has %d items, at most %d are allowed", r.Name, n, maxItems)
	}
	for _, item := range r.Set.Item {
		if len(item) > maxItem {
			return wrong("'%s' has an item of %d bytes, at most %d are allowed", r.Name, len(item), maxItem)
		}
	}
	return nil
}

// Quantity is how much of a resource that an operator declared.
func Quantity(r *v1.Resource) (q api.Quantity, err error) {
	switch {
	case r.Type == v1.ValueTypeScalar && r.Scalar != nil && r.Scalar.Value >= 0 && r.Scalar.Value < 1e12:
		q.Scalar = rows.Milli(r.Scalar.Value)
	case r.Type == v1.ValueTypeSet && r.Set != nil:
		q.Set = slices.Compact(slices.Sorted(slices.Values(r.Set.Item)))
	case r.Type == v1.ValueTypeRanges && r.Ranges != nil:
		var ranges api.Ranges
		for _, x := range r.Ranges.Range {
			if x.Begin > x.End || x.End > math.MaxInt32 {
				return q, wrong("%s of %d to %d", r.Name, x.Begin, x.End)
			}
			ranges = append(ranges, api.Range{First: int64(x.Begin), Last: int64(x.End)})
		}
		q.Ranges = api.Ranges{}.Union(ranges)
	default:
		return q, wrong("'%s' has no value of its type", r.Name)
	}
	return q, nil
}

// Steps are what is to be done of a kind, to each of some resources.
func Steps(kind fsm.StepKind, resources []*v1.Resource) (out []fsm.ReservationStep, err error) {
	if len(resources) == 0 {
		return nil, wrong("no resources are given")
	}
	seen := map[string]int{} // which step has those of one reservation
	for _, r := range resources {
		s, err := step(kind, r)
		if err != nil {
			return nil, err
		}
		if s.Volume != nil {
			out = append(out, s)
			continue
		}
		id := api.ReservationID(s.Partition, s.Principal, s.Labels)
		if i, has := seen[id]; has {
			out[i].Resources = out[i].Resources.Add(s.Resources)
			continue
		}
		seen[id] = len(out)
		out = append(out, s)
	}
	return out, nil
}

func step(kind fsm.StepKind, r *v1.Resource) (s fsm.ReservationStep, err error) {
	m, err := MarkOf(r)
	if err != nil {
		return s, err
	}
	ofVolume := kind == fsm.StepCreate || kind == fsm.StepDestroy
	switch {
	case !m.Is() && ofVolume:
		return s, wrong("Persistent volumes cannot be created from unreserved resources")
	case !m.Is():
		return s, wrong("Resource %s is not dynamically reserved", r.Name)
	case ofVolume && r.Disk == nil:
		return s, wrong("Resource %s does not have DiskInfo", r.Name)
	case !ofVolume && r.Disk != nil:
		return s, wrong("A persistent volume cannot be reserved or unreserved: DESTROY it, and unreserve its disk")
	}
	volume, err := VolumeOf(r)
	if err != nil {
		return s, err
	}
	amount, err := Amount(r)
	if err != nil {
		return s, err
	}
	return fsm.ReservationStep{Kind: kind, Partition: m.Partition, Principal: m.Principal, Labels: m.Labels, Resources: amount, Volume: volume}, nil
}

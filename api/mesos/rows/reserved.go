package rows

import (
	"maps"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// Reserved is part of a reservation as Mesos says it.
func Reserved(r *api.Reservation, part api.Resources, in Form) []*v1.Resource {
	out := Resources(part, in)
	info := v1.ResourceReservationInfo{}
	if r.Principal != "" {
		info.Principal = &r.Principal
	}
	if len(r.Labels) > 0 {
		info.Labels = &v1.Labels{}
		for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
			info.Labels.Labels = append(info.Labels.Labels, &v1.Label{Key: k, Value: new(r.Labels[k])})
		}
	}
	role := Role(r.Partition)
	for _, m := range out {
		own := info
		if in.Refined {
			own.Type, own.Role = new(v1.ResourceReservationInfoTypeDynamic), &role
			m.Reservations = []*v1.ResourceReservationInfo{&own}
		} else {
			m.Role, m.Reservation = &role, &own
		}
		if r.Volume != nil {
			m.Disk = diskOf(r.Volume)
		}
	}
	return out
}

// diskOf is how Mesos tells a volume from other disk.
func diskOf(v *api.Volume) *v1.ResourceDiskInfo {
	p := &v1.ResourceDiskInfoPersistence{ID: v.ID}
	if v.Principal != "" {
		p.Principal = &v.Principal
	}
	return &v1.ResourceDiskInfo{Persistence: p, Volume: &v1.Volume{Mode: v1.VolumeModeRw, ContainerPath: v.Path}}
}

// parted is what somebody has of a node as Mesos says it: what nobody has reserved, and each
// part of a reservation.
func (r *Rows) parted(nodeID string, plain api.Resources, parts []api.Reserved, in Form) []*v1.Resource {
	out := Resources(plain, in)
	for i := range parts {
		if of := r.View.Reservation(nodeID, parts[i].Reservation); of != nil {
			out = append(out, Reserved(of, parts[i].Resources, in)...)
		}
	}
	return out
}

// ofTask is all that a task has.
func (r *Rows) ofTask(t *api.Task) []*v1.Resource {
	parts := reservedOf(t)
	return r.parted(t.NodeID, t.Resources.Minus(api.ReservedSum(parts)), parts, Form{Role: Role(t.Partition)})
}

func reservedOf(t *api.Task) []api.Reserved {
	if t.Framework == nil {
		return nil
	}
	return t.Framework.Reserved
}

// total is all that a node has.
func (r *Rows) total(n *api.Node) []*v1.Resource {
	plain := n.Resources
	var out []*v1.Resource
	for of := range r.View.Reservations(n.ID) {
		plain = plain.Minus(of.Resources)
		out = append(out, Reserved(of.Reservation, of.Resources, Form{})...)
	}
	return append(Resources(plain, Form{}), out...)
}

// sums are what several have together: plain by partition, and by reservation.
type sums struct {
	*Rows
	plain byRole
	parts map[string]api.Resources // by node/reservation
}

func (r *Rows) sums() *sums { return &sums{r, byRole{}, map[string]api.Resources{}} }

func (s *sums) add(node, partition string, plain api.Resources, parts []api.Reserved) {
	s.plain.add(partition, plain)
	for i := range parts {
		k := node + "/" + parts[i].Reservation
		s.parts[k] = s.parts[k].Add(parts[i].Resources)
	}
}

func (s *sums) resources() []*v1.Resource {
	out := s.plain.resources()
	for _, k := range slices.Sorted(maps.Keys(s.parts)) {
		node, reservation, _ := strings.Cut(k, "/")
		if of := s.View.Reservation(node, reservation); of != nil {
			out = append(out, Reserved(of, s.parts[k], Form{Role: Role(of.Partition)})...)
		}
	}
	return out
}

package fsm

import (
	"slices"

	"github.com/mesita/mesita/api"
)

// This file has volumes: disk of a reservation that is one of its own, with files.

// ofVolume reports whether a step makes or destroys one.
func ofVolume(s ReservationStep) bool {
	return s.Volume != nil || s.Kind == StepCreate || s.Kind == StepDestroy
}

func withVolumes(t FrameworkLaunch) bool {
	return t.Task != nil && t.Task.Spec != nil && len(t.Task.Spec.Volumes) > 0 ||
		t.Executor != nil && t.Executor.Task != nil && t.Executor.Task.Spec != nil && len(t.Executor.Task.Spec.Volumes) > 0
}

func (s *ReservationStep) validateVolume() error {
	switch {
	case s.Volume == nil:
		return api.FieldErrorf("volume", "is missing")
	case s.Resources.Disk <= 0 || !s.Resources.Equal(api.Resources{Disk: s.Resources.Disk}):
		return api.FieldErrorf("resources", "of a volume are disk, and nothing else")
	case s.Volume.Made != 0:
		return api.FieldErrorf("volume.made", "is not for who makes it to say")
	}
	return s.Volume.Validate()
}

// create makes a volume of disk that is reserved in the way that id says.
func (a *attempt) create(s *ReservationStep, id string) error {
	own := api.VolumeID(s.Partition, s.Volume.ID)
	old := a.row(own)
	if old != nil && !old.Resources.Equal(api.Resources{}) {
		return conflict("partition %s has a volume %s on node %s already", s.Partition, s.Volume.ID, a.node.Name)
	}
	if err := a.take(id, s.Resources); err != nil {
		return err
	}
	if old == nil {
		if err := a.oneMore(s.Partition); err != nil {
			return err
		}
	}
	volume := *s.Volume
	volume.Made = a.index
	a.rows[own] = &api.Reservation{ID: own, NodeID: a.node.ID, Partition: s.Partition, Principal: s.Principal, Labels: s.Labels,
		Resources: s.Resources, Created: a.At, Volume: &volume}
	a.free[own] = s.Resources
	return nil
}

// destroy has the disk of a volume that nobody uses be reserved as it was before.
func (a *attempt) destroy(s *ReservationStep, id string) error {
	own := api.VolumeID(s.Partition, s.Volume.ID)
	r := a.row(own)
	switch {
	case r == nil || r.Resources.Equal(api.Resources{}):
		return conflict("partition %s has no volume %s on node %s", s.Partition, s.Volume.ID, a.node.Name)
	case !r.Resources.Equal(s.Resources) || api.ReservationID(r.Partition, r.Principal, r.Labels) != id:
		return conflict("volume %s has %s, or is reserved in another way: it is destroyed as a whole, as it was offered", s.Volume.ID, r.Resources)
	case !a.left(own).Equal(r.Resources):
		return conflict("volume %s is in use: it can be destroyed once no task has it, and it is on no other offer", s.Volume.ID)
	}
	if err := a.take(own, s.Resources); err != nil {
		return err
	}
	a.put(s, id) // in place of it, so there are no more than before
	return nil
}

// hasVolumes reports whether all that a task is to find in its folder is what it takes of
// reservations, each volume as a whole and once.
func (l *launcher) hasVolumes(spec *api.JobSpec, parts []api.Reserved) bool {
	var volumes []string
	for i := range parts {
		row := l.reservation(l.offer.NodeID, parts[i].Reservation)
		if row == nil || row.res.Volume == nil {
			continue
		}
		if !row.res.Resources.Equal(parts[i].Resources) {
			return false
		}
		volumes = append(volumes, parts[i].Reservation)
	}
	for i := range spec.Volumes {
		k := slices.Index(volumes, spec.Volumes[i].Reservation)
		if k < 0 {
			return false
		}
		volumes = slices.Delete(volumes, k, k+1)
	}
	return true
}

// folders are the volumes of a task with the names of their folders.
func (l *launcher) folders(volumes []api.VolumeMount) []api.VolumeMount {
	volumes = slices.Clone(volumes)
	for i := range volumes {
		if row := l.reservation(l.offer.NodeID, volumes[i].Reservation); row != nil && row.res.Volume != nil {
			volumes[i].Folder = row.res.Folder()
		}
	}
	return volumes
}

// VolumeFolders are the names of the folders that a node has to keep, in order.
func (v *View) VolumeFolders(nodeID string) []string {
	out := []string{}
	for r := range v.t.onNode(nodeID) {
		if r.res.Volume != nil {
			out = append(out, r.res.Folder())
		}
	}
	return out
}

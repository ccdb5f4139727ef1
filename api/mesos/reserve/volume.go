package reserve

import (
	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// VolumeOf is the volume that a resource is, nil if it is none, or why it cannot be one.
func VolumeOf(r *v1.Resource) (*api.Volume, error) {
	d := r.Disk
	if d == nil {
		return nil, nil
	}
	switch {
	case d.Source != nil:
		return nil, wrong("mesita has one disk of a node: leave 'disk.source' out")
	case d.Persistence == nil && d.Volume != nil:
		return nil, wrong("Non-persistent volume not supported")
	case d.Persistence == nil:
		return nil, wrong("DiskInfo is set but empty")
	case d.Volume == nil:
		return nil, wrong("Expecting 'volume' to be set for persistent volume")
	case d.Volume.HostPath != nil:
		return nil, wrong("Expecting 'host_path' to be unset for persistent volume")
	case d.Volume.Image != nil || d.Volume.Source != nil:
		return nil, wrong("a persistent volume has neither 'image' nor 'source'")
	case d.Volume.Mode != v1.VolumeModeRw:
		return nil, wrong("persistent volumes are written by who has them: give them the mode RW")
	}
	v := &api.Volume{ID: d.Persistence.ID, Principal: v1.Get(d.Persistence.Principal), Path: d.Volume.ContainerPath}
	if err := v.Validate(); err != nil {
		return nil, wrong("Persistent volume '%s' is invalid: %v", v.ID, err)
	}
	return v, nil
}

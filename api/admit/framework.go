package admit

import (
	"cmp"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// MayEnd refuses who may not deploy wherever a framework is, or has something that runs.
func MayEnd(v *fsm.View, id auth.Identity, f *api.Framework) error {
	if len(f.Partitions) == 0 && len(v.FrameworkJobs(f.ID)) == 0 { // it is nowhere, so nobody's but the cluster's
		return auth.May(id, auth.ManageCluster, auth.Object{})
	}
	for _, path := range f.Partitions {
		if err := auth.May(id, auth.Deploy, Object(v, path, "")); err != nil {
			return err
		}
	}
	for _, j := range v.FrameworkJobs(f.ID) {
		if j.Counts.Live() == 0 || f.In(j.Spec.Partition) {
			continue
		}
		if err := auth.May(id, auth.Deploy, Object(v, j.Spec.Partition, cmp.Or(j.Spec.Name, j.ID))); err != nil {
			return err
		}
	}
	return nil
}

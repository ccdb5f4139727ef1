// Package admit answers who may do something to what is there, and who the tasks of a
// caller run as on nodes: package auth knows rights, and this one the state that they
// are about. It owns no state. The handlers of api/server and api/mesos call it.
package admit

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// Object is a job, or all jobs, of a partition.
func Object(v *fsm.View, partition, job string) auth.Object {
	o := auth.Object{Partition: partition, Job: job}
	for path := partition; path != ""; path = api.ParentPath(path) {
		if p := v.Partition(path); p != nil && len(p.Users)+len(p.Roles) > 0 {
			o.Lists = p
			break
		}
	}
	return o
}

// Root reports whether the caller may have all of a node, and so of the cluster.
func Root(id auth.Identity) bool { return auth.May(id, auth.ManageNodes, auth.Object{}) == nil }

package server

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
)

// PartitionStatus is a partition with what its tasks hold.
type PartitionStatus struct {
	*api.Partition
	api.PartitionUsage
}

func listPartitions(c *call) (any, error) {
	v := c.Store.View()
	usage := map[string]*api.PartitionUsage{}
	for p := range v.Partitions() {
		usage[p.Path] = &api.PartitionUsage{}
	}
	for t := range v.Tasks() {
		u := usage[t.Partition]
		if u == nil || t.State.Final() {
			continue
		}
		switch {
		case t.Pending():
			u.Pending++
		case t.State == api.TaskRunning:
			u.Running++
		}
		if t.Holds() {
			u.Allocated = u.Allocated.Add(t.Resources)
		}
	}
	return exchange.List{Items: func(yield func(any) bool) {
		for p := range v.Partitions() {
			if !yield(PartitionStatus{p, *usage[p.Path]}) {
				return
			}
		}
	}}, nil
}

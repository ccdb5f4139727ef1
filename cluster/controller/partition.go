package controller

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// drainedPartitions removes the partitions that are being removed once they
// are empty.
func (d *decision) drainedPartitions() {
	for p := range d.view.Partitions() {
		if p.Drain && d.empty(p) {
			d.add(&fsm.PartitionRemove{Meta: d.meta(), Path: p.Path, Drain: true})
		}
	}
}

func (d *decision) empty(p *api.Partition) bool {
	if u := d.view.Usage(p.Path); u.Pending+u.Starting+u.Running+u.Reservations > 0 {
		return false
	}
	for j := range d.view.LiveJobs() {
		if j.Spec.Partition == p.Path && (j.Framework == "" || j.Counts.Live() > 0) {
			return false
		}
	}
	return true
}

package server

import (
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Bounds are the limits that bound the CPU of what one node should run, as the
// node was told them last. They follow from the state, and are in no log entry.
type Bounds struct {
	parts []string // of what it should run, and those above
	told  []api.CPUBound
	begun bool
}

// Of is all bounds by a view in which the node should run all, nil if they are
// much as they were told.
func (b *Bounds) Of(v *fsm.View, all []api.Assignment) *[]api.CPUBound {
	b.parts = b.parts[:0]
	for i := range all {
		part := all[i].Task.Partition
		if i > 0 && part == all[i-1].Task.Partition {
			continue
		}
		for ; part != ""; part = api.ParentPath(part) {
			b.parts = append(b.parts, part)
		}
	}
	slices.Sort(b.parts)
	b.parts = slices.Compact(b.parts)
	return b.Again(v)
}

// Again is Of for what the node should run by the view before.
func (b *Bounds) Again(v *fsm.View) *[]api.CPUBound {
	now := []api.CPUBound{}
	for _, part := range b.parts {
		if is, ok := v.CPUBound(part); ok {
			now = append(now, is)
		}
	}
	if b.begun && slices.EqualFunc(b.told, now, alike) {
		return nil
	}
	b.told, b.begun = now, true
	return &now
}

// alike reports whether a bound moved by less than a tenth.
func alike(told, now api.CPUBound) bool {
	by := max(told.Requested-now.Requested, now.Requested-told.Requested)
	return told.Partition == now.Partition && told.Limit == now.Limit && (by == 0 || 10*by < told.Requested)
}

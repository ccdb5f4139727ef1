package scheduler

import (
	"cmp"
	"maps"
	"slices"
)

// maxOrders bounds the memory of the orders of nodes, in bytes: so much is kept,
// and as much again may be made before the least used are forgotten. One takes
// some 20 bytes a node, and each kind of job that waits has its own.
const maxOrders = 256 << 20

// size is what the class's order takes, in bytes, as far as it is not shared.
func (c *class) size() (n int64) {
	if !c.shared {
		n = int64(len(c.seen)) * (8 + 1 + 8 + 4 + 4 + 4)
	}
	for g := range c.groups {
		if c.groups[g].draw != nil {
			n += int64(len(c.groups[g].draw.sum)) * 8
		} else {
			n += c.groups[g].best.size()
		}
	}
	return n
}

// forget frees the class's order; catchUp makes it anew.
func (c *class) forget() {
	c.epoch, c.seen, c.ok, c.wish, c.where, c.rank, c.index, c.groups = -1, nil, nil, nil, nil, nil, nil, nil
	clear(c.moved)
}

// trim forgets the orders that were not used for longest, if many were made
// since it last looked. The order of a job that is being placed may be among
// them: its seat makes it anew when it goes on.
func (e *Engine) trim() {
	if e.slots.made < e.maxOrders {
		return
	}
	e.slots.made = 0
	all := map[*class]struct{}{}
	for _, m := range []map[string]*class{e.classes, e.orders, e.kin} {
		for _, c := range m {
			all[c] = struct{}{}
		}
	}
	for _, l := range e.jobs {
		if l.entry != nil && l.entry.class != nil {
			all[l.entry.class] = struct{}{}
		}
	}
	newest := slices.SortedFunc(maps.Keys(all), func(a, b *class) int { return cmp.Compare(b.used, a.used) })
	kept := int64(0)
	for _, c := range newest {
		if kept += c.size(); kept > e.maxOrders {
			c.forget()
		}
	}
}

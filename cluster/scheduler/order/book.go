package order

import (
	"cmp"
	"iter"
	"slices"

	"github.com/mesita/mesita/api"
)

// MaxBytes bounds the memory of the orders of nodes, in bytes: so much is kept,
// and as much again may be made before the least used are forgotten. One takes
// some 30 bytes a node, and each kind of job that waits has its own.
const MaxBytes = 256 << 20

// maxClasses bounds the orders of nodes that are kept up to date.
const maxClasses = 64

// Book keeps the classes of what waits, and makes new ones with the help of those
// that are alike.
type Book struct {
	Max     int64 // bytes
	slots   *Slots
	classes map[string]*Class
	orders  map[string]*Class // the newest of those that differ in their partition alone
	kin     map[string]*Class // the newest of those with the same conditions
	clock   int
}

// NewBook makes an empty one.
func NewBook(s *Slots, most int64) *Book {
	return &Book{Max: most, slots: s, classes: map[string]*Class{}, orders: map[string]*Class{}, kin: map[string]*Class{}}
}

// Use brings the order of a class up to date.
func (b *Book) Use(c *Class) {
	b.clock++
	c.used = b.clock
	c.CatchUp()
}

// Find finds or makes the class of a spec.
func (b *Book) Find(part *api.Partition, spec *api.JobSpec) *Class {
	order := Key(part, spec)
	key := part.Path + "|" + order
	if c := b.classes[key]; c != nil {
		return c
	}
	if len(b.classes) >= maxClasses {
		oldest := ""
		for k, c := range b.classes {
			if oldest == "" || c.used < b.classes[oldest].used {
				oldest = k
			}
		}
		delete(b.classes, oldest)
	}
	c := b.make(part, spec, order)
	b.classes[key] = c
	return c
}

func (b *Book) make(part *api.Partition, spec *api.JobSpec, order string) *Class {
	if len(b.orders) >= maxClasses {
		clear(b.orders)
	}
	if twin := b.orders[order]; twin != nil && twin.epoch == b.slots.epoch {
		c := twin.copyFor(part, spec)
		b.orders[order] = c
		return c
	}
	c, conditions := NewClass(b.slots, part, spec), conditionsKey(part, spec)
	if kin := b.kin[conditions]; kin == nil || !c.buildLike(kin) {
		c.Build()
	}
	if len(b.kin) >= maxClasses {
		clear(b.kin)
	}
	b.orders[order], b.kin[conditions] = c, c
	return c
}

// Trim forgets the orders that were not used for longest, if many were made
// since it last looked, of its own classes and the others that jobs still have.
// The order of a job that is being placed may be among them: its seat makes it
// anew when it continues.
func (b *Book) Trim(others iter.Seq[*Class]) {
	if b.slots.made < b.Max {
		return
	}
	b.slots.made = 0
	seen := map[*Class]bool{}
	var all []*Class
	add := func(c *Class) {
		if !seen[c] {
			seen[c] = true
			all = append(all, c)
		}
	}
	for _, m := range []map[string]*Class{b.classes, b.orders, b.kin} {
		for _, c := range m {
			add(c)
		}
	}
	for c := range others {
		add(c)
	}
	slices.SortFunc(all, func(a, b *Class) int { return cmp.Compare(b.used, a.used) })
	kept := int64(0)
	for _, c := range all {
		if kept += c.size(); kept > b.Max {
			c.forget()
		}
	}
}

// perSlot is what a class keeps of each slot beside its place: seen, ok and wish.
const perSlot = 8 + 1 + 8

// size is what the class's order takes, in bytes; of what several share, as much as if
// it had it alone, as the last of them has.
func (c *Class) size() (n int64) {
	n = int64(len(c.seen)) * perSlot
	for g := range c.groups {
		if c.groups[g].draw != nil {
			n += int64(len(c.groups[g].draw.sum)) * 8
		} else {
			n += c.groups[g].best.size()
		}
	}
	return n
}

// forget frees the class's order; CatchUp makes it anew.
func (c *Class) forget() {
	c.epoch, c.seen, c.ok, c.wish, c.where, c.rank, c.index, c.groups = -1, nil, nil, nil, nil, nil, nil, nil
	clear(c.moved)
}

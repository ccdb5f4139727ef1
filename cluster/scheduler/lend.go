package scheduler

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/fsm"
)

// An offer is a loan: what a framework was offered is its partition's, and is the
// first that is taken back. A task that the round serves before that partition, and
// one of the same partition, gets the room in the entry that ends the offer; others
// leave it alone as they do what tasks hold.

// loans are the offers that stand while a pass decides, by slot, in the order of
// their ids.
type loans struct {
	on    map[int][]*api.Offer
	slots []int                    // that have some, in order
	of    map[string]api.Resources // their sum, by partition
	below []string                 // the partitions of those that are below a guarantee, in order
}

// lent is what is on offer in a view.
func (e *Engine) lent() loans {
	l := loans{on: map[int][]*api.Offer{}, of: map[string]api.Resources{}}
	if !e.view.Does(fsm.OfferLoans) {
		return l
	}
	for o := range e.view.Offers() {
		if i, ok := e.slots.Of(o.NodeID); ok {
			l.on[i] = append(l.on[i], o)
			l.count(o, 1)
		}
	}
	l.slots = slices.Sorted(maps.Keys(l.on))
	for _, path := range slices.Sorted(maps.Keys(l.of)) {
		if e.guaranteed(path) {
			l.below = append(l.below, path)
		}
	}
	return l
}

// count adds an offer to the sum of its partition, or takes it off.
func (l *loans) count(o *api.Offer, n int) {
	l.of[o.Partition] = l.of[o.Partition].Add(o.Resources.Times(n))
}

// recalled are offers that a task takes back.
type recalled []*api.Offer

func (r recalled) ids() (out []string) {
	for _, o := range r {
		out = append(out, o.ID)
	}
	return out
}

// hasRoom reports whether limits leave so much to the current job, which may take
// offers back for it.
func (p *pass) hasRoom(t *turn, need api.Resources) bool {
	path := t.q.part.Path
	if p.round.Room(path, need) == "" && p.mayUseQuota(t, need) {
		return true
	}
	p.rescind = p.recallBelow(t, need)
	return p.rescind != nil
}

// pickOrRecall finds the slot for a task of the current job, which is to have that
// much in all, and the offers that end for it.
func (p *pass) pickOrRecall(t *turn, u *unit, whole api.Resources) (slot int, out recalled) {
	if i := p.pick(t, u); i >= 0 || len(p.loans.slots) == 0 {
		return i, nil
	}
	path, full := t.q.part.Path, t.seat.Class.IsFull()
	hasOwn := !p.loans.of[path].Equal(api.Resources{})
	slot = -1
	for _, i := range p.loans.slots {
		if len(p.loans.on[i]) == 0 || !t.seat.Class.May(i) {
			continue
		}
		set := p.recallOn(t, u, i, whole)
		if set != nil && (slot < 0 || cmp.Or(cmp.Compare(set.foreign(path), out.foreign(path)), cmp.Compare(len(set), len(out))) < 0) {
			slot, out = i, set
		}
		if len(out) == 1 && (out.foreign(path) == 0 || !hasOwn) {
			break // fewer there are not
		}
	}
	switch {
	case slot >= 0:
		p.endLoans(out)
		if t.packed != nil {
			t.packed.loose = slot
		}
	case full:
		t.seat.Sync()
		t.seat.Class.Full()
	}
	return slot, out
}

// ownFirst yields what is on offer of slots in the order in which a partition's jobs take
// it back: what is its own first.
func (p *pass) ownFirst(path string, slots ...int) iter.Seq[*api.Offer] {
	return func(yield func(*api.Offer) bool) {
		for _, own := range []bool{true, false} {
			for _, i := range slots {
				for _, o := range p.loans.on[i] {
					if (o.Partition == path) == own && !yield(o) {
						return
					}
				}
			}
		}
	}
}

// foreign is how many of them are not a partition's own.
func (r recalled) foreign(path string) (n int) {
	for _, o := range r {
		if o.Partition != path {
			n++
		}
	}
	return n
}

func (p *pass) endLoans(all recalled) {
	for _, o := range all {
		p.endLoan(o)
	}
}

// endLoan has an offer's room free, and its partition without it.
func (p *pass) endLoan(o *api.Offer) {
	i, _ := p.e.slots.Of(o.NodeID)
	p.loans.on[i] = slices.DeleteFunc(slices.Clone(p.loans.on[i]), func(x *api.Offer) bool { return x == o })
	p.loans.count(o, -1)
	p.e.slots.Give(i, o.Resources)
	p.round.Refund(o.Partition, o.Resources)
}

func byID(a, b *api.Offer) int { return strings.Compare(a.ID, b.ID) }

// restore has them stand again.
func (p *pass) restore(all recalled) {
	for _, o := range slices.Backward(all) {
		i, _ := p.e.slots.Of(o.NodeID)
		at, _ := slices.BinarySearchFunc(p.loans.on[i], o, byID)
		p.loans.on[i] = slices.Insert(slices.Clone(p.loans.on[i]), at, o)
		p.loans.count(o, 1)
		p.e.slots.Take(i, o.Resources)
		p.round.Charge(o.Partition, o.Resources)
	}
}

// recallBelow ends the offers without which the current job has room for that much
// below the limits of its partition, none if that does not help.
func (p *pass) recallBelow(t *turn, need api.Resources) (out recalled) {
	path := t.q.part.Path
	if len(p.loans.slots) == 0 {
		return nil
	}
	enough := func() bool { return p.round.Room(path, need) == "" && p.mayUseQuota(t, need) }
	for o := range p.ownFirst(path, p.loans.slots...) {
		if enough() {
			return p.spareLoans(out, enough)
		}
		if p.round.MayRecall(path, o.Partition, need, need.Least(o.Resources)) {
			p.endLoan(o)
			out = append(out, o)
		}
	}
	if enough() {
		return p.spareLoans(out, enough)
	}
	p.restore(out)
	return nil
}

// spareLoans lets those stand that are not needed after all.
func (p *pass) spareLoans(all recalled, enough func() bool) recalled {
	for k := len(all) - 1; k >= 0; k-- {
		one := all[k : k+1 : k+1]
		if p.restore(one); enough() {
			all = slices.Delete(all, k, k+1)
			continue
		}
		p.endLoan(one[0])
	}
	return all
}

// lentOn is what is on offer of a slot, as what is taken back first: no work is lost.
func (x *preemption) lentOn(slot int) (out []victim) {
	for _, o := range x.loans.on[slot] {
		if v := (victim{offer: o, gives: o.Resources}); !x.chosen[v.key()] {
			out = append(out, v)
		}
	}
	return out
}

// recallOn is the offers of a slot that are in the way of a task, nil if it has no
// room there even without those that it may take back.
func (p *pass) recallOn(t *turn, u *unit, slot int, whole api.Resources) recalled {
	c := t.seat.Class
	if !p.mightFit(slot, u.need) {
		return nil
	}
	out := p.mayEnd(t.q.part.Path, slot, u.need, whole)
	if left := p.leftWithout(out, slot); len(out) == 0 || order.Lacks(left, u.need, c.AnyPorts) != "" {
		return nil
	}
	p.endLoans(out)
	enough := func() bool {
		return order.Lacks(p.e.slots.Free[slot], u.need, c.AnyPorts) == "" && p.mayUse(t, slot, u.need)
	}
	if !enough() {
		p.restore(out)
		return nil
	}
	out = p.spareLoans(out, enough)
	p.restore(out)
	return out
}

// mightFit reports whether a slot may have room without all that is on offer there. Of
// most slots it is known so, at little cost, that they have not.
func (p *pass) mightFit(slot int, need api.Resources) bool {
	cpus, mem := p.e.slots.Free[slot].CPUs, p.e.slots.Free[slot].Mem
	for _, o := range p.loans.on[slot] {
		cpus, mem = cpus+o.Resources.CPUs, mem+o.Resources.Mem
	}
	return cpus >= need.CPUs && mem >= need.Mem
}

// leftWithout is what a slot has left if offers of it end.
func (p *pass) leftWithout(offers recalled, slot int) api.Resources {
	left := p.e.slots.Free[slot]
	for _, o := range offers {
		left = left.Add(o.Resources)
	}
	return left
}

// mayEnd is the offers of a slot that a task of a partition may take back, each after
// those before it; the partition is to have that much in all.
func (p *pass) mayEnd(path string, slot int, need, whole api.Resources) (out recalled) {
	for o := range p.ownFirst(path, slot) {
		if p.round.MayRecall(path, o.Partition, whole, need.Least(o.Resources)) {
			p.round.Refund(o.Partition, o.Resources)
			out = append(out, o)
		}
	}
	for _, o := range slices.Backward(out) {
		p.round.Charge(o.Partition, o.Resources)
	}
	return out
}

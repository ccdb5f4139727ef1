package scheduler

import (
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/fsm"
)

// A guarantee is for jobs before it is for offers. What is on offer in a partition is
// the first that its own jobs take back, so it uses up nothing of what is guaranteed to
// them; nor does what is on offer beside it below the same guarantee, as far as they may
// take that. Who is covered only so ends those offers in the entry that takes the rest
// from others: a partition never has more than its guarantee on the strength of it.

// besideLoans reports whether something holds of a partition's guarantees: as things are,
// or once it took back what it may of what is on offer below them.
func (p *pass) besideLoans(path string, need api.Resources, holds func() bool) bool {
	if holds() {
		return true
	}
	var taken []string
	var amounts []api.Resources
	top := topOf(path)
	for _, other := range p.loans.below {
		sum := p.loans.of[other]
		if !api.PathWithin(other, top) || sum.Equal(api.Resources{}) {
			continue
		}
		if other != path {
			if sum = need.Least(sum); !p.round.MayRecall(path, other, need, sum) {
				continue
			}
		}
		p.round.Refund(other, sum)
		taken, amounts = append(taken, other), append(amounts, sum)
	}
	ok := len(taken) > 0 && holds()
	for k, other := range taken {
		p.round.Charge(other, amounts[k])
	}
	return ok
}

// guaranteed reports whether a partition has a guarantee, or is below one.
func (e *Engine) guaranteed(path string) bool {
	for ; path != ""; path = api.ParentPath(path) {
		if p := e.view.Partition(path); p != nil && !p.Guaranteed().IsZero() {
			return true
		}
	}
	return false
}

// topOf is the highest partition that one is in: no guarantee of one above it is another's.
func topOf(path string) string {
	for up := api.ParentPath(path); up != ""; up = api.ParentPath(path) {
		path = up
	}
	return path
}

// entitled is Round.Entitled of a partition's jobs.
func (p *pass) entitled(path string, need api.Resources) bool {
	return p.besideLoans(path, need, func() bool { return p.round.Entitled(path, need) })
}

// isAhead is Round.Ahead of a partition's jobs.
func (p *pass) isAhead(path, other string, need api.Resources) bool {
	return p.besideLoans(path, need, func() bool { return p.round.Ahead(path, other, need) })
}

// mayReclaim is Round.MayReclaim of a partition's jobs.
func (p *pass) mayReclaim(winner, victim string, need, lost api.Resources) bool {
	return p.besideLoans(winner, need, func() bool { return p.round.MayReclaim(winner, victim, need, lost) })
}

// loan is an offer, and where it is.
type loan struct {
	slot int
	victim
}

// claimBesideLoans is claimRoom for one that a guarantee covers once offers below it
// have ended: as many as it takes end with it, its own partition's first.
func (x *preemption) claimBesideLoans(t *turn, e *entry, u *unit, c *order.Class, slots []int, allow allowed) bool {
	path, before := t.q.part.Path, len(x.undo)
	if len(x.loans.below) == 0 {
		return false
	}
	lent := x.recallable(path, u.need)
	if len(lent) == 0 {
		return false
	}
	var got *victimSet
	if x.round.Entitled(path, u.need) {
		got = x.claimRoom(t, e, u, c, slots, allow)
	}
	if got == nil {
		x.rollBack(before)
		return false
	}
	enough := func() bool {
		x.round.Refund(path, u.need)
		defer x.round.Charge(path, u.need)
		if !x.round.Entitled(path, u.need) || x.round.Room(path, u.need) != "" || order.Lacks(x.comingTo(got.slot).Add(u.need), c.Need, c.AnyPorts) != "" {
			return false
		}
		return !slices.ContainsFunc(got.list, func(v victim) bool { return v.offer == nil && !x.round.Ahead(path, v.path(), u.need) })
	}
	ended := &fsm.OfferRemove{Meta: fsm.Meta{At: x.now, Actor: "scheduler"}, Reason: "taken back " + api.CauseOf(e.job.ID, path)}
	for _, l := range slices.Backward(lent) {
		x.keeps(l.slot, l.victim)
		if enough() {
			x.undo = append(x.undo, func() { x.gives(l.slot, l.victim) }) // as it was when this began
			continue
		}
		x.gives(l.slot, l.victim)
		ended.IDs = append(ended.IDs, l.offer.ID)
	}
	if len(ended.IDs) > 0 {
		x.cmds = append(x.cmds, ended)
	}
	return true
}

// recallable has all offers end on trial that the jobs of a partition may take back of
// those in it and beside it, its own first.
func (x *preemption) recallable(path string, need api.Resources) (out []loan) {
	top := topOf(path)
	for _, own := range []bool{true, false} {
		for _, slot := range x.loans.slots {
			for _, v := range x.lentOn(slot) {
				if (v.path() == path) == own && api.PathWithin(v.path(), top) && x.round.MayRecall(path, v.path(), need, need.Least(v.gives)) {
					x.giveWay(slot, v)
					out = append(out, loan{slot, v})
				}
			}
		}
	}
	return out
}

// rollBack takes back what the current job claimed since there was so much of it.
func (x *preemption) rollBack(to int) {
	for _, undo := range slices.Backward(x.undo[to:]) {
		undo()
	}
	x.undo = x.undo[:to]
}

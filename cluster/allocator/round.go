package allocator

import (
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Round is one round of service over one view: it says who is next as
// resources are handed out. It changes nothing but itself.
type Round struct {
	view *fsm.View
	t    *tree
	fair map[*part]float64 // once it was asked for
}

// Claimant is somebody for whom partitions want room: the jobs that wait, and
// whoever else Begin is told of.
type Claimant interface {
	// Wants is how many times something is wanted now in a partition, those below
	// it not counted.
	Wants(partition string) int
}

// backlog is the jobs that wait.
type backlog struct{ view *fsm.View }

func (b backlog) Wants(path string) int {
	u := b.view.Usage(path)
	return u.Pending - u.Held + u.Frozen
}

// Begin starts a round in which every partition takes part that has waiting jobs,
// or in which one of the others wants something.
func Begin(v *fsm.View, others ...Claimant) *Round {
	r := &Round{view: v, t: newTree(v, others...)}
	for _, c := range r.t.parts {
		for up := r.t.leaf(c.path); up != nil; up = up.parent {
			up.active = up.wants > 0
		}
	}
	r.keys(r.t.root)
	return r
}

func (r *Round) keys(c *part) {
	c.key = r.t.keyOf(c)
	for _, k := range c.children {
		r.keys(k)
	}
}

// Next is the path of the partition to serve next, "" when nobody is left.
func (r *Round) Next() string {
	c := r.t.root
	if !c.active {
		return ""
	}
	for len(c.children) > 0 {
		var best *part
		for _, k := range c.children {
			if k.active && (best == nil || k.key.less(best.key)) {
				best = k
			}
		}
		c = best
	}
	return c.path
}

// Done takes a partition out of the round: it can use nothing more.
func (r *Round) Done(path string) {
	c := r.t.leaf(path)
	if c == nil {
		return
	}
	c.active = false
	for up := c.parent; up != nil; up = up.parent {
		up.active = false
		for _, k := range up.children {
			up.active = up.active || k.active
		}
	}
}

// Room says why a partition may not hold so much more, "" if it may.
func (r *Round) Room(path string, need api.Resources) string {
	for c := r.t.leaf(path); c != nil; c = c.parent {
		if !c.limited {
			continue
		}
		if name, ok := within(c.limit, c.used, need); !ok {
			return fmt.Sprintf("partition %s is at its limit: %s of %s used, %s more asked for", c.path,
				api.FormatAmount(name, amountOf(c.used, name)), api.AmountText(name, c.limit.Of(name)), api.FormatAmount(name, amountOf(need, name)))
		}
	}
	return ""
}

// Held is what a partition holds in this round, with all below it.
func (r *Round) Held(path string) api.Resources {
	if c := r.t.parts[path]; c != nil {
		return c.used
	}
	return api.Resources{}
}

// Charge counts what was handed out to a partition.
func (r *Round) Charge(path string, need api.Resources) {
	if c := r.t.leaf(path); c != nil {
		r.t.charge(c, need, 1)
	}
}

// Refund counts what a partition gives back.
func (r *Round) Refund(path string, held api.Resources) {
	if c := r.t.leaf(path); c != nil {
		r.t.charge(c, held, -1)
	}
}

// Entitled reports whether a guarantee covers so much more for a partition: its
// own, or that of one above it, of which what its children leave is for all of
// them.
func (r *Round) Entitled(path string, need api.Resources) bool {
	for c := r.t.leaf(path); c != nil && c.parent != nil; c = c.parent {
		if c.covers(need) {
			return true
		}
	}
	return false
}

// Ahead reports whether a guarantee covers so much more for a partition that
// does not hold for the other one too.
func (r *Round) Ahead(path, other string, need api.Resources) bool {
	c, _ := r.apart(path, other)
	return c != nil && c.covers(need)
}

// Sooner reports whether a partition is served before another one as things are. Of two
// that do not hold each other one is.
func (r *Round) Sooner(path, other string) bool {
	x, y := r.apart(path, other)
	return x != nil && (x.key.less(y.key) || !y.key.less(x.key) && x.path < y.path)
}

// apart are the highest parts that hold one of two partitions and not the
// other; nil if there are none.
func (r *Round) apart(a, b string) (x, y *part) {
	x, y = r.t.leaf(a), r.t.leaf(b)
	if x == nil || y == nil || x == y {
		return nil, nil
	}
	for x.depth > y.depth && x.parent != nil {
		x = x.parent
	}
	for y.depth > x.depth {
		y = y.parent
	}
	for x.parent != y.parent {
		x, y = x.parent, y.parent
	}
	return x, y
}

// covers reports whether the part's guarantee covers so much more.
func (c *part) covers(need api.Resources) bool {
	if !c.promised {
		return false
	}
	_, ok := within(c.guarantee, c.used, need)
	return ok
}

// MayReclaim reports whether the winner may take need from a victim that would
// lose lost: the winner stays within its guarantee, and the victim borrowed
// what it loses. What each holds beyond its guarantee is what is compared: the
// winner's is nothing afterwards, so it is never above the victim's. That is
// also why taking back ends: with every step more of what runs is guaranteed
// to its owner, and nobody can take that.
func (r *Round) MayReclaim(winner, victim string, need, lost api.Resources) bool {
	w, v := r.apart(winner, victim)
	return w != nil && v != nil && w.covers(need) && r.borrowed(r.t.leaf(victim), v.parent, lost)
}

// MayRecall reports whether a partition may take need out of what is on offer to a
// framework of another one, which loses lost: as MayReclaim, or because it would be
// served before the other got that much, of which guarantees below those that are
// compared cover nothing. What is on offer within a partition is
// free to its jobs. Who takes back has less than the other had, so neither takes
// from the other in turn.
func (r *Round) MayRecall(winner, other string, need, lost api.Resources) bool {
	w, o := r.apart(winner, other)
	return w == nil || o == nil || r.MayReclaim(winner, other, need, lost) ||
		w.key.less(r.t.keyWith(o, o.used.Minus(lost))) && r.borrowed(r.t.leaf(other), o, lost)
}

// borrowed reports whether the victim, and each one above it below that part,
// holds what it loses beyond its guarantee.
func (r *Round) borrowed(v, below *part, lost api.Resources) bool {
	for c := v; c != below; c = c.parent {
		if c.promised && !beyond(c.guarantee, c.used, lost) {
			return false
		}
	}
	return true
}

// beyond reports whether what is lost was held beyond a guarantee. What counts is
// the resource of which the loss is the largest part of the guarantee: what is
// held of that must not fall below. What else is lost goes with it, as tasks cannot
// be divided; what the guarantee does not name, nobody was promised. A loss of
// nothing: whether what came next would be beyond it.
func beyond(g api.Amounts, used, lost api.Resources) bool {
	whole := lost.CPUs == 0 && lost.Mem == 0
	named, largest, lent := false, 0.0, false
	for name, v := range g.Each {
		has, loses := amountOf(used, name), amountOf(lost, name)
		if whole && has >= v {
			return true
		}
		if part := float64(loses) / float64(v); loses > 0 && part >= largest {
			lent = has-loses >= v || lent && part == largest
			named, largest = true, part
		}
	}
	return lent || !whole && !named
}

// Over lists the partitions that hold more than their limit, the deepest first.
func (r *Round) Over() []string {
	var out []string
	for path, c := range r.t.parts {
		for k, v := range c.limit.Each {
			if amountOf(c.used, k) > v {
				out = append(out, path)
				break
			}
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

package allocator

import (
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Round is one round of service over one view: it says who is next as
// resources are handed out. It changes nothing but itself.
type Round struct{ t *tree }

// Begin starts a round in which every partition with waiting work takes part.
func Begin(v *fsm.View) *Round {
	r := &Round{t: newTree(v)}
	for _, c := range r.t.parts {
		leaf := c
		if c.own != nil {
			leaf = c.own
		}
		u := v.Usage(c.path)
		if u.Pending+u.Frozen > 0 {
			for up := leaf; up != nil; up = up.parent {
				up.active = true
			}
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
			return fmt.Sprintf("partition %s is at its limit: %s of %s %s used, %s more asked for", c.path,
				api.FormatAmount(name, amountOf(c.used, name)), api.FormatAmount(name, c.limit.Of(name)), name, api.FormatAmount(name, amountOf(need, name)))
		}
	}
	return ""
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

// Entitled tells whether a partition's guarantee, and those of all above it,
// cover so much more.
func (r *Round) Entitled(path string, need api.Resources) bool {
	c := r.t.leaf(path)
	if c == nil || !c.promised {
		return false
	}
	for ; c.parent != nil; c = c.parent {
		if _, ok := within(c.guarantee, c.used, need); !ok {
			return false
		}
	}
	return true
}

// MayReclaim tells whether the winner may take need from a victim that would
// lose lost: the winner stays within its guarantee, and the victim borrowed
// what it loses. What each holds beyond its guarantee is what is compared: the
// winner's is nothing afterwards, so it is never above the victim's. That is
// also why taking back ends: with every step more of what runs is guaranteed
// to its owner, and nobody can take that.
func (r *Round) MayReclaim(winner, victim string, need, lost api.Resources) bool {
	w, v := r.t.leaf(winner), r.t.leaf(victim)
	return w != nil && v != nil && w != v && r.Entitled(winner, need) && r.borrowed(w, v, lost)
}

// borrowed tells whether the victim, or one above it that is not above the
// winner too, holds what it loses beyond its guarantee.
func (r *Round) borrowed(w, v *part, lost api.Resources) bool {
	above := map[*part]bool{}
	for c := w; c != nil; c = c.parent {
		above[c] = true
	}
	for c := v; c != nil && !above[c]; c = c.parent {
		if !c.promised {
			continue // it has nothing of its own
		}
		if covered(c.guarantee, c.used.Minus(lost)) {
			return false
		}
	}
	return true
}

// covered tells whether the rest after a loss would be below the guarantee in
// every resource that it names: then the loss was not borrowed.
func covered(g api.Amounts, rest api.Resources) bool {
	for name, v := range g.Each {
		if amountOf(rest, name) >= v {
			return false
		}
	}
	return true
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

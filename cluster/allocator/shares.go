package allocator

import (
	"iter"

	"github.com/mesita/mesita/fsm"
)

// name tells a part from all others: one with children has two, itself and its
// own jobs.
func (c *part) name() string {
	if c.parent != nil && c.parent.own == c {
		return c.path + "/"
	}
	return c.path
}

// Shares yields the dominant share of each part by its weight. Who wants nothing
// more counts as having what the least of its siblings has who does: when its
// work comes, it is owed nothing for the time in which it had none.
func (r *Round) Shares() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) { r.shares(r.t.root, yield) }
}

func (r *Round) shares(up *part, yield func(string, float64) bool) bool {
	least := -1.0
	for _, c := range up.children {
		if s := r.t.share(c); c.wants > 0 && (least < 0 || s < least) {
			least = s
		}
	}
	for _, c := range up.children {
		s := r.t.share(c)
		if c.wants == 0 {
			s = max(s, least)
		}
		if !yield(c.name(), s) || !r.shares(c, yield) {
			return false
		}
	}
	return true
}

// Apart is where the order of weights decides between two partitions: of the
// highest parts that hold one and not the other, the names, weights and shares
// by weight. It is false if there are none.
func (r *Round) Apart(a, b string) (names [2]string, weights, shares [2]float64, ok bool) {
	x, y := r.apart(a, b)
	if x == nil {
		return names, weights, shares, false
	}
	return [2]string{x.name(), y.name()}, [2]float64{x.weight, y.weight}, [2]float64{r.t.share(x), r.t.share(y)}, true
}

// Share is the dominant share that a partition's own jobs hold.
func (r *Round) Share(path string) float64 {
	c := r.t.leaf(path)
	if c == nil {
		return 0
	}
	return fsm.Dominant(c.used, r.t.capacity)
}

// Fair is the dominant share that a partition's own jobs are entitled to while
// others want theirs.
func (r *Round) Fair(path string) float64 {
	if r.fair == nil {
		r.fair = r.t.fairShares(r.view)
	}
	return r.fair[r.t.leaf(path)]
}

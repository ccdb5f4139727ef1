package scheduler

import (
	"cmp"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// The optimiser looks at so many waiting tasks and tries so many steps of an
// exact search: a budget in steps decides the same everywhere, one in time
// would not.
const (
	maxPacked  = 2000
	exactItems = 24
	exactSteps = 50_000
	maxPlans   = 16 // of one partition in a pass
)

// packing is a plan for the backlog of a partition. The order of the queue goes
// before it: a task whose turn it is starts where it fits, though the plan may have
// left it out. Where that took room that was planned for another, the plan is made
// anew for those whose turn has not come.
type packing struct {
	slot  map[packKey]int
	due   map[int]api.Resources // what is planned to go to each slot still
	past  map[packKey]bool      // tasks whose turn has come
	loose int                   // where the last one went that was not planned there, -1: nowhere
	plans int
}

type packKey struct {
	job   string
	index int
}

// packItem is one task to be packed: its need, and where it may go.
type packItem struct {
	need  api.Resources
	value float64 // the largest share of any one resource
	ok    func(bin int) bool
}

// planned is the slot that the plan for the whole backlog gives a task, if it
// still has room.
func (p *pass) planned(t *turn, u *unit) int {
	if t.packed == nil {
		t.packed = &packing{past: map[packKey]bool{}, loose: -1}
		p.pack(t)
	}
	pk, key := t.packed, packKey{t.entry.job.ID, u.index}
	i, ok := pk.slot[key]
	broken := ok && !t.seat.Class.Fits(i) || pk.loose >= 0 && !p.e.slots.Free[pk.loose].Fits(pk.due[pk.loose])
	if pk.loose = -1; broken && pk.plans < maxPlans {
		p.pack(t)
		i, ok = pk.slot[key]
	}
	if ok && !pk.past[key] {
		pk.due[i] = pk.due[i].Minus(u.need)
	}
	pk.past[key] = true
	if !ok || !t.seat.Class.Fits(i) || !p.mayUse(t, i, u.need) {
		return -1
	}
	return i
}

// pack plans the first tasks of a partition's backlog whose turn has not come, and of
// each user only as many as may run.
func (p *pass) pack(t *turn) {
	out := t.packed
	out.slot, out.due = map[packKey]int{}, map[int]api.Resources{}
	out.plans++
	var keys []packKey
	var items []packItem
	p.countAhead(-1) // whose turn it is has a place in the plan
	defer p.countAhead(1)
	planned := map[string]int{} // tasks by user
	cur := newCursor(t.q, func(user string) float64 { return p.e.userUse(t.q, user, p.now) })
	for e := cur.next(); e != nil && len(items) < maxPacked; e = cur.next() {
		who := p.running.Owner(e.job)
		mayRun := func() bool { return len(p.running.Bars(e.job, planned[who]+1)) == 0 }
		if t.capped[who] || !mayRun() {
			if p.view.Does(fsm.OneRoot) { // as where no more of a user may run
				cur.skip(who)
			}
			continue
		}
		if e.job.Spec.Gang > 0 {
			continue
		}
		c := p.e.classOf(e, t.q)
		units, _ := newUnits(p.view, e.job, p.now)
		for u := units.peek(); u != nil && len(items) < maxPacked && mayRun(); u = units.peek() {
			if key := (packKey{e.job.ID, u.index}); !out.past[key] {
				planned[who]++
				keys = append(keys, key)
				items = append(items, packItem{u.need, fsm.Dominant(u.need, p.e.slots.Most), func(i int) bool { return c.May(i) }})
			}
			units.pop()
		}
	}
	if t.entry != nil {
		t.seat.Enter() // the classes of others were looked at meanwhile
	}
	where, _ := packBins(items, slices.Clone(p.e.slots.Free))
	for k, i := range where {
		if i >= 0 {
			out.slot[keys[k]] = i
			out.due[i] = out.due[i].Add(items[k].need)
		}
	}
}

// packBins puts items into bins so that the value packed is large. It returns
// the bin of each item (-1: none) and an upper bound of the value that any
// packing can reach. Few items are packed exactly by branch and bound; many by
// best fit in order of decreasing value (Panigrahy et al., Heuristics for
// Vector Bin Packing, 2011), whose gap the bound tells.
func packBins(items []packItem, bins []api.Resources) (where []int, bound float64) {
	bound = packBound(items, bins)
	where = packGreedy(items, bins)
	if len(items) <= exactItems && packValue(items, where) < bound-1e-9 {
		s := &packSearch{items: items, bins: slices.Clone(bins), now: make([]int, len(items)), best: where, bestValue: packValue(items, where)}
		s.order()
		s.branch(0, 0)
		if s.steps <= exactSteps {
			bound = s.bestValue
		}
		where = s.best
	}
	return where, bound
}

func packValue(items []packItem, where []int) (v float64) {
	for k, i := range where {
		if i >= 0 {
			v += items[k].value
		}
	}
	return v
}

// packBound is the value of all items, or what the resources allow if they
// could be cut at will, whichever is less.
func packBound(items []packItem, bins []api.Resources) float64 {
	var free api.Resources
	for _, b := range bins {
		free.CPUs += max(0, b.CPUs)
		free.Mem += max(0, b.Mem)
	}
	all := 0.0
	for _, it := range items {
		all += it.value
	}
	bound := all
	for _, r := range []struct {
		free int64
		of   func(api.Resources) int64
	}{{int64(free.CPUs), func(r api.Resources) int64 { return int64(r.CPUs) }}, {int64(free.Mem), func(r api.Resources) int64 { return int64(r.Mem) }}} {
		bound = min(bound, fractional(items, r.free, r.of))
	}
	return bound
}

// fractional is the value of a knapsack in one resource whose last item may be
// cut.
func fractional(items []packItem, free int64, of func(api.Resources) int64) (v float64) {
	order := slices.Clone(items)
	slices.SortStableFunc(order, func(a, b packItem) int {
		return cmp.Compare(b.value*float64(of(a.need)), a.value*float64(of(b.need)))
	})
	for _, it := range order {
		n := of(it.need)
		if n <= free {
			free -= n
			v += it.value
			continue
		}
		if n > 0 {
			v += it.value * float64(free) / float64(n)
		}
		break
	}
	return v
}

func packGreedy(items []packItem, bins []api.Resources) []int {
	left := slices.Clone(bins)
	where := make([]int, len(items))
	order := make([]int, len(items))
	for k := range items {
		where[k], order[k] = -1, k
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(items[b].value, items[a].value) })
	for _, k := range order {
		best, bestLeft := -1, 0.0
		for i := range left {
			if !items[k].ok(i) || !left[i].Fits(items[k].need) {
				continue
			}
			rest := left[i].Minus(items[k].need)
			waste := imbalance(rest, bins[i])
			if best < 0 || waste < bestLeft {
				best, bestLeft = i, waste
			}
		}
		if best >= 0 {
			left[best] = left[best].Minus(items[k].need)
			where[k] = best
		}
	}
	return where
}

// imbalance is how much is left, and how lopsided: what is left of one
// resource without the other is lost.
func imbalance(rest, whole api.Resources) float64 {
	c, m := share(int64(rest.CPUs), int64(whole.CPUs)), share(int64(rest.Mem), int64(whole.Mem))
	return c + m + 2*max(c-m, m-c)
}

// packSearch is a depth-first search for the best packing.
type packSearch struct {
	items     []packItem
	bins      []api.Resources
	index     []int    // items by decreasing value
	takes     []uint32 // of each bin: a bit for each item that may go there, in that order
	byKind    []int    // bins, those that take the same items beside each other
	rest      []float64
	now, best []int
	bestValue float64
	steps     int
}

func (s *packSearch) order() {
	for k := range s.items {
		s.index = append(s.index, k)
		s.now[k] = -1
	}
	slices.SortStableFunc(s.index, func(a, b int) int { return cmp.Compare(s.items[b].value, s.items[a].value) })
	s.rest = make([]float64, len(s.items)+1)
	for d := len(s.items) - 1; d >= 0; d-- {
		s.rest[d] = s.rest[d+1] + s.items[s.index[d]].value
	}
	s.takes = make([]uint32, len(s.bins))
	for i := range s.bins {
		s.byKind = append(s.byKind, i)
		for d, k := range s.index {
			if s.items[k].ok(i) {
				s.takes[i] |= 1 << d
			}
		}
	}
	slices.SortStableFunc(s.byKind, func(a, b int) int { return cmp.Compare(s.takes[a], s.takes[b]) })
}

func (s *packSearch) branch(depth int, value float64) {
	if s.steps++; s.steps > exactSteps || value+s.rest[depth] <= s.bestValue+1e-12 {
		return
	}
	if depth == len(s.items) {
		s.best, s.bestValue = slices.Clone(s.now), value
		return
	}
	k := s.index[depth]
	it := &s.items[k]
	for n, i := range s.byKind {
		if s.takes[i]>>depth&1 == 0 || !s.bins[i].Fits(it.need) || n > 0 && s.twins(s.byKind[n-1], i, depth) {
			continue
		}
		before := s.bins[i]
		s.bins[i], s.now[k] = before.Minus(it.need), i
		s.branch(depth+1, value+it.value)
		s.bins[i], s.now[k] = before, -1
	}
	s.branch(depth+1, value)
}

// twins reports whether two bins have just as much left, and may take the same of
// all items from that depth on: trying both would find the same.
func (s *packSearch) twins(a, b, depth int) bool {
	return s.takes[a]>>depth == s.takes[b]>>depth && s.bins[a].Equal(s.bins[b])
}

func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

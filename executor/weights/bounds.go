package weights

import (
	"cmp"
	"maps"
	"math/bits"
	"path"
	"sort"
	"strings"
)

// Bound is the most that all tasks of a group may use, on whichever node, in
// thousandths of a CPU, and what they were guaranteed together. Each node's part
// is by what its own were guaranteed, so no node has to know of the others.
type Bound struct{ Limit, Requested int64 }

// here is a node's part, whose tasks were guaranteed so much: never less than
// that, if the limit was lowered since.
func (b Bound) here(guaranteed int64) int64 {
	all := max(b.Requested, guaranteed)
	if b.Limit <= all || all == 0 {
		return guaranteed
	}
	hi, lo := bits.Mul64(uint64(guaranteed), uint64(b.Limit))
	part, _ := bits.Div64(hi, lo, uint64(all)) // guaranteed ≤ all, so it fits
	return int64(part)
}

// bounds are the most that groups may use: of partitions, as the cluster tells
// it, and of tasks, as they asked for it. Weights guards it.
type bounds struct {
	told  map[string]Bound    // nil: the cluster said nothing yet, and what is in the kernel stays
	own   map[string]int64    // of slices that asked for a limit
	wrote map[string]int64    // of groups that are told of, as it was last
	due   map[string]struct{} // groups to write
	sweep bool                // what an earlier daemon left is to be looked for
}

func newBounds() bounds {
	return bounds{own: map[string]int64{}, wrote: map[string]int64{}, due: map[string]struct{}{}}
}

// Unlimited is a limit that lifts one which may be there, though this process did
// not set it.
const Unlimited = -1

// set says which limit the task in a slice asked for; 0: none, or it has ended.
func (b *bounds) set(slice string, limit int64, ended bool) {
	switch was := b.own[slice]; {
	case ended:
		delete(b.own, slice)
		delete(b.due, slice)
	case limit > 0:
		b.own[slice] = limit
		b.due[slice] = struct{}{}
	case limit == Unlimited || was > 0:
		delete(b.own, slice)
		b.due[slice] = struct{}{}
	}
}

// moved is told of each group in which something began or ended: its part may be
// another, and it may have been made anew.
func (b *bounds) moved(group string, sum int64) {
	if _, ok := b.told[group]; !ok {
		return
	}
	if sum > 0 {
		b.due[group] = struct{}{}
		return
	}
	delete(b.wrote, group)
	delete(b.due, group)
}

// Bound says which groups are bounded from now on, and no others; Write makes it
// so. It reports whether there is something to write.
func (w *Weights) Bound(all map[string]Bound) (due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.bounds
	b.sweep = b.sweep || b.told == nil
	for group, is := range all {
		if was, ok := b.told[group]; !ok || was != is {
			b.due[group] = struct{}{}
		}
	}
	for group := range b.told {
		if _, ok := all[group]; !ok {
			b.due[group] = struct{}{}
		}
	}
	b.told = maps.Clone(all)
	if b.told == nil {
		b.told = map[string]Bound{}
	}
	return (len(b.due) > 0 || b.sweep) && w.ask()
}

// Bounded is a group's bound on this node.
type Bounded struct {
	Group string
	Limit int64 // on all nodes
	Here  int64 // on this one
}

// Bounds are those that hold for a slice, of the groups above it, the nearest
// first.
func (w *Weights) Bounds(slice string) (out []Bounded) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for group := path.Dir(slice); group != "."; group = path.Dir(group) {
		if b, ok := w.bounds.told[group]; ok {
			out = append(out, Bounded{group, b.Limit, b.here(w.sums[group].CPUs)})
		}
	}
	return out
}

// writeBounds writes the bounds that are due, those of upper groups first. It is
// called by one at a time.
func (w *Weights) writeBounds() error {
	w.mu.Lock()
	sweep := w.bounds.sweep
	w.bounds.sweep = false
	w.mu.Unlock()
	var first error
	if sweep {
		left, err := w.kernel.Limited()
		first = err
		w.mu.Lock()
		w.bounds.sweep = w.bounds.sweep || err != nil
		for _, group := range left {
			w.bounds.due[group] = struct{}{}
		}
		w.mu.Unlock()
	}
	for _, l := range w.takeBounds() {
		err := ignoreGone(w.kernel.LimitCPU(l.group, l.most))
		if err != nil {
			w.boundAgain(l.group)
		}
		first = cmp.Or(first, err)
	}
	return first
}

// boundAgain has the next Write try a bound that was not written, and those below
// it: a kernel may have kept them below what it has now.
func (w *Weights) boundAgain(group string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.bounds
	delete(b.wrote, group)
	b.due[group] = struct{}{}
	for slice := range b.own {
		if strings.HasPrefix(slice, group+"/") {
			b.due[slice] = struct{}{}
		}
	}
	for part := range b.told {
		if strings.HasPrefix(part, group+"/") {
			b.due[part] = struct{}{}
		}
	}
}

type limit struct {
	group string
	most  int64 // 0: lifted
}

// takeBounds lists what is due, and those below a group whose bound is raised:
// a kernel may have kept them below it.
func (w *Weights) takeBounds() (out []limit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.bounds
	raised := map[string]int64{}
	for group := range b.due {
		was, wrote := b.wrote[group]
		now := w.bound(group)
		switch _, told := b.told[group]; {
		case told && now == 0: // nothing that counts runs in it as far as is known yet: it keeps what it has
			delete(b.due, group)
			continue
		case told:
			b.wrote[group] = now
		default:
			delete(b.wrote, group)
		}
		if wrote && (now == 0 || now > was) {
			raised[group] = was
		}
	}
	if len(raised) > 0 {
		for slice, most := range b.own {
			if above(slice, most, raised) {
				b.due[slice] = struct{}{}
			}
		}
		for group := range b.told {
			if above(group, w.bound(group), raised) {
				b.due[group] = struct{}{}
			}
		}
	}
	for group := range b.due {
		out = append(out, limit{group, w.bound(group)})
	}
	clear(b.due)
	sort.Slice(out, func(i, j int) bool { return out[i].group < out[j].group })
	return out
}

// bound is what a group or slice may use at most; 0: as much as there is.
func (w *Weights) bound(group string) int64 {
	if b, ok := w.bounds.told[group]; ok {
		return b.here(w.sums[group].CPUs)
	}
	return w.bounds.own[group]
}

// above reports whether a group may use more than one above it might before.
func above(group string, most int64, raised map[string]int64) bool {
	for up := path.Dir(group); up != "."; up = path.Dir(up) {
		if was, ok := raised[up]; ok && most > was {
			return true
		}
	}
	return false
}

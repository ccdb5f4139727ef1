package order

import (
	"math"
	"slices"
)

// none is the key of a slot that cannot be chosen.
var none = math.Inf(1)

// fanOut is how many are compared with each other at each level. Sixteen keys
// are two lines of a CPU's cache: making a tree of them is one walk over the
// keys, and a key that changes is seldom its group's smallest, so that little
// above it changes.
const fanOut = 16

// tournament finds the smallest of many keys: changing one costs a comparison,
// reading the smallest O(log n) for each that was changed since, and less if they
// are neighbours. Of equal keys the first wins.
type tournament struct {
	key    []float64 // of each slot
	levels [][]winner
	stale  []int32 // groups of the lowest level whose smallest may be another
	marked []bool  // they are among the stale
}

// winner is the smallest of a group of keys.
type winner struct {
	key  float64
	slot int32
}

// newTournament keeps keys.
func newTournament(keys []float64) *tournament {
	first := make([]winner, groupsOf(len(keys)))
	t := &tournament{key: keys, marked: make([]bool, len(first))}
	for g := range first {
		first[g] = smallest(keys, g)
	}
	t.levels = append(t.levels, first)
	for len(t.levels[len(t.levels)-1]) > 1 {
		below := t.levels[len(t.levels)-1]
		level := make([]winner, groupsOf(len(below)))
		for g := range level {
			level[g] = best(below, g)
		}
		t.levels = append(t.levels, level)
	}
	return t
}

func groupsOf(n int) int { return max(1, (n+fanOut-1)/fanOut) }

// smallest is the winner of a group of keys.
func smallest(keys []float64, group int) winner {
	from := group * fanOut
	w := winner{none, int32(from)}
	for i, k := range keys[from:min(from+fanOut, len(keys))] {
		if k < w.key {
			w = winner{k, int32(from + i)}
		}
	}
	return w
}

// best is the winner of a group of winners.
func best(of []winner, group int) winner {
	from := group * fanOut
	w := of[from]
	for _, x := range of[from+1 : min(from+fanOut, len(of))] {
		if x.key < w.key {
			w = x
		}
	}
	return w
}

func (t *tournament) clone() *tournament {
	if t == nil {
		return nil
	}
	t.settle()
	n := &tournament{key: slices.Clone(t.key), levels: slices.Clone(t.levels), marked: make([]bool, len(t.marked))}
	for l := range n.levels {
		n.levels[l] = slices.Clone(n.levels[l])
	}
	return n
}

func (t *tournament) set(i int, key float64) {
	if t.key[i] == key {
		return
	}
	t.key[i] = key
	group := i / fanOut
	if w := &t.levels[0][group]; !t.marked[group] && (int(w.slot) == i || key < w.key || key == w.key && i < int(w.slot)) {
		t.marked[group] = true
		t.stale = append(t.stale, int32(group))
	}
}

// settle finds the smallest of each group in which it may be another.
func (t *tournament) settle() {
	if len(t.stale) == 0 {
		return
	}
	next := t.stale[:0]
	for _, g := range t.stale {
		t.marked[g] = false
		next = rise(next, t.levels[0], int(g), smallest(t.key, int(g)))
	}
	for l := 1; l < len(t.levels); l++ {
		level := next
		next = next[:0]
		for _, g := range level {
			next = rise(next, t.levels[l], int(g), best(t.levels[l-1], int(g)))
		}
	}
	t.stale = t.stale[:0]
}

// rise notes the winner of a group, and that the group above it has to be looked
// at if it is another.
func rise(above []int32, level []winner, group int, w winner) []int32 {
	if level[group] == w {
		return above
	}
	level[group] = w
	if up := int32(group / fanOut); len(above) == 0 || above[len(above)-1] != up {
		above = append(above, up)
	}
	return above
}

// min is the slot with the smallest key, -1 if none can be chosen.
func (t *tournament) min() (slot int, key float64) {
	t.settle()
	if w := t.levels[len(t.levels)-1][0]; w.key < none {
		return int(w.slot), w.key
	}
	return -1, none
}

// size is what it takes, in bytes.
func (t *tournament) size() int64 {
	n := int64(len(t.key)) * 8
	for _, l := range t.levels {
		n += int64(len(l)) * 16
	}
	return n
}

package scheduler

import (
	"math"
	"slices"
)

// none is the key of a slot that cannot be chosen.
var none = math.Inf(1)

// tournament finds the smallest of many keys: changing one costs O(log n),
// reading the smallest nothing. Of equal keys the first wins.
type tournament struct {
	size int       // a power of two
	key  []float64 // of each slot
	win  []int32   // win[1] is the winner of all; the leaf of slot i is size+i
}

func newTournament(keys []float64) *tournament {
	size := 1
	for size < len(keys) {
		size *= 2
	}
	t := &tournament{size: size, key: make([]float64, size), win: make([]int32, 2*size)}
	for i := range size {
		t.key[i] = none
		if i < len(keys) {
			t.key[i] = keys[i]
		}
		t.win[size+i] = int32(i)
	}
	for i := size - 1; i > 0; i-- {
		t.win[i] = t.better(t.win[2*i], t.win[2*i+1])
	}
	return t
}

func (t *tournament) clone() *tournament {
	if t == nil {
		return nil
	}
	return &tournament{t.size, slices.Clone(t.key), slices.Clone(t.win)}
}

func (t *tournament) better(a, b int32) int32 {
	if t.key[b] < t.key[a] {
		return b
	}
	return a
}

func (t *tournament) set(i int, key float64) {
	if t.key[i] == key {
		return
	}
	t.key[i] = key
	for n := (t.size + i) / 2; n > 0; n /= 2 {
		t.win[n] = t.better(t.win[2*n], t.win[2*n+1])
	}
}

// min is the slot with the smallest key, -1 if none can be chosen.
func (t *tournament) min() (slot int, key float64) {
	i := int(t.win[1])
	if k := t.key[i]; k < none {
		return i, k
	}
	return -1, none
}

// lottery draws one of many slots with a probability in proportion to its
// weight.
type lottery struct {
	size int
	sum  []float64 // sum[1] is the sum of all; the leaf of slot i is size+i
}

func newLottery(weights []float64) *lottery {
	size := 1
	for size < len(weights) {
		size *= 2
	}
	l := &lottery{size: size, sum: make([]float64, 2*size)}
	copy(l.sum[size:], weights)
	for i := size - 1; i > 0; i-- {
		l.sum[i] = l.sum[2*i] + l.sum[2*i+1]
	}
	return l
}

func (l *lottery) clone() *lottery {
	if l == nil {
		return nil
	}
	return &lottery{l.size, slices.Clone(l.sum)}
}

func (l *lottery) set(i int, weight float64) {
	l.sum[l.size+i] = weight
	for n := (l.size + i) / 2; n > 0; n /= 2 { // anew from below, so that no error adds up
		l.sum[n] = l.sum[2*n] + l.sum[2*n+1]
	}
}

// draw picks the slot at x, from 0 to below 1, of the sum; -1 if all weigh
// nothing.
func (l *lottery) draw(x float64) int {
	if l.sum[1] <= 0 {
		return -1
	}
	x *= l.sum[1]
	n := 1
	for n < l.size {
		n *= 2
		if left := l.sum[n]; x >= left && l.sum[n+1] > 0 {
			x -= left
			n++
		}
	}
	return n - l.size
}

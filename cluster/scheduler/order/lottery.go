package order

import "slices"

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
	if l.sum[l.size+i] == weight {
		return
	}
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

package chart

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// band is a part of a row's height, in thousandths of a core.
type band struct{ from, to int64 }

// lane is a bar with its place in the row; a bar may need more than one when
// no gap is high enough for it.
type lane struct {
	*Bar
	bands []band
}

// lanes gives each bar a place that no other has at the time.
func lanes(r *Row) []lane {
	order := make([]int, len(r.Bars))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := &r.Bars[a], &r.Bars[b]
		return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(y.CPUs, x.CPUs), cmp.Compare(a, b))
	})
	var out, active []lane
	for _, i := range order {
		bar := &r.Bars[i]
		active = slices.DeleteFunc(active, func(l lane) bool { return l.To <= bar.From })
		l := lane{Bar: bar}
		if !bar.Frozen {
			l.bands = place(gaps(active, r.CPUs), bar.CPUs)
			active = append(active, l)
		}
		out = append(out, l)
	}
	return out
}

// gaps are the bands that no active bar holds, the lowest first.
func gaps(active []lane, height int64) []band {
	var taken []band
	for _, l := range active {
		taken = append(taken, l.bands...)
	}
	sort.Slice(taken, func(i, j int) bool { return taken[i].from < taken[j].from })
	var out []band
	at := int64(0)
	for _, t := range taken {
		if t.from > at {
			out = append(out, band{at, t.from})
		}
		at = max(at, t.to)
	}
	if at < height {
		out = append(out, band{at, height})
	}
	return out
}

// place takes the first gap that is high enough, else parts of several.
func place(free []band, need int64) []band {
	for _, g := range free {
		if g.to-g.from >= need {
			return []band{{g.from, g.from + need}}
		}
	}
	var out []band
	for _, g := range free {
		n := min(need, g.to-g.from)
		if n <= 0 {
			break
		}
		out = append(out, band{g.from, g.from + n})
		need -= n
	}
	return out
}

// buckets are equal stretches of time, each with a mean.
type buckets struct {
	first, size time.Duration
	values      []float64 // partial amounts
	steps       []float64 // changes of the amount of whole buckets
}

func newBuckets(a axis, n int) *buckets {
	size := max(1, (a.last-a.first+time.Duration(n)-1)/time.Duration(n))
	return &buckets{a.first, size, make([]float64, n), make([]float64, n+1)}
}

// add counts an amount that was there for a span.
func (b *buckets) add(s Span, amount float64) {
	n := len(b.values)
	end := b.first + time.Duration(n)*b.size
	from, to := max(s.From, b.first), min(s.To, end)
	if to <= from {
		return
	}
	i, k := int((from-b.first)/b.size), int((to-b.first)/b.size)
	part := func(d time.Duration) float64 { return amount * float64(d) / float64(b.size) }
	if i == k {
		b.values[i] += part(to - from)
		return
	}
	b.values[i] += part(b.first + time.Duration(i+1)*b.size - from)
	b.steps[i+1] += amount
	b.steps[k] -= amount
	if k < n {
		b.values[k] += part(to - b.first - time.Duration(k)*b.size)
	}
}

// means is the mean amount of each bucket.
func (b *buckets) means() []float64 {
	out := make([]float64, len(b.values))
	level := 0.0
	for i := range out {
		level += b.steps[i]
		out[i] = max(0, level+b.values[i])
	}
	return out
}

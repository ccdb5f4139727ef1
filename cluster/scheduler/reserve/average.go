package reserve

import (
	"maps"
	"slices"
	"time"
)

// Averages sums up over time what shares were, by name.
type Averages struct {
	at    time.Time
	index map[string]int
	sum   []float64 // share times seconds
	now   []float64 // shares since at
}

// Advance counts the shares that were set last until now.
func (a *Averages) Advance(now time.Time) (seconds float64) {
	if !a.at.IsZero() {
		seconds = max(0, now.Sub(a.at).Seconds()) // a clock may be set back
	}
	a.at = now
	if seconds > 0 {
		for i, s := range a.now {
			a.sum[i] += s * seconds
		}
	}
	return seconds
}

// Set says what a share is from now on.
func (a *Averages) Set(name string, share float64) {
	i, ok := a.index[name]
	if !ok {
		if a.index == nil {
			a.index = map[string]int{}
		}
		i = len(a.sum)
		a.index[name], a.sum, a.now = i, append(a.sum, 0), append(a.now, 0)
	}
	a.now[i] = share
}

// Len is of how many names there are sums, also of those that are no more.
func (a *Averages) Len() int { return len(a.sum) }

// Mark is where the sums are now, for Since.
func (a *Averages) Mark() []float64 { return slices.Clone(a.sum) }

// Since is a share times seconds, summed up since a mark, or since there was one
// of that name.
func (a *Averages) Since(mark []float64, name string) float64 {
	i, ok := a.index[name]
	if !ok {
		return 0
	}
	if i < len(mark) {
		return a.sum[i] - mark[i]
	}
	return a.sum[i]
}

// Clone is averages of their own that continue from here.
func (a *Averages) Clone() Averages {
	return Averages{at: a.at, index: maps.Clone(a.index), sum: slices.Clone(a.sum), now: slices.Clone(a.now)}
}

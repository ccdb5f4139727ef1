package fsm

import (
	"math"
	"slices"
	"time"
)

// This file is what is learned in a cluster below the level of
// IntegerLearning, as programs without levels do it: in floating point. It
// must not change, or voters of the two would differ, and goes when no such
// cluster is left.

// floatMarkers are the markers of a runtimeRow.
type floatMarkers struct {
	Height [5]float64 // seconds
	Pos    [5]float64
}

const floatQuantile = 0.75

// add returns the count of runs.
func (r *floatMarkers) add(count int, x float64) int {
	if count < 5 {
		r.Height[count] = x
		count++
		slices.Sort(r.Height[:count])
		if count == 5 {
			r.Pos = [5]float64{1, 2, 3, 4, 5}
		}
		return count
	}
	count++
	k := 0
	switch {
	case x < r.Height[0]:
		r.Height[0] = x
	case x >= r.Height[4]:
		r.Height[4], k = x, 3
	default:
		k = below(r.Height[:], x)
	}
	for i := k + 1; i < 5; i++ {
		r.Pos[i]++
	}
	n := float64(count - 1)
	for i, step := range [5]float64{0, floatQuantile / 2, floatQuantile, (1 + floatQuantile) / 2, 1} {
		if i > 0 && i < 4 {
			r.move(i, 1+n*step-r.Pos[i])
		}
	}
	return count
}

// move brings marker i nearer to where it should be, d places away.
func (r *floatMarkers) move(i int, d float64) {
	if !(d >= 1 && r.Pos[i+1]-r.Pos[i] > 1 || d <= -1 && r.Pos[i-1]-r.Pos[i] < -1) {
		return
	}
	s := math.Copysign(1, d)
	q, n := &r.Height, &r.Pos
	parabolic := q[i] + s/(n[i+1]-n[i-1])*((n[i]-n[i-1]+s)*(q[i+1]-q[i])/(n[i+1]-n[i])+(n[i+1]-n[i]-s)*(q[i]-q[i-1])/(n[i]-n[i-1]))
	if q[i-1] < parabolic && parabolic < q[i+1] {
		q[i] = parabolic
	} else {
		j := i + int(s)
		q[i] += s * (q[j] - q[i]) / (n[j] - n[i])
	}
	n[i] += s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func decayedFloat(value float64, at, now time.Time, half time.Duration) float64 {
	if value == 0 || half <= 0 || !now.After(at) {
		return value
	}
	return value * math.Exp2(-float64(now.Sub(at))/float64(half))
}

// snapshotRuntime and snapshotUse are how a snapshot of such a cluster keeps
// them.
type snapshotRuntime struct {
	Key    string     `json:"key"`
	Count  int        `json:"count"`
	Height [5]float64 `json:"height"`
	Pos    [5]float64 `json:"pos"`
	Used   time.Time  `json:"used"`
}

type snapshotUse struct {
	Partition string    `json:"partition"`
	User      string    `json:"user"`
	Value     float64   `json:"value"`
	At        time.Time `json:"at"`
}

var floatRuntime = form[runtimeRow]{record: recRuntime, below: 1,
	out: func(r *runtimeRow) any {
		return snapshotRuntime{r.Key, r.Count, r.floats.Height, r.floats.Pos, r.Used}
	},
	in: func(body []byte) (*runtimeRow, error) {
		r, err := decoded[snapshotRuntime](body)
		return &runtimeRow{Key: r.Key, Count: r.Count, Used: r.Used, floats: &floatMarkers{r.Height, r.Pos}}, err
	}}

var floatUse = form[useRow]{record: recUse, below: 1,
	out: func(r *useRow) any { return snapshotUse{r.Partition, r.User, r.float, r.At} },
	in: func(body []byte) (*useRow, error) {
		u, err := decoded[snapshotUse](body)
		return &useRow{Partition: u.Partition, User: u.User, At: u.At, float: u.Value}, err
	}}

// learnIntegers turns what was learned so far into integers. Rounding also
// ends what two kinds of processors may have made of it.
func (x *tx) learnIntegers() {
	x.runtimes.rewrite(func(old *runtimeRow) *runtimeRow {
		r := *old
		r.floats = nil
		for i := range r.Height {
			r.Height[i], r.Place[i] = rounded(old.floats.Height[i], 1e6), rounded(old.floats.Pos[i], 1)
		}
		return &r
	})
	x.uses.rewrite(func(old *useRow) *useRow {
		r := *old
		r.Value, r.float = rounded(old.float, 1e9), 0
		return &r
	})
}

// rounded is v in parts, at most half of what an int64 holds: what a larger
// one would become differs between processors.
func rounded(v, parts float64) int64 {
	v = math.Round(v * parts)
	switch {
	case !(v > 0):
		return 0
	case v >= math.MaxInt64/2:
		return math.MaxInt64 / 2
	}
	return int64(v)
}

package chart

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// axis maps times to pixels.
type axis struct {
	first, last time.Duration
	from, to    float64
}

func newAxis(first, last time.Duration, from, to float64) axis {
	return axis{first, max(last, first+time.Millisecond), from, to}
}

func (a axis) x(t time.Duration) float64 {
	t = min(max(t, a.first), a.last)
	return a.from + float64(t-a.first)/float64(a.last-a.first)*(a.to-a.from)
}

// steps are the distances between the marks of a time axis.
var steps = []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
	2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 2 * day, 7 * day, 14 * day, 28 * day, 91 * day, 364 * day, 1820 * day}

const day = 24 * time.Hour

// ticks are about n round times.
func (a axis) ticks(n int) []time.Duration {
	step := steps[len(steps)-1]
	for _, s := range steps {
		if (a.last-a.first)/s <= time.Duration(n) {
			step = s
			break
		}
	}
	var out []time.Duration
	for t := (a.first + step - 1) / step * step; t <= a.last; t += step {
		out = append(out, t)
	}
	return out
}

// label is a time as short as it can be said.
func label(t time.Duration) string {
	switch {
	case t == 0:
		return "0"
	case t < time.Second:
		return t.String()
	}
	text := ""
	for _, u := range []struct {
		size time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := t / u.size; n > 0 {
			text += fmt.Sprintf("%d%s ", n, u.name)
			t -= n * u.size
		}
	}
	return strings.TrimSpace(text)
}

// niceMax is the least round number that is not below v.
func niceMax(v float64) float64 {
	if v <= 1 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.5, 2, 3, 4, 6, 8, 10} {
		if m*base >= v {
			return m * base
		}
	}
	return v
}

// count writes a number of tasks.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + "k"
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

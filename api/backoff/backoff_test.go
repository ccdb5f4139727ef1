package backoff

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitsDoubleUpToTheMost(t *testing.T) {
	b := New(100*time.Millisecond, time.Second)
	for range 2 { // Reset begins anew
		for i, bound := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			bound *= time.Millisecond
			if first := b.First(); first != (i == 0) {
				t.Errorf("wait %d: First is %v", i, first)
			}
			if d := b.Next(); d < bound/2 || d > bound {
				t.Errorf("wait %d is %v, want %v to %v", i, d, bound/2, bound)
			}
		}
		b.Reset()
	}
}

// A thousand who failed at the same moment must not come back together.
func TestWaitsSpread(t *testing.T) {
	var waits []time.Duration
	for range 1000 {
		waits = append(waits, New(time.Second, time.Minute).Next())
	}
	slices.Sort(waits)
	within := 0 // the most of them in a hundredth of the spread
	for i := range waits {
		j, _ := slices.BinarySearch(waits, waits[i]+5*time.Millisecond)
		within = max(within, j-i)
	}
	if within > 40 { // 10 are expected; some 14 deviations more never happen
		t.Errorf("%d of 1000 waits are within 5 ms of each other", within)
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if Pause(ctx, time.Hour) || time.Since(begin) != time.Second {
			t.Errorf("continued %v after the start, want an end after 1s", time.Since(begin))
		}
		if !New(time.Second, time.Second).Wait(t.Context()) {
			t.Error("a wait that nobody ended says that it was")
		}
	})
}

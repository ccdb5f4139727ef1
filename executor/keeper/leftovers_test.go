package keeper

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What starts leave is given back once none follows, and not between two that do, nor
// for a few.
func TestWhatStartsLeaveIsGivenBack(t *testing.T) {
	for _, c := range []struct {
		starts int
		apart  time.Duration
		want   int
	}{
		{muchLeft - 1, 0, 0}, {muchLeft, 0, 1}, {10 * muchLeft, 0, 1}, {10 * muchLeft, quietAfter - 1, 1}, {muchLeft, time.Hour, 1}, {2 * muchLeft, time.Hour, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var given atomic.Int32
			l := leftovers{free: func() { given.Add(1) }}
			for range c.starts {
				l.add()
				time.Sleep(c.apart)
			}
			time.Sleep(quietAfter)
			synctest.Wait()
			if given := int(given.Load()); given != c.want {
				t.Errorf("%d starts, %v apart: given back %d times, want %d", c.starts, c.apart, given, c.want)
			}
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if given := int(given.Load()); given != c.want {
				t.Errorf("%d starts, %v apart: given back %d times a day later, want %d", c.starts, c.apart, given, c.want)
			}
		})
	}
}

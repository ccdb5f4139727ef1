package executor

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Starts are let in one after the other, so many at once, and one that takes longer
// than others wait for keeps none out.
func TestThePaceOfStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		var mu sync.Mutex // guards the rest, as places are given by timers, too
		var in []int
		leaves := map[int]func(){}
		for i := range maxPrepared + 3 {
			p.enter(func(leave func()) {
				mu.Lock()
				defer mu.Unlock()
				in = append(in, i)
				leaves[i] = leave
			})
		}
		leave := func(i int) {
			mu.Lock()
			f := leaves[i]
			mu.Unlock()
			f()
		}
		inside := func() []int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(in)
		}
		if n := len(inside()); n != maxPrepared {
			t.Fatalf("%d are in, not %d", n, maxPrepared)
		}
		leave(5)
		leave(5) // once is enough
		if in, want := inside(), maxPrepared; len(in) != want+1 || in[want] != want {
			t.Fatalf("after one left: %v", in)
		}
		time.Sleep(2 * pacePatience)
		synctest.Wait()
		if in := inside(); len(in) != maxPrepared+3 || !slices.IsSorted(in[:maxPrepared+1]) { // and two at once
			t.Fatalf("nobody leaves: %v", in)
		}
		for i := range maxPrepared + 3 {
			leave(i)
		}
		time.Sleep(2 * pacePatience)
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.inside != 0 || len(p.waiting) != 0 {
			t.Errorf("%d are in, %d wait", p.inside, len(p.waiting))
		}
	})
}

package budget

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestPaces: each has its own pace, all together have one, what is refused uses
// nothing, and no more callers are remembered than there is room for.
func TestPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(Pace{10, 20}, Pace{15, 40})
		for i, want := range []time.Duration{0, 0, 500 * time.Millisecond, 500 * time.Millisecond} {
			if got := r.Try("a", []float64{10, 10, 5, 5}[i]); got != want {
				t.Errorf("%d: wait %v, want %v", i, got, want)
			}
		}
		if got := r.Take("a", 5); got != 500*time.Millisecond {
			t.Errorf("who takes it anyway waits %v", got)
		}
		time.Sleep(500 * time.Millisecond)
		if got := r.Take("b", 20); got != 0 {
			t.Errorf("another waits %v", got)
		}
		if got := r.Try("c", 15); got <= 0 {
			t.Error("all together have more than they may")
		}
		time.Sleep(time.Minute)
		for i := range 3 * maxPaced {
			r.Try(fmt.Sprint(i), 0.001)
		}
		if len(r.of) > maxPaced {
			t.Errorf("%d are remembered", len(r.of))
		}
	})
}

// TestStrangersArePaced: who is not known sends no faster than strangers may, and
// as fast as it can once it is.
func TestStrangersArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := NewConns(DefaultConns, slog.New(slog.DiscardHandler), nil)
		here, there := net.Pipe()
		defer here.Close()
		c := conns.Wrap(there)
		c.Charge(Who{Stranger, "1.2.3.4"})
		go func() {
			for b := make([]byte, 64<<10); ; {
				if _, err := here.Write(b); err != nil {
					return
				}
			}
		}()
		take := func(n int64) time.Duration {
			begun := time.Now()
			if _, err := io.CopyN(io.Discard, c, n); err != nil {
				t.Fatal(err)
			}
			return time.Since(begun)
		}
		if took := take(int64(strangersEach.Burst)); took != 0 {
			t.Errorf("what one may at once took %v", took)
		}
		if took := take(int64(10 * strangersEach.Second)); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("what one may in 10 s took %v", took)
		}
		c.Known(Who{User, "token ci"})
		if took := take(int64(100 * strangersEach.Second)); took != 0 {
			t.Errorf("of who is known it took %v", took)
		}
		c.Close()
	})
}

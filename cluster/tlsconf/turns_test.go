package tlsconf

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: addresses take turns, nodes have three of four, of one address the
// newest is first, and who gave up takes none.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if err := turns.take(t.Context(), "first", ofOthers); err != nil {
			t.Fatal(err)
		}
		var got []string
		gone, leave := context.WithCancel(t.Context())
		wait := func(ctx context.Context, source string, of kin, n int) {
			go func() {
				if turns.take(ctx, source, of) == nil {
					got = append(got, fmt.Sprint(source, n))
				}
			}()
			synctest.Wait()
		}
		for i := range 4 {
			wait(t.Context(), "flood", ofOthers, i)
		}
		wait(gone, "flood", ofOthers, 9)
		wait(gone, "gone", ofOthers, 9)
		wait(t.Context(), "other", ofOthers, 0)
		for i := range 4 {
			wait(t.Context(), "oak", ofNodes, i)
		}
		wait(t.Context(), "ash", ofNodes, 0)
		leave()
		for range 11 { // what the first had, and ten more
			synctest.Wait()
			turns.give(ofNodes, 0)
		}
		synctest.Wait()
		if want := []string{"oak3", "ash0", "oak2", "flood3", "oak1", "oak0", "other0", "flood2", "flood1", "flood0"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if turns.take(gone, "late", ofOthers) == nil {
			t.Error("who is gone takes a turn")
		}
		if turns.free != 1 || len(turns.lines[ofNodes].by)+len(turns.lines[ofOthers].by) != 0 {
			t.Errorf("%d free, %v wait", turns.free, turns.lines)
		}
	})
}

// TestOthersRest: three quarters of the time no turn is of an address where no node
// was, and those of nodes continue meanwhile.
func TestOthersRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		work := func(of kin, source string, n int, each time.Duration) time.Duration {
			begun := time.Now()
			for range n {
				if err := turns.take(t.Context(), source, of); err != nil {
					t.Fatal(err)
				}
				time.Sleep(each)
				turns.give(of, each)
			}
			return time.Since(begun)
		}
		if took := work(ofOthers, "a", 101, time.Millisecond); took != 401*time.Millisecond {
			t.Errorf("101 turns of a millisecond took %v", took)
		}
		if took := work(ofNodes, "oak", 100, time.Millisecond); took != 100*time.Millisecond {
			t.Errorf("100 of a node took %v", took)
		}
		var all sync.WaitGroup
		all.Go(func() { work(ofOthers, "a", 1, time.Second) })
		synctest.Wait()
		all.Go(func() {
			if took := work(ofOthers, "b", 1, 0); took != time.Second+restTimes*longTurn {
				t.Errorf("after a turn that had to wait for a CPU: %v", took)
			}
		})
		all.Wait()
	})
}

// TestFewHandshakesAreComputed: of many at once one is computed at a time, and
// it waits neither for those that say nothing nor for one that is asked after.
func TestFewHandshakesAreComputed(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	asked, answer := make(chan struct{}, 100), make(chan struct{})
	oak.SetAdmit(func(c Caller) error {
		asked <- struct{}{}
		<-answer
		return nil
	})
	var now, most atomic.Int64
	m := runMux(t, oak, func(c *MuxConfig) {
		c.Turns, c.HandshakeTimeout = 1, time.Minute
		cert := c.TLS.GetCertificate
		c.TLS.GetCertificate = func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
			most.Store(max(most.Load(), now.Add(1)))
			for range 1000 {
				runtime.Gosched()
			}
			defer now.Add(-1)
			return cert(i)
		}
	})
	echo(t, m.HTTP(), "http")
	echo(t, m.Listener(ProtoRaft), "raft")
	addr := m.HTTP().Addr().String()
	for range 20 {
		c, err := net.Dial("tcp", addr)
		check(t, err)
		defer c.Close()
	}
	var all sync.WaitGroup
	all.Go(func() {
		if got, err := ask(m, ash.ClientConfig(ProtoRaft, oak.ID())); err != nil || got != "raft" {
			t.Errorf("%q, %v", got, err)
		}
	})
	<-asked
	var strangers sync.WaitGroup
	for range 40 {
		strangers.Go(func() {
			if got, err := ask(m, PinnedConfig(ca.Pin())); err != nil || got != "http" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	strangers.Wait()
	close(answer)
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d at a time", most.Load())
	}
}

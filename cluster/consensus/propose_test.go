package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

func newCall(n, size int) *call {
	c := &call{encoded: make([][]byte, n), results: make([]fsm.Result, n), left: n, done: make(chan struct{})}
	for i := range c.encoded {
		c.encoded[i] = make([]byte, size)
	}
	return c
}

func TestQueuePacks(t *testing.T) {
	for _, tt := range []struct {
		calls []*call
		want  []int // commands in each entry
	}{
		{[]*call{newCall(1, 10)}, []int{1}},
		{[]*call{newCall(1, 10), newCall(2, 10)}, []int{3}},
		{[]*call{newCall(2*packCommands-28, 10), newCall(30, 10)}, []int{packCommands, packCommands, 2}},
		{[]*call{newCall(3, packBytes/2)}, []int{2, 1}},
		{[]*call{newCall(1, 4*packBytes), newCall(1, 1)}, []int{1, 1}},
	} {
		q := newQueue()
		for _, c := range tt.calls {
			if err := q.push(c); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		for {
			items := q.take()
			if len(items) == 0 {
				break
			}
			got = append(got, len(items))
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) || q.bytes != 0 {
			t.Errorf("entries of %v commands, want %v; %d bytes left", got, tt.want, q.bytes)
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue()
	if err := q.push(newCall(queueCommands+1, 1)); err != nil {
		t.Errorf("an empty queue refused a large call: %v", err)
	}
	if err := q.push(newCall(1, 1)); api.ErrorCode(err) != api.CodeBusy {
		t.Errorf("too many commands: %v", err)
	}
	q = newQueue()
	if err := q.push(newCall(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := q.push(newCall(2, queueBytes/2)); api.ErrorCode(err) != api.CodeBusy {
		t.Errorf("too many bytes: %v", err)
	}
}

func TestQueueOutcomes(t *testing.T) {
	boom := api.Errorf(api.CodeUnknown, "boom")
	q := newQueue()
	long, next := newCall(packCommands+1, 1), newCall(1, 1)
	for _, c := range []*call{long, next} {
		if err := q.push(c); err != nil {
			t.Fatal(err)
		}
	}
	first, second := q.take(), q.take()
	results := make([]fsm.Result, len(first))
	results[5].Err = errors.New("refused")
	q.finish(first, results, nil)
	select {
	case <-long.done:
		t.Fatal("ended before its last command")
	default:
	}
	if q.withdraw(long) {
		t.Error("a call was withdrawn that is on its way")
	}
	q.finish(second, nil, ErrNotLeader)
	<-long.done
	<-next.done
	if api.ErrorCode(long.failure()) != api.CodeUnknown {
		t.Errorf("half a call: %v", long.failure())
	}
	if !errors.Is(next.failure(), ErrNotLeader) {
		t.Errorf("a call that was not written: %v", next.failure())
	}
	next.fail(boom)
	next.fail(ErrNotLeader)
	if api.ErrorCode(next.failure()) != api.CodeUnknown {
		t.Errorf("unknown was forgotten: %v", next.failure())
	}

	waiting, other := newCall(2, 3), newCall(1, 3)
	_ = q.push(waiting)
	_ = q.push(other)
	if !q.withdraw(waiting) || q.bytes != 3 || len(q.items) != 1 {
		t.Error("a waiting call was not withdrawn")
	}
	q.end(errEnding)
	<-other.done
	if err := q.push(newCall(1, 1)); !errors.Is(err, errEnding) {
		t.Errorf("after the end: %v", err)
	}
}

func TestCommandsShareEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk *flakyLogs
		c := newMemCluster(t, 1, func(_ int, cfg *Config) { disk = flaky(cfg) })
		n := c.nodes[0]
		disk.delay.Store(int64(10 * time.Millisecond))
		before := n.LastIndex()
		var group sync.WaitGroup
		for i := range 256 {
			group.Go(func() {
				res := n.must(t, createJob(fmt.Sprint("j", i)))
				if j, ok := res[0].Value.(*api.Job); !ok || j.ID != fmt.Sprint("j", i) {
					t.Errorf("job %d has the result %v", i, res[0].Value)
				}
			})
		}
		group.Wait()
		if entries := n.LastIndex() - before; entries > 5 {
			t.Errorf("256 commands took %d entries", entries)
		}
	})
}

// waves has callers that each propose one command after the other, with a
// while of their own in between, and returns how many log entries that took
// and the longest that one had to wait.
func waves(t *testing.T, callers, rounds int, disk time.Duration) (entries uint64, longest time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var d *flakyLogs
		c := newMemCluster(t, 1, func(_ int, cfg *Config) { d = flaky(cfg) })
		n := c.nodes[0]
		d.delay.Store(int64(disk))
		before := n.LastIndex()
		var slowest atomic.Int64
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				for round := range rounds {
					time.Sleep(time.Duration((i*7+round*13)%40) * 100 * time.Microsecond) // fake
					begin := time.Now()
					n.must(t, createJob(fmt.Sprint("j", i, "-", round)))
					for took := int64(time.Since(begin)); ; {
						if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
							break
						}
					}
				}
			})
		}
		group.Wait()
		entries, longest = n.LastIndex()-before, time.Duration(slowest.Load())
	})
	return entries, longest
}

func TestCrowdSharesEntries(t *testing.T) {
	const callers, rounds, disk = 64, 30, time.Millisecond
	entries, longest := waves(t, callers, rounds, disk)
	if few := uint64(rounds * 3 / 2); entries > few {
		t.Errorf("%d waves of %d callers took %d entries, want at most %d", rounds, callers, entries, few)
	}
	if most := 2*gatherMost + 4*disk; longest > most {
		t.Errorf("one waited %v, want at most %v", longest, most)
	}
}

func TestFewDoNotWaitForCompany(t *testing.T) {
	const disk = time.Millisecond
	const most = gatherFor + 4*disk // two entries may be before it; a crowd's patience is longer
	if most >= gatherMost {
		t.Fatal("the bound tells nothing")
	}
	for _, callers := range []int{1, 2, crowded - 1} {
		if _, longest := waves(t, callers, 30, disk); longest > most {
			t.Errorf("of %d callers one waited %v", callers, longest)
		}
	}
}

// A crowd that is gone holds up nobody.
func TestCrowdIsForgotten(t *testing.T) {
	var c crowd
	now := epoch
	c.count(now)
	for range 50 {
		for range 64 {
			c.enter()
		}
		now = now.Add(4 * time.Millisecond)
		c.count(now)
		c.leave(64)
	}
	c.enter()
	if !c.gathers() {
		t.Fatal("64 callers are not a crowd")
	}
	c.leave(1)
	for i := range 100 { // one caller is left
		c.enter()
		now = now.Add(2 * time.Millisecond)
		c.count(now)
		if i > 50 && c.gathers() {
			t.Fatalf("after %d calls of one caller it still waits for others", i)
		}
		c.leave(1)
	}
}

func TestRefusedCommandsDoNotStopOthers(t *testing.T) {
	m := single(t, t.TempDir(), nil)
	m.must(t, initCluster())
	res, err := m.Propose(t.Context(), []fsm.Command{createJob("a"), &fsm.JobScale{Meta: fsm.Meta{At: epoch}, ID: "none", Count: 1}, createJob("b")})
	if err != nil {
		t.Fatal(err)
	}
	if res[0].Err != nil || api.ErrorCode(res[1].Err) != api.CodeNotFound || res[2].Err != nil || m.store.View().Job("b") == nil {
		t.Errorf("%v", res)
	}
	if v, err := m.store.Do(t.Context(), createJob("c")); err != nil || v.(*api.Job).ID != "c" {
		t.Errorf("through the store: %v, %v", v, err)
	}
}

func TestProposeGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk *flakyLogs
		c := newMemCluster(t, 1, func(_ int, cfg *Config) { disk = flaky(cfg) })
		n := c.nodes[0]
		disk.delay.Store(int64(time.Second))
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
		defer cancel()
		var group sync.WaitGroup
		for range 300 { // more than can be on their way
			group.Go(func() {
				_, err := n.Propose(ctx, cmds("j", 1))
				if code := api.ErrorCode(err); code != api.CodeUnknown && code != api.CodeUnavailable {
					t.Errorf("%v", err)
				}
				if !errors.Is(err, context.Cause(ctx)) {
					t.Errorf("%v hides why", err)
				}
			})
		}
		group.Wait()
		if w := n.Stats().Waiting; w != 0 {
			t.Errorf("%d commands still wait", w)
		}
		disk.delay.Store(0)
		c.settle(time.Minute)
		n.must(t, createJob("after"))
	})
}

func TestPace(t *testing.T) {
	p := newPace(300*time.Millisecond, electionWrites)
	now := epoch
	if p.observe(5*time.Second, now) {
		t.Error("one slow write alone changed it")
	}
	if !p.observe(350*time.Millisecond, now) || p.factor != 8 {
		t.Errorf("factor %d", p.factor)
	}
	if !p.observe(time.Minute, now) || p.factor != maxFactor {
		t.Errorf("factor %d", p.factor)
	}
	changes := 0
	for range 2 * paceSamples {
		now = now.Add(10 * time.Second)
		if p.observe(time.Millisecond, now) {
			changes++
		}
	}
	if p.factor != 1 || changes != 1 {
		t.Errorf("factor %d after %d changes", p.factor, changes)
	}
}

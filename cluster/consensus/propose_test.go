package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
		{[]*call{newCall(100, 10), newCall(30, 10)}, []int{64, 64, 2}},
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
		if entries := n.LastIndex() - before; entries > 256/packCommands+3 {
			t.Errorf("256 commands took %d entries", entries)
		}
	})
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
	p := newPace(300 * time.Millisecond)
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

package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/fsm"
)

// watched is a liveness loop over a store with one other node, on fake time.
type watched struct {
	store  *fsm.Store
	status atomic.Uint32
	answer atomic.Bool
	keeper atomic.Pointer[vouch.Answer] // nil: it does not answer; the fates are of holds
	holds  atomic.Pointer[map[string]vouch.Fate]
	change signal
}

func (w *watched) set(s peerStatus, answers bool) {
	w.status.Store(uint32(s))
	w.answer.Store(answers)
	w.change.notify()
}

func (w *watched) state() api.NodeState { return w.store.View().Node("b").State }

func watch(t *testing.T, ctx context.Context) *watched { return watchAt(t, ctx, fsm.Newest) }

func watchAt(t *testing.T, ctx context.Context, level fsm.Level) *watched {
	w := &watched{store: fsm.NewStore(nil)}
	w.set(peerAlive, true)
	at := time.Now()
	hello := testHello
	if level == 0 {
		hello.Level = 0
	}
	for _, c := range []fsm.Command{
		&fsm.ClusterInit{Level: level, Meta: fsm.Meta{At: at}, Cluster: &api.Cluster{ID: "c"}, Authority: &api.Authority{}, Node: &api.Node{ID: "a", Name: "a"}},
		&fsm.TokenCreate{Meta: fsm.Meta{At: at}, Token: &api.Token{ID: "t", Hash: "h"}},
		&fsm.NodeJoin{Meta: fsm.Meta{At: at}, Token: "t", Hash: "h", NodeID: "b", Name: "b"},
		&fsm.NodeHello{Meta: fsm.Meta{At: at}, ID: "b", Hello: hello},
	} {
		if _, err := w.store.Do(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	l := &liveness{self: "a", store: w.store, status: func(string) peerStatus { return peerStatus(w.status.Load()) }, wake: w.change.wait,
		probe: func(context.Context, string) error {
			if w.answer.Load() {
				return nil
			}
			return errors.New("connection refused")
		}, keeper: w.ask, grace: DefaultGrace, now: time.Now, log: slog.New(slog.DiscardHandler)}
	go l.Run(ctx)
	synctest.Wait()
	return w
}

func TestASilentNodeIsReplacedAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := watch(t, ctx)
		w.set(peerFailed, false)
		time.Sleep(DefaultGrace - time.Millisecond)
		synctest.Wait()
		if w.state() != api.NodeReady {
			t.Fatalf("it is %s before the grace is over", w.state())
		}
		time.Sleep(2*answerTime + 10*time.Millisecond) // in which its keeper might have answered
		synctest.Wait()
		if w.state() != api.NodeUnreachable {
			t.Fatalf("it is %s after the grace", w.state())
		}
	})
}

func TestANodeThatAnswersIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := watch(t, ctx)
		w.set(peerFailed, true) // gossip packets are lost, TCP works
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.state() != api.NodeReady {
			t.Fatalf("it answers and is %s", w.state())
		}
		w.set(peerFailed, false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w.state() != api.NodeUnreachable {
			t.Fatalf("it stopped answering and is %s", w.state())
		}
	})
}

func TestANodeThatStopsHasTimeToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := watch(t, ctx)
		w.set(peerLeft, false)
		time.Sleep(leaveGrace - time.Second)
		w.set(peerAlive, true) // an upgrade
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.state() != api.NodeReady {
			t.Fatalf("it came back and is %s", w.state())
		}
		w.set(peerLeft, false)
		time.Sleep(leaveGrace + 2*time.Second)
		synctest.Wait()
		if w.state() != api.NodeDown {
			t.Fatalf("it stayed away and is %s", w.state())
		}
	})
}

// However many nodes are silent, few questions are open for a late answer, and
// none is when the loop has ended.
func TestQuestionsAreBoundedAndEndWithTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var open, most atomic.Int64
		l := &liveness{now: time.Now, probe: func(ctx context.Context, _ string) error {
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			<-ctx.Done()
			time.Sleep(time.Second) // it is slow to give up
			return ctx.Err()
		}, store: fsm.NewStore(nil), wake: new(signal).wait}
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		synctest.Wait()
		var all sync.WaitGroup
		for range 4 * lateAnswers {
			all.Go(func() { _ = l.ask(ctx, "b", answerTime) })
		}
		all.Wait()
		time.Sleep(answerTime + time.Second)
		synctest.Wait()
		if n := open.Load(); most.Load() != 4*lateAnswers || n != lateAnswers {
			t.Errorf("%d of %d questions are open, for %d late answers", n, most.Load(), lateAnswers)
		}
		cancel()
		if err := <-ended; err != nil || open.Load() != 0 {
			t.Errorf("the loop ended with %d questions open: %v", open.Load(), err)
		}
	})
}

package cluster

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/fsm"
)

// pinged is a store with a node "b", asked by a leader whose gossip notices
// nothing, on fake time.
type pinged struct {
	store  *fsm.Store
	silent atomic.Bool
	trip   atomic.Int64 // of a ping, a time.Duration; questions take three times as long
	lossy  atomic.Bool  // no packet of gossip gets through
	pings  atomic.Int64
	change signal
}

func (w *pinged) take(ctx context.Context, d time.Duration) error {
	if !backoff.Pause(ctx, d) {
		return context.Cause(ctx)
	}
	return w.ask(ctx, "b")
}

// ask is how a node answers that may have fallen silent: not at all.
func (w *pinged) ask(ctx context.Context, _ string) error {
	if w.silent.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (w *pinged) status(p *pings) func(string) peerStatus {
	return func(id string) peerStatus {
		if w.lossy.Load() {
			return peerFailed
		}
		return p.status(id, peerAlive)
	}
}

func (w *pinged) hello(t *testing.T) {
	t.Helper()
	ports, err := api.ParseResources("cpus=4,mem=4GiB,disk=4GiB")
	if err != nil {
		t.Fatal(err)
	}
	w.do(t, &fsm.NodeHello{Meta: fsm.Meta{At: time.Now()}, ID: "b", Hello: api.NodeHello{Addr: "b:1", Resources: ports}})
}

func (w *pinged) do(t *testing.T, cmds ...fsm.Command) {
	t.Helper()
	for _, c := range cmds {
		if _, err := w.store.Do(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

func startPings(t *testing.T, ctx context.Context) *pinged {
	w := &pinged{store: fsm.NewStore(nil)}
	meta := fsm.Meta{At: time.Now()}
	w.do(t,
		&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c"}, Authority: &api.Authority{}, Node: &api.Node{ID: "a", Name: "a"}},
		&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Hash: "h"}},
		&fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: "b", Name: "b"})
	w.hello(t)
	p := newPings("a", w.store, func(ctx context.Context, _ string) error {
		w.pings.Add(1)
		return w.take(ctx, time.Duration(w.trip.Load()))
	}, w.change.notify)
	l := &liveness{self: "a", store: w.store, status: w.status(p), slack: p.slack, late: p.learn, wake: w.change.wait,
		probe: func(ctx context.Context, _ string) error { return w.take(ctx, 3*time.Duration(w.trip.Load())) }, grace: DefaultGrace, now: time.Now, log: slog.New(slog.DiscardHandler)}
	go l.Run(ctx)
	go p.Run(ctx)
	synctest.Wait()
	return w
}

func (w *pinged) giveWork(t *testing.T) {
	t.Helper()
	spec := &api.JobSpec{Name: "web", Kind: api.KindService, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}, Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 64 << 20}}}}
	spec.Normalize()
	meta := fsm.Meta{At: time.Now()}
	w.do(t, &fsm.JobCreate{Meta: meta, Spec: spec}, &fsm.TaskCreate{Meta: meta, Job: "web", Count: 1},
		&fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: "web", Attempt: 1, NodeID: "b"}}})
	if _, tasks := w.store.View().Ledger("b"); tasks != 1 {
		t.Fatalf("the node holds %d tasks", tasks)
	}
}

// A node with work that falls silent, at any moment between two pings, is lost
// within the time of a ping and of two questions.
func TestSilentNodeWithWorkIsLostSoon(t *testing.T) {
	for phase := range 10 {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := startPings(t, ctx)
			w.giveWork(t)
			time.Sleep(10*time.Second + time.Duration(phase)*pingEvery/10)
			w.silent.Store(true)
			time.Sleep(pingEvery + pingWait + DefaultGrace + 400*time.Millisecond + 10*time.Millisecond)
			synctest.Wait()
			if s := w.store.View().Node("b").State; s != api.NodeUnreachable {
				t.Errorf("phase %d: it is %s", phase, s)
			}
		})
	}
}

// An idle cluster asks nobody; and a node that only loses packets stays.
func TestPingsAreForNodesWithWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := startPings(t, ctx)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.pings.Load(); n != 0 {
			t.Errorf("%d pings of nodes without work", n)
		}
		w.giveWork(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.pings.Load(); n < 55 || n > 65 {
			t.Errorf("%d pings in a minute", n)
		}
		for range 20 {
			w.silent.Store(true)
			time.Sleep(300 * time.Millisecond) // one ping is missed at most, and one question answered
			w.silent.Store(false)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if s := w.store.View().Node("b").State; s != api.NodeReady {
			t.Errorf("it answers and is %s", s)
		}
	})
}

// Over a slow link a node that misses a ping has longer to answer, however slow
// the link is and since when, and a silent one is found to be.
func TestNodeOverASlowLinkHasLonger(t *testing.T) {
	for _, trip := range []time.Duration{210 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond} {
		for _, from := range []time.Duration{0, time.Minute} { // slow from the first ping, or later
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := startPings(t, ctx)
				if from == 0 {
					w.trip.Store(int64(trip))
				}
				w.giveWork(t)
				time.Sleep(from)
				w.trip.Store(int64(trip))
				slowLink(t, w)
				if s := w.store.View().Node("b").State; s != api.NodeReady {
					t.Errorf("%v, slow after %v: it answers, slowly, and is %s", trip, from, s)
				}
				w.silent.Store(true)
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if s := w.store.View().Node("b").State; s != api.NodeUnreachable {
					t.Errorf("%v, slow after %v: it is silent, and is %s", trip, from, s)
				}
			})
		}
	}
}

// slowLink loses a packet now and then, and each question needs one sent again.
func slowLink(t *testing.T, w *pinged) {
	t.Helper()
	time.Sleep(time.Minute)
	for range 20 {
		w.silent.Store(true)
		time.Sleep(300 * time.Millisecond)
		w.silent.Store(false)
		time.Sleep(4 * time.Second)
	}
	synctest.Wait()
}

// That a link is slow shows by the daemon's answers too, where gossip waits for
// none that come so late: the node is lost once, and stays when it is back.
func TestLateAnswerOfTheDaemonTellsHowSlowTheLinkIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := startPings(t, ctx)
		w.lossy.Store(true)
		w.trip.Store(int64(600 * time.Millisecond))
		w.change.notify()
		time.Sleep(5 * time.Second)
		w.hello(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := w.store.View().Node("b").State; s != api.NodeReady {
			t.Errorf("it answers, slowly, and is %s", s)
		}
	})
}

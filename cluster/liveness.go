package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sync/errgroup"
)

// settle is how long after a change of leader a node that gossip has not seen
// yet is left alone.
const settle = 3 * time.Second

// leaveGrace is how long a node that said it stops may take to come back, as
// in an upgrade, before its tasks are replaced.
const leaveGrace = 15 * time.Second

// peerStatus is what gossip thinks of a node.
type peerStatus uint8

const (
	peerUnknown peerStatus = iota
	peerAlive
	peerFailed
	peerLeft
)

// liveness watches over the nodes while this node leads: what gossip suspects
// is asked directly, the daemon and the keeper at once, and only a silence that
// was confirmed twice becomes one command. A node whose keeper answers keeps its
// tasks for a while (away.go).
type liveness struct {
	self   string
	store  *fsm.Store
	status func(id string) peerStatus
	wake   func() <-chan struct{}
	probe  func(ctx context.Context, nodeID string) error                 // the daemon
	keeper func(ctx context.Context, p vouch.Probe) (vouch.Answer, error) // the parent of its tasks; nil: none answers
	slack  func(id string) time.Duration                                  // by how much longer a node may take to answer, over a slow link; nil = not at all
	late   func(id string, took time.Duration)                            // the daemon answered, but too late; nil = of no interest
	grace  time.Duration
	now    func() time.Time
	log    *slog.Logger

	began  time.Time
	silent map[string]time.Time // since when a node is not alive in gossip
	away   map[string]*absence  // of nodes that are away

	asked  sync.WaitGroup // questions that were put; Run waits for them
	waited chan struct{}  // one for each whose answer may come late
}

func (l *liveness) Run(ctx context.Context) error {
	l.began, l.silent, l.away = l.now(), map[string]time.Time{}, map[string]*absence{}
	l.waited = make(chan struct{}, lateAnswers)
	defer l.asked.Wait()
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes}, Now: l.now, Wake: l.wake,
		Pass: func(ctx context.Context, _ loop.Changes) time.Time { return l.now().Add(l.pass(ctx)) }}
	return w.Run(ctx)
}

// pass looks at every node, asks the silent ones, and returns when to look
// again.
func (l *liveness) pass(ctx context.Context) time.Duration {
	v, now := l.store.View(), l.now()
	next := time.Hour
	var group errgroup.Group
	group.SetLimit(32)
	for n := range v.Nodes() {
		if !n.Away {
			delete(l.away, n.ID)
		}
		if n.Away && n.ID != l.self {
			next = min(next, askAwayAgain)
			if l.status(n.ID) != peerAlive { // else it says hello any moment
				a := l.absence(n, now)
				group.Go(func() error { l.askAfter(ctx, n, a); return nil })
			}
			continue
		}
		if n.ID == l.self || n.State != api.NodeReady && n.State != api.NodeDraining {
			delete(l.silent, n.ID)
			continue
		}
		wait, due := l.due(n, now)
		if !due {
			next = min(next, wait)
			continue
		}
		next = min(next, time.Second) // should it answer, look again soon
		group.Go(func() error { l.confirm(ctx, n); return nil })
	}
	_ = group.Wait() // confirm reports by itself
	return next
}

// due reports whether a node was silent for long enough to be asked, else when
// it will be.
func (l *liveness) due(n *api.Node, now time.Time) (wait time.Duration, due bool) {
	status := l.status(n.ID)
	if status == peerAlive {
		delete(l.silent, n.ID)
		return time.Hour, false
	}
	since, ok := l.silent[n.ID]
	if !ok {
		since = now
		l.silent[n.ID] = since
	}
	at := since
	switch status {
	case peerUnknown:
		at = later(since, l.began).Add(settle)
	case peerLeft:
		at = since.Add(leaveGrace)
	}
	if wait := at.Sub(now); wait > 0 {
		return wait, false
	}
	return 0, true
}

// heard is who of a node answers.
type heard uint8

const (
	noOne heard = iota
	theKeeper
	theDaemon
)

// confirm asks a silent node twice, the grace time apart, and records that it
// does not answer, or that only its keeper does.
func (l *liveness) confirm(ctx context.Context, n *api.Node) {
	switch l.hear(ctx, n, theDaemon) {
	case noOne:
		l.lost(ctx, n)
	case theKeeper:
		l.propose(ctx, n, &fsm.NodeAway{Meta: l.meta(), ID: n.ID, State: l.absent(n.ID), Since: n.Since})
	}
}

// hear asks a node twice, begun the grace time apart, unless enough of it answers at
// once.
func (l *liveness) hear(ctx context.Context, n *api.Node, enough heard) heard {
	most, began := noOne, l.now()
	for try := range 2 {
		who, err := l.listen(ctx, n)
		if ctx.Err() != nil {
			return theDaemon
		}
		if who >= enough {
			return who
		}
		most = max(most, who)
		l.log.Warn("node does not answer", "node", n.Name, "try", try+1, "keeper", who == theKeeper, "err", err)
		if try == 0 && !backoff.Pause(ctx, l.grace-l.now().Sub(began)) {
			return theDaemon
		}
	}
	return most
}

const (
	answerTime = 400 * time.Millisecond // that a node has for an answer over a fast link
	lateAnswer = 3 * time.Second        // that one may take to tell at least how slow the link is

	// lateAnswers is how many questions are kept open for a late answer at most:
	// of many nodes that are silent at once a few tell as much.
	lateAnswers = 64
)

// listen asks the daemon and the keeper of a node at once. The error is that
// of the daemon.
func (l *liveness) listen(ctx context.Context, n *api.Node) (heard, error) {
	wait := answerTime
	if l.slack != nil {
		wait += l.slack(n.ID)
	}
	asked, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	vouched := make(chan bool, 1)
	go func() { vouched <- l.vouched(asked, n) }()
	err := l.ask(ctx, n.ID, wait)
	if err == nil {
		cancel()
	}
	switch kept := <-vouched; {
	case err == nil:
		return theDaemon, nil
	case kept:
		return theKeeper, err
	}
	return noOne, err
}

// ask asks the daemon of a node. An answer that comes too late is none, but
// tells how slow the link is.
func (l *liveness) ask(ctx context.Context, id string, wait time.Duration) error {
	most, done := wait, func() {}
	select {
	case l.waited <- struct{}{}:
		most, done = max(wait, lateAnswer), func() { <-l.waited }
	default:
	}
	answer := make(chan error, 1)
	l.asked.Go(func() {
		defer done()
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		began := l.now()
		err := l.probe(ctx, id)
		answer <- err
		if took := l.now().Sub(began); err == nil && took > wait && l.late != nil {
			l.late(id, took)
		}
	})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		return context.DeadlineExceeded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lost records that nothing of a node answers.
func (l *liveness) lost(ctx context.Context, n *api.Node) {
	c := &fsm.NodeState{Meta: l.meta(), ID: n.ID, State: l.absent(n.ID), Since: n.Since, Reason: "does not answer"}
	if c.State == api.NodeDown {
		c.Reason = "was stopped"
	}
	l.propose(ctx, n, c)
}

// absent is the state of a node that does not answer.
func (l *liveness) absent(id string) api.NodeState {
	if l.status(id) == peerLeft {
		return api.NodeDown
	}
	return api.NodeUnreachable
}

func (l *liveness) meta() fsm.Meta { return fsm.Meta{At: l.now(), Actor: "liveness"} }

func (l *liveness) propose(ctx context.Context, n *api.Node, c fsm.Command) {
	_, err := l.store.Do(ctx, c)
	if err != nil && ctx.Err() == nil && api.ErrorCode(err) != api.CodeConflict {
		l.log.Warn("recording a lost node failed", "node", n.Name, "err", err)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

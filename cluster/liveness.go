package cluster

import (
	"context"
	"log/slog"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
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
// is asked directly, and only a silence that was confirmed twice becomes one
// command.
type liveness struct {
	self   string
	store  *fsm.Store
	status func(id string) peerStatus
	wake   func() <-chan struct{}
	probe  func(ctx context.Context, nodeID string) error
	grace  time.Duration
	now    func() time.Time
	log    *slog.Logger

	began  time.Time
	silent map[string]time.Time // since when a node is not alive in gossip
}

func (l *liveness) Run(ctx context.Context) error {
	l.began, l.silent = l.now(), map[string]time.Time{}
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes}, Now: l.now, Wake: l.wake,
		Pass: func(ctx context.Context, _ loop.Changes) time.Time { return l.now().Add(l.pass(ctx)) }}
	return w.Run(ctx)
}

// pass looks at every node, asks the silent ones, and returns when to look
// again.
func (l *liveness) pass(ctx context.Context) time.Duration {
	v, now := l.store.View(), l.now()
	next := time.Hour
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for n := range v.Nodes() {
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
		group.Go(func() error { l.confirm(gctx, n); return nil })
	}
	_ = group.Wait() // confirm reports by itself
	return next
}

// due tells whether a node was silent for long enough to be asked, else when
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

// confirm asks a silent node twice, begun the grace time apart, and records that it
// does not answer.
func (l *liveness) confirm(ctx context.Context, n *api.Node) {
	began := l.now()
	for try := range 2 {
		pctx, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
		err := l.probe(pctx, n.ID)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		l.log.Warn("node does not answer", "node", n.Name, "try", try+1, "err", err)
		if try == 0 && !sleep(ctx, l.grace-l.now().Sub(began)) {
			return
		}
	}
	state, reason := api.NodeUnreachable, "does not answer"
	if l.status(n.ID) == peerLeft {
		state, reason = api.NodeDown, "was stopped"
	}
	_, err := l.store.Do(ctx, &fsm.NodeState{Meta: fsm.Meta{At: l.now(), Actor: "liveness"}, ID: n.ID, State: state, Since: n.Since, Reason: reason})
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

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sync/errgroup"
)

const (
	pingEvery = time.Second
	pingShare = 2 * time.Millisecond   // of that for each node: no more than 500 pings a second
	pingWait  = 250 * time.Millisecond // for an answer, or as long as three answers took
	pingLate  = 3 * time.Second        // that an answer may take to tell at least how slow the link is
	pingLimit = 64                     // that wait at the same time
)

// pings ask the nodes that hold work, once a second while this node leads,
// whether they are there. Gossip finds a silent node too, but takes seconds for
// it; to be as fast it would have to ask each node that often, with work or
// without. A node that misses one ping counts as failed, which has liveness ask
// it in earnest.
type pings struct {
	self    string
	store   *fsm.Store
	ping    func(ctx context.Context, nodeID string) error
	changed func() // a node missed a ping, or answers again

	mu     sync.Mutex
	missed map[string]bool
	took   map[string]time.Duration // what answers took lately
}

func newPings(self string, store *fsm.Store, ping func(context.Context, string) error, changed func()) *pings {
	return &pings{self: self, store: store, ping: ping, changed: changed, missed: map[string]bool{}, took: map[string]time.Duration{}}
}

// status is what gossip thinks of a node, or that it missed a ping.
func (p *pings) status(id string, gossip peerStatus) peerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	if gossip == peerAlive && p.missed[id] {
		return peerFailed
	}
	return gossip
}

// slack is by how much longer a node may take to answer a question, as its
// link is slow: time for a packet that is lost to be sent again.
func (p *pings) slack(id string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 4 * p.took[id]
}

// Run asks until ctx ends. It sleeps for as long as no node holds work.
func (p *pings) Run(ctx context.Context) error {
	w := p.store.Watch(fsm.TableNodes, fsm.TableNodeTasks)
	defer w.Close()
	var late sync.WaitGroup
	defer late.Wait()
	for ctx.Err() == nil {
		w.Take() // before the look, so that no change is missed
		ids := p.working()
		if len(ids) == 0 {
			select {
			case <-ctx.Done():
			case <-w.Ready():
			}
			continue
		}
		var group errgroup.Group
		group.SetLimit(pingLimit)
		next := time.Now().Add(max(pingEvery, pingShare*time.Duration(len(ids))))
		for _, id := range ids {
			group.Go(func() error { p.ask(ctx, id, &late); return nil })
		}
		_ = group.Wait() // ask notes by itself
		backoff.Pause(ctx, time.Until(next))
	}
	return nil
}

// working are the other nodes that hold work and are not known to be away. That
// the rest missed a ping is forgotten, and all about nodes that are none any more.
func (p *pings) working() []string {
	var ids []string
	v, there := p.store.View(), map[string]bool{}
	for n := range v.Nodes() {
		if _, tasks := v.Ledger(n.ID); tasks > 0 && n.ID != p.self && (n.State == api.NodeReady || n.State == api.NodeDraining) {
			ids = append(ids, n.ID)
			there[n.ID] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.took {
		if v.Node(id) == nil {
			delete(p.took, id)
		}
	}
	for id := range p.missed {
		if !there[id] {
			delete(p.missed, id)
		}
	}
	return ids
}

// ask pings a node, and returns when it answered or missed the ping. An answer
// that comes later still counts: else a link that is slower than the first wait
// would never be found to be.
func (p *pings) ask(ctx context.Context, id string, late *sync.WaitGroup) {
	p.mu.Lock()
	wait := max(pingWait, 3*p.took[id])
	p.mu.Unlock()
	done := make(chan error, 1)
	late.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, max(wait, pingLate))
		defer cancel()
		began := time.Now()
		err := p.ping(ctx, id)
		if err == nil {
			p.answered(id, time.Since(began), wait)
		}
		done <- err
	})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-done:
		if err == nil || ctx.Err() != nil {
			return // it is noted, or this node leads no more
		}
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	was := p.missed[id]
	p.missed[id] = true
	p.mu.Unlock()
	if !was {
		p.changed()
	}
}

// answered takes in what an answer took that was waited for so long.
func (p *pings) answered(id string, took, wait time.Duration) {
	p.mu.Lock()
	was := p.missed[id]
	delete(p.missed, id)
	if took > wait {
		p.took[id] = took
	} else {
		p.took[id] += (took - p.took[id]) / 4
	}
	p.mu.Unlock()
	if was {
		p.changed()
	}
}

// learn takes in what a question took that was answered too late: a connection
// is made for it, in three round trips at most.
func (p *pings) learn(id string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took[id] = max(p.took[id], took/3)
}

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// Who was removed still has the key of gossip. So the leader changes it then,
// and now and then without that, in the steps of fsm.GossipKey: a node that is
// there says by gossip which step it has come to, and one that is not gets the
// keys over TLS when it comes back.

// gossipKeyLife is how long a key of gossip is used.
const gossipKeyLife = 90 * 24 * time.Hour

// keyLoop changes the key of gossip while this node leads.
type keyLoop struct {
	store   *fsm.Store
	members func() []gossip.Member
	wake    func() <-chan struct{} // fires when gossip has news
	now     func() time.Time
	meta    func() fsm.Meta
	log     *slog.Logger
}

func (a *Agent) keyLoop() *keyLoop {
	return &keyLoop{store: a.store, members: a.members, wake: a.changed.wait, now: a.cfg.Now, log: a.log,
		meta: func() fsm.Meta { return fsm.Meta{At: a.cfg.Now(), Actor: "keys"} }}
}

func (l *keyLoop) Run(ctx context.Context) error {
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes, fsm.TableCluster}, Now: time.Now, Wake: l.wake, Pass: l.pass}
	return w.Run(ctx)
}

func (l *keyLoop) pass(ctx context.Context, _ loop.Changes) time.Time {
	v := l.store.View()
	a := v.Authority()
	if a == nil || !v.Does(fsm.GossipKeys) {
		return time.Time{}
	}
	cmd, next := nextKeyStep(v, l.members(), l.now())
	if cmd == nil {
		return next
	}
	cmd.Meta = l.meta()
	if _, err := l.store.Do(ctx, cmd); err != nil {
		l.log.Warn("changing the key of gossip failed; trying again", "err", err)
		return time.Now().Add(10 * time.Second)
	}
	return time.Time{}
}

// nextKeyStep is the next step of the change of gossip's key, nil if it is not
// time for one; then when to look again.
func nextKeyStep(v *fsm.View, members []gossip.Member, now time.Time) (*fsm.GossipKey, time.Time) {
	a := v.Authority()
	cmd := &fsm.GossipKey{Step: a.GossipStep}
	if a.GossipNext == nil {
		for n := range v.Nodes() {
			if n.State == api.NodeGone {
				cmd.Gone = max(cmd.Gone, n.Revision)
			}
		}
		since := v.Cluster().Created
		if a.GossipSince != 0 {
			since = time.Unix(a.GossipSince, 0)
		}
		if left := gossipKeyLife - now.Sub(since); cmd.Gone <= a.GossipGone && left > 0 {
			return nil, time.Now().Add(min(left, 24*time.Hour)) // a clock may be set meanwhile
		}
		cmd.Key, cmd.Gone = randomBytes(32), max(cmd.Gone, a.GossipGone)
		return cmd, time.Time{}
	}
	said := map[string]gossip.Member{}
	for _, m := range members {
		said[m.ID] = m
	}
	for n := range v.Nodes() {
		if n.State != api.NodeReady && n.State != api.NodeDraining {
			continue // it gets the keys when it comes back
		}
		if m := said[n.ID]; m.Meta.Ring < a.GossipStep {
			return nil, time.Time{} // it will say so by gossip, or be found to be away
		}
	}
	return cmd, time.Time{}
}

// takeRing follows the change of the keys. A node never goes back.
func (a *Agent) takeRing(r *api.GossipRing) {
	if r == nil || len(r.Send) != 32 {
		return
	}
	a.ringMu.Lock() // both a feed and who asks may bring one
	defer a.ringMu.Unlock()
	a.selfMu.Lock()
	old := r.Step <= a.self.GossipStep
	a.selfMu.Unlock()
	if old {
		return
	}
	// Kept before it is told: who says that it knows a key must know it at its next
	// start.
	if err := a.changeSelf(func(n *datadir.Node) { n.TakeRing(r) }); err != nil {
		a.log.Warn("the new key of gossip is not kept, and so not told to be known", "err", err)
		return
	}
	if err := a.gossip.Load().SetKeys(r.Send, r.Also); err != nil {
		a.log.Error("following the change of gossip's key failed", "err", err)
		return
	}
	a.tell()
}

// ringCheck is how often a node that nobody tells anything asks for the keys.
const ringCheck = 5 * time.Second

// followRing takes the keys from the state, and asks for them where this node
// hears of no state: those that it has may be old.
func (a *Agent) followRing(ctx context.Context) error {
	w := a.store.Watch(fsm.TableCluster)
	defer w.Close()
	tick := time.NewTicker(ringCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
			w.Take()
		case <-tick.C:
			if !a.fed.Load() && !a.hasState() && a.least() {
				a.askRing(ctx)
			}
		}
		if v := a.store.View(); v.Authority() != nil && v.Does(fsm.GossipKeys) {
			a.takeRing(v.Authority().Ring())
		}
	}
}

// askRing asks voters where they were last for the keys.
func (a *Agent) askRing(ctx context.Context) {
	addrs := a.knownAddrs()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, addr := range addrs {
		r := new(api.GossipRing)
		err := a.peers.callVoterAt(ctx, addr, "/v1/internal/ring", r)
		if err == nil {
			a.takeRing(r)
			return
		}
		a.log.Debug("asking for the keys of gossip", "at", addr, "err", err)
	}
}

// callVoterAt asks the node at an address, if it is a voter.
func (p *peers) callVoterAt(ctx context.Context, addr, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askMember)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.dialWith(ctx, addr, p.certs.VoterConfig(""))
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+path, nil)
	if err != nil {
		return err
	}
	res, err := sameAge{t, p.ages, addr}.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("call the node at %s: %w", addr, err)
	}
	defer res.Body.Close()
	return api.ReadAnswer(res, out)
}

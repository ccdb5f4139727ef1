package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/allocator/offer"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/cluster/skew"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sync/errgroup"
)

// lead runs the leader's loops whenever this node leads, each time under a
// context that ends with the leadership.
func (a *Agent) lead(ctx context.Context) error {
	for {
		term, cancel, err := a.raft.AwaitLeadership(ctx)
		if err != nil {
			return nil // ctx ended
		}
		a.log.Info("this node leads")
		err = a.leadTerm(term)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.log.Warn("leading ended", "err", err)
			backoff.Pause(ctx, 100*time.Millisecond) // it may lead still
		}
	}
}

// leadTerm runs the loops until the leadership ends. They start after a
// barrier: before it the view may lack what an earlier leader decided.
func (a *Agent) leadTerm(ctx context.Context) error {
	if err := a.raft.Barrier(ctx); err != nil {
		return fmt.Errorf("catch up: %w", err)
	}
	if err := a.finishNewCluster(ctx); err != nil {
		return err
	}
	if err := a.tellRecovered(ctx); err != nil {
		return err
	}
	a.sayVoter()
	trust := skew.NewTrust(a.cfg.Now)
	a.trust.Store(trust)
	group, ctx := errgroup.WithContext(ctx)
	alloc := allocator.New(a.store, a.cfg.Now, a.log)
	group.Go(func() error { return alloc.Run(ctx) })
	sched := scheduler.New(a.store, beginRound, a.cfg.Now, a.log)
	sched.Tell(a.meter)
	a.scheduler.Store(sched)
	defer a.scheduler.Store(nil)
	group.Go(func() error { return sched.Run(ctx) })
	desk := offer.NewDesk(a.cfg.Now)
	a.desk.Store(desk)
	defer a.desk.Store(nil)
	maker := offer.New(offer.Config{Store: a.store, Desk: desk, Begin: beginOffers, Left: leftBy(sched), Now: a.cfg.Now, Log: a.log})
	group.Go(func() error { return maker.Run(ctx) })
	group.Go(func() error { return a.mesos.Lead(ctx, desk) })
	group.Go(func() error { return a.operator.Lead(ctx) })
	group.Go(func() error {
		return controller.New(controller.Config{Store: a.store, Now: a.cfg.Now, Log: a.log, Forgets: trust.Holds}).Run(ctx)
	})
	pings := newPings(a.self.NodeID, a.store, a.gossip.Load().Ping, a.changed.notify)
	group.Go(func() error { return pings.Run(ctx) })
	group.Go(func() error {
		status := func(id string) peerStatus { return pings.status(id, a.peerStatus(id)) }
		l := &liveness{self: a.self.NodeID, store: a.store, status: status, slack: pings.slack, late: pings.learn, wake: a.changed.wait, probe: a.peers.alive, keeper: a.askKeeper,
			grace: a.cfg.Grace, now: a.cfg.Now, log: a.log}
		return l.Run(ctx)
	})
	group.Go(func() error {
		l := &voterLoop{self: a.self.NodeID, store: a.store, raft: a.raft, alive: a.answers, able: a.knows, wake: a.changed.wait, now: a.cfg.Now, log: a.log}
		return l.Run(ctx)
	})
	group.Go(func() error { return a.levelLoop().Run(ctx) })
	group.Go(func() error { return a.keyLoop().Run(ctx) })
	group.Go(func() error { return a.caLoop().Run(ctx) })
	group.Go(func() error { return a.checkLoop().Run(ctx) })
	group.Go(func() error {
		s := skew.New(skew.Config{Self: a.self.NodeID, Store: a.store, Read: a.clockOf, Wall: a.cfg.Wall, Now: a.cfg.Now, Log: a.log,
			Voters: a.raft.Voters, HandOver: a.raft.TransferTo, Trust: trust})
		return s.Run(ctx)
	})
	return group.Wait()
}

// planner answers as this node's scheduler decides, while it leads.
func (a *Agent) planner() scheduler.Planner {
	return scheduler.Planner{Now: a.cfg.Now, Begin: beginRound, Memory: func() *scheduler.Memory {
		if s := a.scheduler.Load(); s != nil {
			return s.Memory()
		}
		return nil
	}}
}

// tallies are those of this node's scheduler, while it leads.
func (a *Agent) tallies() *scheduler.Tallies {
	if s := a.scheduler.Load(); s != nil {
		return s.Tallies()
	}
	return nil
}

// forgets reports whether this node, as it leads, may remove what is old.
func (a *Agent) forgets() bool {
	trust := a.trust.Load()
	return trust != nil && trust.Holds()
}

// beginRound lets the scheduler serve partitions in the allocator's order.
func beginRound(v *fsm.View) scheduler.Round { return allocator.Begin(v) }

// beginOffers lets partitions be served in the same order where room is offered.
func beginOffers(v *fsm.View, wants func(string) int) offer.Round {
	return allocator.Begin(v, wanting(wants))
}

// wanting is a Claimant.
type wanting func(partition string) int

func (w wanting) Wants(partition string) int { return w(partition) }

// leftBy is what the passes of a scheduler leave.
func leftBy(s *scheduler.Scheduler) offer.Left {
	return func() (uint64, map[string]api.Resources) {
		m := s.Memory()
		if m == nil {
			return 0, nil
		}
		return m.Index(), m.Held()
	}
}

// finishNewCluster commits the first entry of a cluster that was just made.
func (a *Agent) finishNewCluster(ctx context.Context) error {
	if a.pending == nil {
		return nil
	}
	if a.store.View().Cluster() == nil {
		admin, err := a.firstToken()
		if err != nil {
			return err
		}
		results, err := a.store.Propose(ctx, a.clusterInit(a.pending), admin)
		if err != nil {
			return fmt.Errorf("make the cluster: %w", err)
		}
		for _, r := range results {
			if r.Err != nil {
				return fmt.Errorf("make the cluster: %w", r.Err)
			}
		}
		a.made.Store(true)
	}
	if err := a.dir.RemovePending(); err != nil {
		return fmt.Errorf("note that the cluster is made: %w", err)
	}
	a.pending = nil
	return nil
}

// awaitCluster waits until the cluster is there. The node that makes it leads
// before: what it said of itself then would be refused, as no node is known.
func (a *Agent) awaitCluster(ctx context.Context) error {
	if !a.makes {
		return nil
	}
	w := a.store.Watch(fsm.TableCluster)
	defer w.Close()
	for a.store.View().Cluster() == nil {
		if _, _, err := w.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

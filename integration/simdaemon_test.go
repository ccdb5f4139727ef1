package integration

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sync/errgroup"
)

// simDaemon is one life of a node's daemon.
type simDaemon struct {
	*simNode
	wire  *raft.InmemTransport
	raft  *consensus.Node
	store *fsm.Store
	exec  *executor.Executor
	stops []func() error // in start order
}

// run starts a part of the daemon.
func (d *simDaemon) run(part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	d.stops = append(d.stops, func() error {
		cancel()
		return <-done
	})
}

var errNoAnswer = errors.New("no answer")

// tellLeader gets a command to the leader as this node knows it.
func (d *simDaemon) tellLeader(ctx context.Context, cmd fsm.Command) error {
	if d.raft.IsLeader() {
		_, err := d.store.Do(ctx, cmd)
		return err
	}
	for _, m := range d.nodes {
		if to := m.daemon.Load(); to != nil && m.id == d.raft.LeaderID() && d.hears(m) {
			_, err := to.store.Do(ctx, cmd)
			if !d.hears(m) {
				return errNoAnswer
			}
			return err
		}
	}
	return errNoAnswer
}

// Report takes statuses to the leader, or loses them.
func (d *simDaemon) Report(ctx context.Context, statuses []api.TaskStatus) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	how := d.reports.Load()
	if how == reportsLost {
		return errNoAnswer
	}
	err := d.tellLeader(ctx, &fsm.TaskReport{Meta: fsm.Meta{At: time.Now(), Actor: "node:" + d.name}, Statuses: statuses})
	if how == answersLost {
		return errNoAnswer
	}
	return err
}

// lead runs the leader's loops whenever this node leads.
func (d *simDaemon) lead(ctx context.Context) error {
	for {
		term, cancel, err := d.raft.AwaitLeadership(ctx)
		if err != nil {
			return nil // ctx ended
		}
		err = d.leadTerm(term)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (d *simDaemon) leadTerm(ctx context.Context) error {
	if err := d.raft.Barrier(ctx); err != nil {
		return err
	}
	if d.store.View().Cluster() == nil {
		if err := d.makeCluster(ctx); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	log := simLog().With("node", d.name)
	alloc := allocator.New(d.store, time.Now, log)
	group.Go(func() error { return alloc.Run(ctx) })
	begin := func(v *fsm.View) scheduler.Round { return allocator.Begin(v) }
	group.Go(func() error { return scheduler.New(d.store, begin, time.Now, log).Run(ctx) })
	group.Go(func() error {
		return controller.New(controller.Config{Store: d.store, Now: time.Now, Log: log}).Run(ctx)
	})
	group.Go(func() error { return d.liveness(ctx) })
	return group.Wait()
}

// makeCluster commits the first entry, before the loops look at the state.
func (d *simDaemon) makeCluster(ctx context.Context) error {
	now := time.Now()
	_, err := d.store.Do(ctx, &fsm.ClusterInit{Level: fsm.Newest, Meta: d.meta(), Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: now},
		Authority: &api.Authority{CACert: []byte("cert"), CAKey: []byte("key"), GossipKey: []byte("0123")},
		Node:      &api.Node{ID: d.id, Name: d.name, State: api.NodeDown, Joined: now, Since: now}})
	return err
}

// liveness records the nodes that are silent for the grace time. It stands in
// for gossip and probes, which need sockets.
func (d *simDaemon) liveness(ctx context.Context) error {
	tick := time.NewTicker(simGrace / 8)
	defer tick.Stop()
	silent := map[string]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, m := range d.nodes {
			node := d.store.View().Node(m.id)
			if d.hears(m) || node == nil || node.State != api.NodeReady {
				delete(silent, m.id)
				continue
			}
			if _, ok := silent[m.id]; !ok {
				silent[m.id] = time.Now()
			}
			if time.Since(silent[m.id]) >= simGrace { // a failure is tried again
				_, _ = d.store.Do(ctx, &fsm.NodeState{Meta: fsm.Meta{At: time.Now(), Actor: "liveness"}, ID: m.id, State: api.NodeUnreachable,
					Since: node.Since, Reason: "does not answer"})
			}
		}
	}
}

// follow hands the executor what the node's replica says it should run.
func (d *simDaemon) follow(ctx context.Context) error {
	for !d.raft.CaughtUp() {
		if !nap(ctx, 10*time.Millisecond) {
			return nil
		}
	}
	w := d.store.WatchKey(d.id, fsm.TableNodeTasks)
	defer w.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
			w.Take()
			d.exec.Assign(d.store.View().Assignments(d.id))
		}
	}
}

// announce says what the node has, and again when the cluster gave it up.
func (d *simDaemon) announce(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.exec.Synced():
	}
	hello := api.NodeHello{Addr: string(d.addr), Version: "test", Boot: "boot", Resources: api.Resources{CPUs: 4000, Mem: 4 << 30}}
	w := d.store.WatchKey(d.id, fsm.TableNodes)
	defer w.Close()
	for told := false; ; {
		node := d.store.View().Node(d.id)
		if !told || node != nil && node.State == api.NodeUnreachable {
			hctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			err := d.tellLeader(hctx, &fsm.NodeHello{Meta: fsm.Meta{At: time.Now(), Actor: "node:" + d.name}, ID: d.id, Hello: hello})
			cancel()
			if told = told || err == nil; err != nil {
				if !nap(ctx, time.Second) {
					return nil
				}
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
			w.Take()
		}
	}
}

// nap waits; false when ctx ended.
func nap(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

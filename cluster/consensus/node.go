package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

const (
	transferWithin = 2 * time.Second
	endWithin      = 15 * time.Second
)

// Node is one node's part in Raft. All methods may be called from any
// goroutine.
type Node struct {
	cfg     Config
	raft    *raft.Raft
	wire    *wire
	glue    *glue
	guard   *guard
	stores  *stores
	leader  *leadership
	queue   *queue
	slots   chan struct{} // log entries on their way
	landed  chan struct{} // cap 1: one of them has its outcome
	ending  chan struct{} // closed when the node ends
	caught  atomic.Bool   // see CaughtUp
	current atomic.Uint64 // the term that Leads was true in

	applied atomic.Uint64          // index of the newest entry that took effect in this life
	damage  atomic.Pointer[damage] // why it does not vote; nil = it does
	began   Standing               // what was on disk when it started
	refill  atomic.Pointer[Refill] // what was filled in since

	notes      sync.Mutex
	noted      Standing // what Remember was told last
	remembered bool     // that it takes part; only Open uses it

	life  sync.Mutex // held to set over
	over  bool       // no goroutine starts any more
	tasks sync.WaitGroup

	tune     sync.Mutex // held while raft's settings change
	patience int        // see guard
}

// Open opens the node's log and takes part in its cluster, if it is in one. A
// fresh node is passive until it is bootstrapped or a leader adds it. The only
// voter of a cluster leads a moment later. Run must be called afterwards: it
// also closes what Open opened.
//
// It fails if the folder is another node's, of a newer format, in use, or
// damaged.
func Open(cfg Config) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s, err := openStores(&cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, stores: s, leader: newLeadership(), queue: newQueue(),
		slots: make(chan struct{}, entriesInFlight), landed: make(chan struct{}, 1), ending: make(chan struct{}), patience: 1}
	if err := n.inspect(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	transport := cfg.Transport
	if transport == nil {
		transport = newTransport(&cfg)
	}
	n.wire = newWire(transport, cfg.stretch(beatEvery), newLookout(cfg.stretch(heartbeatTimeout), cfg.alarm()), n.ending)
	n.wire.beats.spawn = n.spawn
	n.wire.damaged, n.wire.refuse = n.Damaged, n.refuse
	n.glue = newGlue(cfg.Store, cfg.snapshotEntries, n.took, n.ending)
	n.guard = newGuard(cfg.Log, cfg.stretch(heartbeatTimeout), n.ending)
	n.wire.spent, n.wire.hangs = n.guard.spent.Load, n.guard.hangs.Load
	n.guard.halt, n.guard.applied, n.guard.snaps = n.glue.halt, n.effective, s.snaps
	n.guard.damaged, n.guard.remember = n.Damaged, func() error {
		return n.remember(func(was Standing) (Standing, error) { return was, nil })
	}
	n.guard.voted, n.guard.cut = n.voted, n.noteCut
	if s.file != nil {
		n.guard.inPlace = s.file.InPlace
	}
	n.guard.took.Store(cfg.Before != nil || n.remembered)
	if n.raft, err = n.openRaft(); err != nil {
		close(n.ending)
		n.wire.lookout.alarm.stop()
		return nil, errors.Join(err, n.wire.Close(), s.close())
	}
	n.wire.raft.Store(n.raft)
	only := n.onlyVoter()
	if cfg.Ask != nil && n.Damaged() == nil && !only && n.HasConfiguration() {
		n.damage.Store(&damage{err: errAsking})
	}
	n.spawn(n.wire.listen)
	n.spawn(n.watchLeader)
	if s.file != nil {
		n.spawn(n.watchPlace)
	}
	n.spawn(func() { n.wire.announce(n.raft.CurrentTerm) })
	d := n.damage.Load()
	if d == nil && only {
		n.elect()
	} else {
		n.retune()
	}
	if d != nil {
		n.spawn(n.regain)
	}
	return n, nil
}

// openRaft starts the library; where it panics over a log that cannot be read,
// it fails.
func (n *Node) openRaft() (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = disk.Damaged("the raft log in "+n.cfg.Dir, p)
		}
	}()
	rc := n.cfg.raftConfig(n.leader.notify)
	if n.Damaged() != nil { // it could not be elected
		rc.HeartbeatTimeout, rc.ElectionTimeout = n.cfg.stretch(passiveTimeout), n.cfg.stretch(passiveTimeout)
	}
	cache, err := raft.NewLogCache(logCache, guardedLogs{n.stores.logs, n.guard})
	if err != nil {
		return nil, err
	}
	r, err = raft.NewRaft(rc, n.glue, cache, guardedStable{n.stores.stable, n.guard, new(vote)}, n.stores.snaps, n.wire)
	if failed := n.glue.opened(); failed != nil {
		n.cfg.Log.Error("a snapshot of the cluster's state cannot be read", "dir", n.cfg.Dir, "err", failed)
		err = errors.Join(err, failed)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft in %s: %w", n.cfg.Dir, err)
	}
	n.guard.opened.Store(true)
	return r, nil
}

// took notes that the entries up to index took effect.
func (n *Node) took(index uint64) {
	n.applied.Store(index)
	if f := n.stores.file; f != nil {
		f.NoteApplied(index)
	}
	n.wire.committed(index)
}

// effective is the index of the newest entry that took effect on this node, now
// or in an earlier life, as far as its log remembers.
func (n *Node) effective() uint64 {
	index := n.applied.Load()
	if f := n.stores.file; f != nil {
		index = max(index, f.Applied())
	}
	return index
}

// reached is how far the state of this node is known to have come, by entries
// or by snapshots.
func (n *Node) reached() (uint64, error) {
	snaps, err := n.stores.snaps.List()
	if err != nil {
		return 0, fmt.Errorf("read the snapshots: %w", err)
	}
	index := max(n.effective(), n.cfg.Store.View().Index())
	if len(snaps) > 0 {
		index = max(index, snaps[0].Index)
	}
	return index, nil
}

// Bootstrap makes a cluster with this node, reachable at addr, as its only
// voter. It leads a few milliseconds later; with a cluster already there,
// nothing happens.
func (n *Node) Bootstrap(addr string) error {
	err := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{
		{ID: raft.ServerID(n.cfg.NodeID), Address: raft.ServerAddress(addr)}}}).Error()
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("make a cluster: %w", err)
	}
	if n.onlyVoter() {
		n.elect()
	}
	return nil
}

func (n *Node) onlyVoter() bool {
	v := n.Voters()
	return len(v) == 1 && v[0] == n.cfg.NodeID
}

// elect stands for election now instead of after the timeout: raft looks for
// its leader at once when the heartbeat timeout is lowered, by however little.
func (n *Node) elect() {
	n.tune.Lock()
	defer n.tune.Unlock()
	s := n.settings()
	higher := s
	higher.HeartbeatTimeout += time.Millisecond
	higher.ElectionTimeout += time.Millisecond
	for _, s := range []raft.ReloadableConfig{higher, s} {
		if err := n.raft.ReloadConfig(s); err != nil {
			n.cfg.Log.Error("raft refused its settings", "err", err)
		}
	}
}

// settings are those of raft's that change while it runs; n.tune is held. Only
// who waits for a leader is patient with a slow disk: a leader has a heartbeat
// ready a tenth to a fifth of its own timeout after the last answer, and must
// not miss the next beat, even if that answer took half of one.
func (n *Node) settings() raft.ReloadableConfig {
	wait := n.cfg.stretch(heartbeatTimeout) * time.Duration(n.patience)
	d := n.damage.Load()
	passive := !n.HasConfiguration() || d != nil && d.mends
	n.wire.lookout.wait.Store(int64(wait))
	n.wire.lookout.passive.Store(passive)
	election := wait
	switch {
	case n.IsLeader():
		wait, election = n.cfg.stretch(heartbeatTimeout), n.cfg.stretch(handoverTimeout)
	case passive:
		wait = n.cfg.stretch(passiveTimeout)
		election = wait
	}
	return raft.ReloadableConfig{TrailingLogs: n.glue.trailing(), SnapshotInterval: never, SnapshotThreshold: n.cfg.snapshotEntries,
		HeartbeatTimeout: wait, ElectionTimeout: election}
}

// retune gives raft its settings for the present role and disk.
func (n *Node) retune() {
	n.tune.Lock()
	defer n.tune.Unlock()
	disk, slowest := n.guard.patience()
	net, late := n.wire.links.patience()
	if factor := min(disk+net-1, maxFactor); factor != n.patience {
		n.patience = factor
		n.cfg.Log.Warn("elections are as patient as the disk of the raft log and the links to the other voters need", "factor", factor, "write", slowest, "message", late)
	}
	if s := n.settings(); s != n.raft.ReloadableConfig() {
		if err := n.raft.ReloadConfig(s); err != nil {
			n.cfg.Log.Error("raft refused its settings", "err", err)
		}
	}
}

// Run takes part until ctx ends or the node cannot continue, hands over the lead
// if it has it, and closes everything. It returns why the node cannot continue:
// an entry or snapshot that this version cannot read.
func (n *Node) Run(ctx context.Context) error {
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	n.spawn(func() { n.coalesce(loops) })
	n.spawn(func() { n.snapshots(loops) })
	n.spawn(func() { n.followRole(loops) })
	var fatal error
	select {
	case <-ctx.Done():
		n.handOver(loops)
	case fatal = <-n.glue.fatal:
		n.cfg.Log.Error("raft stops on this node", "err", fatal)
	}
	n.queue.end(errEnding)
	return errors.Join(fatal, n.end(stop))
}

// handOver gives the lead to another voter, so that nobody has to wait for an
// election.
func (n *Node) handOver(ctx context.Context) {
	if !n.IsLeader() || len(n.Voters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferWithin)
	defer cancel()
	if err := n.TransferLeadership(ctx); err != nil {
		n.cfg.Log.Warn("handing over the lead failed; the others will elect", "err", err)
	}
}

// spawn starts a goroutine that the end of the node waits for; after the end
// it starts none and returns false.
func (n *Node) spawn(f func()) bool {
	n.life.Lock()
	defer n.life.Unlock()
	if n.over {
		return false
	}
	n.tasks.Go(f)
	return true
}

// end stops raft before the stores below it are closed.
func (n *Node) end(stop func()) error {
	n.life.Lock()
	n.over = true
	n.life.Unlock()
	close(n.ending)
	down := n.raft.Shutdown()
	if t, ok := n.wire.Transport.(*named); ok {
		_ = t.Close() // raft closes it too, but only after requests to nodes that are gone
	}
	ended := make(chan error, 1)
	go func() {
		err := down.Error()
		stop()
		n.tasks.Wait()
		ended <- err
	}()
	timer := time.NewTimer(endWithin)
	defer timer.Stop()
	select {
	case err := <-ended:
		n.leader.lose()
		n.keepStanding()
		return errors.Join(err, n.wire.Close(), n.stores.close())
	case <-timer.C: // the stores stay open: raft panics on one that is closed
		n.leader.lose()
		return api.Errorf(api.CodeFailed, "raft did not end within %v: the disk does not answer", endWithin)
	}
}

// followRole adapts to a new role and to the speed of the disk.
func (n *Node) followRole(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-n.leader.notify:
			n.wire.away.forget()
			n.wire.beats.forget()
			n.retune()
			if leads {
				n.leader.win()
			} else {
				n.leader.lose()
			}
		case <-n.wire.retire:
			n.cfg.Log.Warn("other nodes vote in place of this one, which takes part as a worker")
			n.retune()
		case <-n.guard.slow:
			n.retune()
		case <-n.wire.links.changed:
			n.wire.links.forget(func(id raft.ServerID) bool { return n.votes(string(id)) })
			n.retune()
		}
	}
}

// snapshots takes a snapshot when one is due. It spends at most a tenth of the
// time on it.
func (n *Node) snapshots(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.glue.full:
		}
		if !n.glue.due() {
			continue
		}
		n.retune()
		began := time.Now()
		if err := n.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrRaftShutdown) {
			n.cfg.Log.Warn("taking a snapshot of the cluster's state failed; it is tried again later", "err", err)
		}
		n.keepStanding()
		timer.Reset(9 * time.Since(began))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// Healthy is nil if this node can do its part, else why it cannot.
func (n *Node) Healthy() error {
	err := n.guard.failure()
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return api.Errorf(api.CodeUnavailable, "the raft log of this node cannot be written, as the disk of %s is full: free some space there (%v)", n.cfg.Dir, err)
	case err != nil:
		return api.Errorf(api.CodeUnavailable, "the raft log of this node cannot be written: %v", err)
	}
	return nil
}

// Fault is why the log of this node cannot be written, in a few words that stay the
// same while that is so; "" if it can, or could not for a moment only.
func (n *Node) Fault() string { return n.guard.told(time.Now()) }

// Unwell is closed as soon as, and while, Healthy is not nil.
func (n *Node) Unwell() <-chan struct{} { return n.guard.unwell() }

// Links says what is wrong with the links to the other voters, "" when nothing
// is. name is the name of a node.
func (n *Node) Links(name func(id string) string) string { return n.wire.links.describe(name) }

// Stats are numbers about Raft on this node.
type Stats struct {
	State        string // leader, follower, candidate, shutdown
	Term         uint64
	LastIndex    uint64 // of the log
	CommitIndex  uint64
	AppliedIndex uint64
	Waiting      int           // commands that wait for a log entry
	SlowWrite    time.Duration // of the recent writes to the log
	Patience     int           // by how much elections are slower because of the disk and the links
}

// Stats tells how this node does.
func (n *Node) Stats() Stats {
	_, slow := n.guard.patience()
	n.tune.Lock()
	factor := n.patience
	n.tune.Unlock()
	n.queue.mu.Lock()
	waiting := len(n.queue.items)
	n.queue.mu.Unlock()
	return Stats{State: stateName(n.raft.State()), Term: n.raft.CurrentTerm(), LastIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(),
		AppliedIndex: n.AppliedIndex(), Waiting: waiting, SlowWrite: slow, Patience: factor}
}

func stateName(s raft.RaftState) string {
	names := []string{raft.Follower: "follower", raft.Candidate: "candidate", raft.Leader: "leader", raft.Shutdown: "shutdown"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// LastIndex is that of the newest log entry on this node.
func (n *Node) LastIndex() uint64 { return n.raft.LastIndex() }

// AppliedIndex is that of the newest log entry that was handed to the store.
func (n *Node) AppliedIndex() uint64 { return n.raft.AppliedIndex() }

// HasConfiguration reports whether this node is a member of a cluster, as far as
// it knows.
func (n *Node) HasConfiguration() bool {
	return !n.wire.retired.Load() && slices.ContainsFunc(n.members(), func(s raft.Server) bool { return string(s.ID) == n.cfg.NodeID })
}

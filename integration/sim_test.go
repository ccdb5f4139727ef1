package integration

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
	"github.com/mesita/mesita/fsm"
)

// sim is a whole cluster in one process, on the fake time of a bubble: real
// consensus, state, control loops and executors, over a network and keepers
// that are in memory and do what the test says.
type sim struct {
	t     *testing.T
	nodes []*simNode
	plan  func(keeper.StartRequest) runtimetest.Plan
	watch watchdog
	over  chan struct{} // closed after the last daemon has ended

	patience time.Duration // of clients, while nobody answers
}

// simNode is one machine. What it keeps on disk outlives its daemon.
type simNode struct {
	*sim
	id, name string
	addr     raft.ServerAddress
	dir      string
	logs     *raft.InmemStore
	snaps    *raft.InmemSnapshotStore
	rt       *runtimetest.Fake

	away    atomic.Bool  // cut off from the others
	reports atomic.Int32 // what becomes of what its executor reports
	daemon  atomic.Pointer[simDaemon]
}

// What may become of a report.
const (
	reportsArrive int32 = iota
	reportsLost         // they do not reach the leader
	answersLost         // they do, and the node does not hear of it
)

const (
	simGrace  = 2 * time.Second // until a silent node is lost
	simRPC    = 5 * time.Second // as over the network
	simSecret = "not a secret"
)

// simulate runs f in a bubble with a cluster of three voters that are ready for
// work.
func simulate(t *testing.T, plan func(keeper.StartRequest) runtimetest.Plan, f func(s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, plan: plan, over: make(chan struct{}), patience: time.Minute}
		t.Cleanup(func() {
			s.settle(time.Minute) // raft does not wait for all that it started; it gives up in time
			close(s.over)
		})
		for i := range 3 {
			s.addNode(i)
		}
		t.Cleanup(func() {
			for _, n := range s.nodes {
				n.cut()
			}
			for _, n := range s.nodes {
				n.stop()
			}
		})
		s.form()
		f(s)
	})
}

func (s *sim) addNode(i int) *simNode {
	s.t.Helper()
	n := &simNode{sim: s, id: fmt.Sprintf("id%d", i), name: fmt.Sprintf("n%d", i), addr: raft.ServerAddress(fmt.Sprintf("10.0.0.%d:5050", i)),
		dir: memDir(s.t), logs: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore(), rt: runtimetest.New()}
	n.rt.Plan = s.plan
	s.nodes = append(s.nodes, n)
	return n
}

// memDir is a folder without a slow disk below it, where there is one.
func memDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mesita-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// form makes the cluster on the first node, admits the others and waits until
// all can get work.
func (s *sim) form() {
	s.t.Helper()
	for _, n := range s.nodes {
		n.start()
	}
	first := s.nodes[0].daemon.Load()
	if err := first.raft.Bootstrap(string(first.addr)); err != nil {
		s.t.Fatal(err)
	}
	s.until(time.Second, "the first node to have made the cluster", func() bool { return first.store.View().Cluster() != nil })
	now, meta := time.Now(), s.meta()
	s.must(&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: simSecret, Created: now}})
	for _, n := range s.nodes[1:] {
		s.admit(n)
	}
	s.until(10*time.Second, "all nodes to be ready", func() bool {
		for n := range first.store.View().Nodes() {
			if n.State != api.NodeReady {
				return false
			}
		}
		return true
	})
}

// admit lets a node join, and makes it a voter.
func (s *sim) admit(n *simNode) {
	s.t.Helper()
	s.must(&fsm.NodeJoin{Meta: s.meta(), Token: "t1", Hash: simSecret, NodeID: n.id, Name: n.name})
	if err := s.awaitLeader().raft.AddVoter(s.t.Context(), n.id, string(n.addr)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) nodeState(n *simNode) api.NodeState {
	if node := s.awaitLeader().store.View().Node(n.id); node != nil {
		return node.State
	}
	return api.NodeGone
}

func simLog() *slog.Logger {
	if os.Getenv("SIM_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// start starts the node's daemon, its parts in the order of the real one.
func (n *simNode) start() {
	n.t.Helper()
	log := simLog().With("node", n.name)
	_, wire := raft.NewInmemTransportWithTimeout(n.addr, simRPC)
	d := &simDaemon{simNode: n, wire: wire, store: fsm.NewStore(nil)}
	wires := newSimWire(wire, n.over)
	var err error
	d.raft, err = consensus.Open(consensus.Config{NodeID: n.id, Store: d.store, Transport: wires, LogStore: n.logs, StableStore: n.logs,
		SnapshotStore: n.snaps, Log: log})
	if err != nil {
		n.t.Fatal(err)
	}
	d.store.SetProposer(d.raft)
	d.exec, err = executor.New(executor.Config{NodeID: n.id, Name: n.name, DataDir: n.dir, BootID: "boot", Log: log,
		DiskFree: func(string) (int64, int64, error) { return 100 << 30, 200 << 30, nil }}, n.rt, d)
	if err != nil {
		n.t.Fatal(err)
	}
	n.daemon.Store(d)
	n.connect()
	d.run(wires.listen)
	d.run(d.raft.Run)
	d.run(d.exec.Run)
	d.run(d.lead)
	d.run(d.follow)
	d.run(d.announce)
}

// stop ends the daemon, if it runs; tasks continue.
func (n *simNode) stop() {
	n.t.Helper()
	d := n.daemon.Load()
	if d == nil {
		return
	}
	for _, m := range n.nodes {
		if d.raft.IsLeader() && !n.hears(m) {
			// It could hand over to a node that does not answer. Until it gives
			// up, raft spins, and fake time stands still.
			n.unplug()
			for d.raft.IsLeader() {
				n.settle(20 * time.Millisecond)
			}
		}
	}
	n.daemon.Store(nil)
	for i := len(d.stops) - 1; i >= 0; i-- {
		if err := d.stops[i](); err != nil {
			n.t.Errorf("part %d of %s ended with %v", i, n.name, err)
		}
	}
	for _, m := range n.nodes {
		if o := m.daemon.Load(); o != nil {
			o.wire.Disconnect(n.addr)
		}
	}
}

// cut takes the node off the network, heal puts it back.
func (n *simNode) cut() {
	n.away.Store(true)
	n.unplug()
}

func (n *simNode) unplug() {
	for _, m := range n.nodes {
		switch d := m.daemon.Load(); {
		case d == nil:
		case m == n:
			d.wire.DisconnectAll()
		default:
			d.wire.Disconnect(n.addr)
		}
	}
}

func (n *simNode) heal() {
	n.away.Store(false)
	n.connect()
}

func (n *simNode) connect() {
	d := n.daemon.Load()
	for _, m := range n.nodes {
		if o := m.daemon.Load(); d != nil && o != nil && m != n && !m.away.Load() && !n.away.Load() {
			o.wire.Connect(n.addr, d.wire)
			d.wire.Connect(m.addr, o.wire)
		}
	}
}

// hears reports whether a request from n gets to m.
func (n *simNode) hears(m *simNode) bool {
	return m == n || !n.away.Load() && !m.away.Load() && m.daemon.Load() != nil
}

// leader is the daemon that leads and can be reached, nil if there is none.
func (s *sim) leader() *simDaemon {
	for _, n := range s.nodes {
		if d := n.daemon.Load(); d != nil && !n.away.Load() && d.raft.IsLeader() {
			return d
		}
	}
	return nil
}

// awaitLeader is the daemon that leads as soon as one does: a lead may be lost at
// any time while faults or the machine's load disturb the heartbeats.
func (s *sim) awaitLeader() (l *simDaemon) {
	s.t.Helper()
	s.until(30*time.Second, "a leader", func() bool { l = s.leader(); return l != nil })
	return l
}

// do gets a command agreed on as a patient client does: it asks whoever leads
// until there is an answer.
func (s *sim) do(cmd fsm.Command) (any, error) {
	for end := time.Now().Add(s.patience); ; {
		err := errNoAnswer
		if l := s.leader(); l != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			var v any
			v, err = l.store.Do(ctx, cmd)
			cancel()
			switch api.ErrorCode(err) {
			case "", api.CodeConflict, api.CodeInvalid, api.CodeNotFound, api.CodeNotAllowed:
				return v, err
			}
		}
		if time.Now().After(end) {
			return nil, err
		}
		s.settle(20 * time.Millisecond)
	}
}

func (s *sim) must(cmd fsm.Command) any {
	s.t.Helper()
	v, err := s.do(cmd)
	if err != nil {
		s.t.Fatalf("%T: %v", cmd, err)
	}
	return v
}

// submit is acknowledged once it returns; the request's name makes it safe to
// repeat.
func (s *sim) submit(spec api.JobSpec) {
	s.t.Helper()
	s.must(s.creation(spec))
}

// creation is the command behind a submission.
func (s *sim) creation(spec api.JobSpec) fsm.Command {
	s.t.Helper()
	spec.Command = []string{"/bin/true"}
	spec.Normalize()
	if err := spec.Validate(); err != nil {
		s.t.Fatal(err)
	}
	return &fsm.JobCreate{Meta: s.meta(), Spec: &spec, Request: "submit " + spec.Name}
}

func (s *sim) meta() fsm.Meta { return fsm.Meta{At: time.Now(), Actor: "test"} }

func (s *sim) settle(d time.Duration) {
	time.Sleep(d) // fake
	synctest.Wait()
}

// until lets fake time pass until a condition holds, and looks at the
// invariants all the time.
func (s *sim) until(limit time.Duration, what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			s.t.Fatalf("waited %v for %s", limit, what)
		}
		s.pass(20 * time.Millisecond)
	}
}

// pass lets fake time pass.
func (s *sim) pass(d time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.settle(20 * time.Millisecond)
		s.watch.look(s)
	}
}

// agreed waits until all stores are at the same entry, and compares them byte
// by byte.
func (s *sim) agreed() {
	s.t.Helper()
	s.until(30*time.Second, "all replicas to be at the same entry", func() bool {
		l := s.leader()
		for _, n := range s.nodes {
			d := n.daemon.Load()
			if l == nil || d == nil || d.raft.AppliedIndex() != l.raft.LastIndex() {
				return false
			}
		}
		return true
	})
	var want []byte
	for _, n := range s.nodes {
		var b bytes.Buffer
		if err := n.daemon.Load().store.Snapshot().Write(&b); err != nil {
			s.t.Fatal(err)
		}
		if want == nil {
			want = b.Bytes()
		}
		if !bytes.Equal(b.Bytes(), want) {
			s.t.Errorf("the state of %s differs from that of %s", n.name, s.nodes[0].name)
		}
	}
}

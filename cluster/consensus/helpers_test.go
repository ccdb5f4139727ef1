package consensus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

func quiet() *slog.Logger {
	if os.Getenv("RAFT_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func initCluster() fsm.Command {
	return &fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: epoch}, Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: epoch},
		Authority: &api.Authority{CACert: []byte("cert"), CAKey: []byte("key"), GossipKey: []byte("0123")},
		Node:      &api.Node{ID: "n0", Name: "n0", State: api.NodeDown, Joined: epoch, Since: epoch}}
}

func createJob(name string) fsm.Command {
	s := &api.JobSpec{Name: name, Kind: api.KindBatch, Array: "0", TaskSpec: api.TaskSpec{Command: []string{"/bin/true"},
		Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 64 << 20}}}}
	s.Normalize()
	return &fsm.JobCreate{Meta: fsm.Meta{At: epoch, Actor: "test"}, Spec: s}
}

// member is one node of a test and what it runs on.
type member struct {
	*Node
	id    string
	cfg   Config
	store *fsm.Store
	stop  context.CancelFunc
	done  chan error
}

func startNode(t testing.TB, cfg Config) *member {
	t.Helper()
	m, err := tryStart(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.end() })
	return m
}

func tryStart(cfg Config) (*member, error) {
	if cfg.Store == nil {
		cfg.Store = fsm.NewStore(nil)
	}
	if cfg.Log == nil {
		cfg.Log = quiet()
	}
	n, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	cfg.Store.SetProposer(n)
	ctx, stop := context.WithCancel(context.Background())
	m := &member{Node: n, id: cfg.NodeID, cfg: cfg, store: cfg.Store, stop: stop, done: make(chan error, 1)}
	go func() { m.done <- n.Run(ctx) }()
	return m, nil
}

// end stops the node and returns what Run did; it may be called twice.
func (m *member) end() error {
	m.stop()
	err := <-m.done
	m.done <- err
	return err
}

func (m *member) bytes(t testing.TB) []byte {
	var b bytes.Buffer
	if err := m.store.Snapshot().Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (m *member) must(t testing.TB, cmds ...fsm.Command) []fsm.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := m.Propose(ctx, cmds)
	if err != nil {
		t.Fatalf("propose on %s: %v", m.id, err)
	}
	for i, r := range res {
		if r.Err != nil {
			t.Fatalf("command %d: %v", i, r.Err)
		}
	}
	return res
}

// patience ends a test that is stuck, as of its own clock.
const patience = time.Minute

// waitFor polls until ok, for at most a while.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// tcp is a stream layer over the loopback device.
type tcp struct{ net.Listener }

func (tcp) Dial(a raft.ServerAddress, d time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(a), d)
}

func listenTCP(t testing.TB) tcp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return tcp{l}
}

// atLeader does something at whoever of the nodes leads until that succeeds, and
// returns who that was: in real time a busy machine costs a leader its lead.
func atLeader(t testing.TB, nodes []*member, what string, do func(context.Context, *member) error) (leader *member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	waitFor(t, what+" by a leader", func() bool {
		i := slices.IndexFunc(nodes, func(m *member) bool { return m.IsLeader() })
		if i < 0 {
			return false
		}
		leader = nodes[i]
		if last := do(ctx, leader); last != err {
			if err = last; err != nil {
				t.Logf("%s by %s: %v", what, leader.id, err)
			}
		}
		return err == nil
	})
	return leader
}

// write creates a job by whoever leads. That it is there already is what an attempt
// left of which nobody knew the outcome.
func write(t testing.TB, nodes []*member, job string) (leader *member) {
	t.Helper()
	return atLeader(t, nodes, "job "+job, func(ctx context.Context, m *member) error {
		_, err := m.Propose(ctx, []fsm.Command{createJob(job)})
		if err == nil && m.store.View().Job(job) == nil {
			t.Fatalf("%s agreed to job %s, and has none", m.id, job)
		}
		return err
	})
}

// addVoter has whoever leads add a voter.
func addVoter(t testing.TB, nodes []*member, id, addr string) {
	t.Helper()
	atLeader(t, nodes, "voter "+id, func(ctx context.Context, m *member) error { return m.AddVoter(ctx, id, addr) })
}

// diskCluster is n voters on disk, over TCP. The first leads, unless the machine is
// too busy.
func diskCluster(t testing.TB, n int) []*member {
	t.Helper()
	var out []*member
	for i := range n {
		l := listenTCP(t)
		m := startNode(t, Config{NodeID: fmt.Sprintf("n%d", i), Dir: t.TempDir(), Stream: l})
		out = append(out, m)
		if i == 0 {
			if err := m.Bootstrap(l.Addr().String()); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "a leader", m.IsLeader)
			m.must(t, initCluster())
			continue
		}
		addVoter(t, out[:i], m.id, l.Addr().String())
	}
	return out
}

// fastHearts is an in-memory transport that answers heartbeats beside all else,
// as the one over the network does; raft's own puts them behind slow writes.
type fastHearts struct {
	*raft.InmemTransport
	rpcs   chan raft.RPC
	beat   atomic.Pointer[func(raft.RPC)]
	ending chan struct{}
}

func newFastHearts(inner *raft.InmemTransport) *fastHearts {
	f := &fastHearts{InmemTransport: inner, rpcs: make(chan raft.RPC, 16), ending: make(chan struct{})}
	go f.sort()
	return f
}

func (f *fastHearts) sort() {
	for {
		select {
		case <-f.ending:
			return
		case rpc := <-f.InmemTransport.Consumer():
			a, ok := rpc.Command.(*raft.AppendEntriesRequest)
			cb := f.beat.Load()
			if ok && cb != nil && a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0 {
				(*cb)(rpc)
				continue
			}
			select {
			case f.rpcs <- rpc:
			case <-f.ending:
				return
			}
		}
	}
}

func (f *fastHearts) Consumer() <-chan raft.RPC                 { return f.rpcs }
func (f *fastHearts) SetHeartbeatHandler(cb func(rpc raft.RPC)) { f.beat.Store(&cb) }

// memCluster is a cluster in memory, for tests in fake time.
type memCluster struct {
	t     *testing.T
	nodes []*member
	wires []*raft.InmemTransport
}

func (c *memCluster) config(i int) Config {
	_, tr := raft.NewInmemTransportWithTimeout(raft.ServerAddress(fmt.Sprintf("a%d", i)), rpcTimeout) // as over the network
	logs := raft.NewInmemStore()
	return Config{NodeID: fmt.Sprintf("n%d", i), Transport: tr, LogStore: logs, StableStore: logs, SnapshotStore: raft.NewInmemSnapshotStore()}
}

func newMemCluster(t *testing.T, n int, change func(i int, c *Config)) *memCluster {
	t.Helper()
	c := &memCluster{t: t}
	t.Cleanup(func() { c.settle(time.Minute) }) // raft does not wait for a handover that it started
	for i := range n {
		cfg := c.config(i)
		c.wires = append(c.wires, cfg.Transport.(*raft.InmemTransport))
		hearts := newFastHearts(c.wires[i])
		cfg.Transport = hearts
		t.Cleanup(func() { close(hearts.ending) }) // after the node
		if change != nil {
			change(i, &cfg)
		}
		c.nodes = append(c.nodes, startNode(t, cfg))
	}
	for i := range n {
		c.link(i)
	}
	if err := c.nodes[0].Bootstrap("a0"); err != nil {
		t.Fatal(err)
	}
	c.settle(100 * time.Millisecond)
	c.nodes[0].must(t, initCluster())
	for i := 1; i < n; i++ {
		if err := c.nodes[0].AddVoter(t.Context(), c.nodes[i].id, fmt.Sprintf("a%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.settle(time.Second)
	return c
}

func (c *memCluster) settle(d time.Duration) {
	time.Sleep(d) // fake
	synctest.Wait()
}

func (c *memCluster) cut(i int) {
	for j, w := range c.wires {
		if j != i {
			w.Disconnect(c.wires[i].LocalAddr())
		}
	}
	c.wires[i].DisconnectAll()
}

func (c *memCluster) link(i int) {
	for j, w := range c.wires {
		if j != i {
			w.Connect(c.wires[i].LocalAddr(), c.wires[i])
			c.wires[i].Connect(w.LocalAddr(), w)
		}
	}
}

// leader is who leads at this moment; that somebody does is part of the claim.
func (c *memCluster) leader(except ...int) int {
	c.t.Helper()
	i := c.leads(except...)
	if i < 0 {
		c.t.Fatal("no node leads")
	}
	return i
}

// awaitLeader is who leads as soon as anybody does: where links or disks are so bad
// that a lead may be lost and won again, there are moments without a leader.
func (c *memCluster) awaitLeader() int {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < patience; c.settle(10 * time.Millisecond) {
		if i := c.leads(); i >= 0 {
			return i
		}
	}
	c.t.Fatalf("no node leads for %v", patience)
	return -1
}

// leads is who says that it leads, the first of them, -1 if nobody does.
func (c *memCluster) leads(except ...int) int {
	return slices.IndexFunc(c.nodes, func(n *member) bool {
		return n.IsLeader() && (len(except) == 0 || n != c.nodes[except[0]])
	})
}

// term is the highest that any node has heard of.
func (c *memCluster) term() (highest uint64) {
	for _, n := range c.nodes {
		highest = max(highest, n.Stats().Term)
	}
	return highest
}

// flakyLogs is a log store that is slow or fails when told to.
type flakyLogs struct {
	*raft.InmemStore
	delay atomic.Int64
	fail  atomic.Pointer[error]
}

// flaky puts such a store under a node.
func flaky(cfg *Config) *flakyLogs {
	f := &flakyLogs{InmemStore: cfg.LogStore.(*raft.InmemStore)}
	cfg.LogStore, cfg.StableStore = f, f
	return f
}

func (f *flakyLogs) broken() error {
	time.Sleep(time.Duration(f.delay.Load())) // fake
	if e := f.fail.Load(); e != nil {
		return *e
	}
	return nil
}

func (f *flakyLogs) StoreLogs(l []*raft.Log) error {
	if err := f.broken(); err != nil {
		return err
	}
	return f.InmemStore.StoreLogs(l)
}

func (f *flakyLogs) SetUint64(k []byte, v uint64) error {
	if err := f.broken(); err != nil {
		return err
	}
	return f.InmemStore.SetUint64(k, v)
}

func (f *flakyLogs) Set(k, v []byte) error {
	if err := f.broken(); err != nil {
		return err
	}
	return f.InmemStore.Set(k, v)
}

func cmds(name string, n int) []fsm.Command {
	var out []fsm.Command
	for i := range n {
		out = append(out, createJob(fmt.Sprintf("%s-%d", name, i)))
	}
	return out
}

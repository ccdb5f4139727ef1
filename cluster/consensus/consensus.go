// Package consensus is Raft on disk for one node.
package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"go.etcd.io/bbolt"
)

type Config struct {
	NodeID     string
	Dir        string
	Store      *fsm.Store
	Stream     raft.StreamLayer
	AddrOf     func(string) (string, bool)
	Multiplier float64
	Log        *slog.Logger
}

type Node struct {
	cfg   Config
	raft  *raft.Raft
	bolt  *raftboltdb.BoltStore
	trans *raft.NetworkTransport
	queue chan *proposal
	fatal chan error

	mu     sync.Mutex
	leads  bool
	change chan struct{}
}

type proposal struct {
	data [][]byte
	size int
	done chan outcome
}
type outcome struct {
	res []fsm.Result
	err error
}

type addrProvider struct{ of func(string) (string, bool) }

func (p addrProvider) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if a, ok := p.of(string(id)); ok {
		return raft.ServerAddress(a), nil
	}
	return "", errors.New("unknown")
}

func (c *Config) raftConfig(fast bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.NodeID)
	m := func(d time.Duration) time.Duration { return time.Duration(float64(d) * c.Multiplier) }
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = m(300*time.Millisecond), m(300*time.Millisecond), m(200*time.Millisecond)
	if fast {
		rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = 5*time.Millisecond, 5*time.Millisecond, 5*time.Millisecond
	}
	rc.CommitTimeout = 25 * time.Millisecond
	rc.MaxAppendEntries = 256
	rc.BatchApplyCh = true
	rc.SnapshotThreshold, rc.TrailingLogs = 8192, 10240
	rc.ShutdownOnRemove = false
	rc.Logger = hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	return rc
}

func Open(cfg Config) (*Node, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(cfg.Dir, "raft.db"), BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second}})
	if err != nil {
		return nil, err
	}
	cache, _ := raft.NewLogCache(1024, bolt)
	snaps, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, 2, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	trans := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: cfg.Stream, MaxPool: 4, Timeout: 5 * time.Second,
		ServerAddressProvider: addrProvider{cfg.AddrOf}, Logger: hclog.NewNullLogger()})
	n := &Node{cfg: cfg, bolt: bolt, trans: trans, queue: make(chan *proposal, 4096), fatal: make(chan error, 1), change: make(chan struct{})}
	n.raft, err = raft.NewRaft(cfg.raftConfig(false), (*glue)(n), cache, bolt, snaps, trans)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Node) Bootstrap(addr string) error {
	_ = n.raft.ReloadConfig(raft.ReloadableConfig{TrailingLogs: 10240, SnapshotInterval: 2 * time.Minute, SnapshotThreshold: 8192, HeartbeatTimeout: 5 * time.Millisecond, ElectionTimeout: 5 * time.Millisecond})
	err := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(n.cfg.NodeID), Address: raft.ServerAddress(addr)}}}).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		err = nil
	}
	return err
}

func (n *Node) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	loop, stop := context.WithCancel(context.Background())
	wg.Go(func() { n.coalesce(loop) })
	var err error
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case err = <-n.fatal:
			done = true
		case leads := <-n.raft.LeaderCh():
			if leads {
				_ = n.raft.ReloadConfig(raft.ReloadableConfig{TrailingLogs: 10240, SnapshotInterval: 2 * time.Minute, SnapshotThreshold: 8192,
					HeartbeatTimeout: 300 * time.Millisecond, ElectionTimeout: 300 * time.Millisecond})
			}
			n.mu.Lock()
			n.leads = leads
			close(n.change)
			n.change = make(chan struct{})
			n.mu.Unlock()
		}
	}
	if n.IsLeader() && len(n.Voters()) > 1 {
		_ = n.raft.LeadershipTransfer().Error()
	}
	stop()
	wg.Wait()
	return errors.Join(err, n.raft.Shutdown().Error(), n.trans.Close(), n.bolt.Close())
}

func (n *Node) AwaitLeadership(ctx context.Context) (context.Context, context.CancelFunc, error) {
	for {
		n.mu.Lock()
		leads, change := n.leads, n.change
		n.mu.Unlock()
		if leads {
			term, cancel := context.WithCancel(ctx)
			go func() {
				select {
				case <-change:
					cancel()
				case <-term.Done():
				}
			}()
			return term, cancel, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-change:
		}
	}
}

func (n *Node) coalesce(ctx context.Context) {
	slots := make(chan struct{}, 4)
	for {
		var first *proposal
		select {
		case <-ctx.Done():
			return
		case first = <-n.queue:
		}
		slots <- struct{}{}
		batch, count, size := []*proposal{first}, len(first.data), first.size
		for more := true; more && count < 64 && size < 256<<10; {
			select {
			case p := <-n.queue:
				batch, count, size = append(batch, p), count+len(p.data), size+p.size
			default:
				more = false
			}
		}
		var all [][]byte
		for _, p := range batch {
			all = append(all, p.data...)
		}
		f := n.raft.Apply(fsm.Pack(all), 5*time.Second)
		go func() {
			err := f.Error()
			<-slots
			var res []fsm.Result
			if err == nil {
				res = f.Response().([]fsm.Result)
			}
			for _, p := range batch {
				if err != nil {
					code := api.CodeUnknown
					if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrRaftShutdown) {
						code = api.CodeUnavailable
					}
					p.done <- outcome{err: api.Errorf(code, "%v", err)}
					continue
				}
				p.done <- outcome{res: res[:len(p.data)]}
				res = res[len(p.data):]
			}
		}()
	}
}

func (n *Node) Propose(ctx context.Context, cmds []fsm.Command) ([]fsm.Result, error) {
	if !n.IsLeader() {
		return nil, api.Errorf(api.CodeUnavailable, "this node does not lead")
	}
	p := &proposal{done: make(chan outcome, 1)}
	for _, c := range cmds {
		b, err := fsm.EncodeOne(c)
		if err != nil {
			return nil, err
		}
		p.data, p.size = append(p.data, b), p.size+len(b)
	}
	select {
	case n.queue <- p:
	default:
		return nil, api.Errorf(api.CodeBusy, "too many changes wait: try again")
	}
	select {
	case o := <-p.done:
		return o.res, o.err
	case <-ctx.Done():
		return nil, api.Errorf(api.CodeUnknown, "%v", context.Cause(ctx))
	}
}

func (n *Node) IsLeader() bool { return n.raft.State() == raft.Leader }
func (n *Node) LeaderID() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}
func (n *Node) Barrier(context.Context) error { return n.raft.Barrier(10 * time.Second).Error() }
func (n *Node) Voters() []string {
	var out []string
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, string(s.ID))
		}
	}
	slices.Sort(out)
	return out
}
func (n *Node) HasConfiguration() bool { return len(n.Voters()) > 0 }
func (n *Node) CaughtUp() bool {
	return n.raft.CommitIndex() > 0 && n.raft.AppliedIndex() >= n.raft.CommitIndex()
}
func (n *Node) AddVoter(_ context.Context, id, addr string) error {
	return n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr), 0, 10*time.Second).Error()
}
func (n *Node) Remove(_ context.Context, id string) error {
	return n.raft.RemoveServer(raft.ServerID(id), 0, 10*time.Second).Error()
}

type glue Node

func (g *glue) Apply(l *raft.Log) any { return g.ApplyBatch([]*raft.Log{l})[0] }
func (g *glue) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	var es []fsm.Entry
	var at []int
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			es, at = append(es, fsm.Entry{Index: l.Index, Data: l.Data}), append(at, i)
		}
	}
	if len(es) == 0 {
		return out
	}
	res, err := g.cfg.Store.Apply(es)
	if err != nil {
		select {
		case g.fatal <- fmt.Errorf("apply: %w", err):
		default:
		}
		select {}
	}
	for i, r := range res {
		out[at[i]] = r
	}
	return out
}
func (g *glue) Snapshot() (raft.FSMSnapshot, error) { return persist{g.cfg.Store.Snapshot()}, nil }
func (g *glue) Restore(r io.ReadCloser) error       { defer r.Close(); return g.cfg.Store.Restore(r) }

type persist struct{ s *fsm.Snapshot }

func (p persist) Persist(sink raft.SnapshotSink) error {
	if err := p.s.Write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}
func (persist) Release() {}

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/api/mesos"
	"github.com/mesita/mesita/api/mesos/operator"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/foresee"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/fetch"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/outside"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
	"github.com/mesita/mesita/isolation"
)

func (a *Agent) loadCertificates(key *tlsconf.NodeKey) error {
	cert, err := a.files.LoadCert()
	if err != nil {
		return err
	}
	ca, err := a.files.LoadCA()
	if err != nil {
		return err
	}
	a.certs, err = tlsconf.NewHolder(key, cert, ca, a.cfg.Wall)
	if err != nil {
		return err
	}
	a.certs.SetMember(a.isMember)
	a.certs.SetSession(a.session)
	a.certs.SetGone(func(id string) bool { return a.knownGone(id) != nil })
	a.certs.SetAdmit(func(tlsconf.Caller) error { return api.Errorf(api.CodeUnavailable, "this node is starting") })
	return nil
}

// isMember reports whether the state knows a node as a member.
func (a *Agent) isMember(id string) bool {
	n := a.store.View().Node(id)
	return n != nil && n.State != api.NodeGone
}

// nodeAt is the node that a connection is charged to: one that was removed is
// anybody.
func (a *Agent) nodeAt(cs tls.ConnectionState) (budget.Who, bool) {
	id, ok := a.certs.NodeOf(cs)
	return budget.Who{Class: budget.Trusted, Name: "node " + id}, ok && a.knownGone(id) == nil
}

// isMemberOrVotes also believes what the log of a voter says of who votes, for
// as long as it has not read the state: if its clock is wrong by more than a
// certificate lives, it would take no other voter's and never read it.
func (a *Agent) isMemberOrVotes(id string) bool {
	return a.isMember(id) || a.store.View().Cluster() == nil && slices.Contains(a.raft.Voters(), id)
}

// raftStreams carries Raft over mutual TLS.
type raftStreams struct {
	net.Listener
	peers *peers
	self  net.Addr
	proto string
}

var _ consensus.NodeDialer = raftStreams{}

func (s raftStreams) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.DialNode("", string(addr), timeout)
}

// DialNode opens a connection to that node, and to no other that has its
// address now.
func (s raftStreams) DialNode(id, addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.peers.dial(ctx, addr, s.proto, id)
}

func (s raftStreams) Addr() net.Addr { return s.self }

func (a *Agent) openRaft(l net.Listener) error {
	self, err := net.ResolveTCPAddr("tcp", a.addr)
	if err != nil {
		return api.InField("advertise", err)
	}
	a.raft, err = consensus.Open(consensus.Config{NodeID: a.self.NodeID, Dir: a.dir.File("raft"), Store: a.store,
		Stream: raftStreams{l, a.peers, self, a.line.Name(tlsconf.ProtoRaft)}, AddrOf: a.addrOf, Before: a.votedBefore(), Remember: a.rememberStanding, Ask: a.askSightings, Refilled: a.refilled.notify, Committed: a.meter.Committed, Multiplier: a.cfg.RaftMultiplier, Log: a.log})
	if err != nil {
		return err
	}
	a.store.SetProposer(a.raft)
	a.certs.SetMember(a.isMemberOrVotes)
	a.certs.SetAdmit(a.admitStream)
	a.peers.trusts = func() bool { return !a.least() || a.hasState() }
	return nil
}

func (a *Agent) openGossip(streams net.Listener, udp net.PacketConn) error {
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		return a.peers.dial(ctx, addr, a.line.Name(tlsconf.ProtoGossip), "")
	}
	at, err := netip.ParseAddrPort(a.addr)
	if err != nil {
		return api.FieldErrorf("advertise", "%q is not an IP:PORT", a.addr)
	}
	tr, err := gossip.NewTransport(udp, streams, dial, at, a.log)
	if err != nil {
		return err
	}
	if err := a.openVouching(tr, udp); err != nil {
		return err
	}
	g, err := gossip.New(gossip.Config{NodeID: a.self.NodeID, Name: a.self.Name, ClusterID: a.line.Name(a.self.ClusterID), Key: a.self.GossipKey, Also: a.self.GossipAlso,
		AdvertiseAddr: at.Addr().String(), AdvertisePort: int(at.Port()), Meta: a.meta(), Holder: a.holder, Transport: tr, Log: a.log})
	if err == nil {
		a.gossip.Store(g)
		a.store.SetLevelRemedy(func(need fsm.Level) string { return levelRemedy(a.levels(), int(need)) })
	}
	return err
}

// openVouching prepares both ends of asking keepers: this node asks those of
// others over its port, and its own is told what it needs to answer there.
func (a *Agent) openVouching(tr *gossip.Transport, udp net.PacketConn) error {
	key, err := vouch.DeriveKey(a.self.KeepersKey())
	if err != nil {
		return err
	}
	a.asker, err = vouch.NewAsker(key, func(b []byte, addr string) error {
		_, err := tr.WriteTo(b, addr)
		return err
	})
	if err != nil {
		return err
	}
	tr.Divert(vouch.Prefix, a.asker.Handle)
	port, err := netip.ParseAddrPort(udp.LocalAddr().String())
	a.vouch = &keeper.Vouch{Node: a.self.NodeID, Boot: bootID(), Addr: port, Key: key}
	return err
}

// askKeeper asks the keeper of another node.
func (a *Agent) askKeeper(ctx context.Context, p vouch.Probe) (vouch.Answer, error) {
	addr, ok := a.addrOf(p.Node)
	if !ok {
		return vouch.Answer{}, fmt.Errorf("the address of node %s is not known", a.nameOf(p.Node))
	}
	return a.asker.Ask(ctx, addr, p)
}

// meta is what this node tells the others about itself by gossip.
func (a *Agent) meta() gossip.Meta {
	a.selfMu.Lock()
	starts, ring, ca := a.self.Starts, a.self.GossipStep, a.self.CAStep
	a.selfMu.Unlock()
	var s consensus.Standing
	if told := a.stands.Load(); told != nil {
		s = *told
	}
	return gossip.Meta{ID: a.self.NodeID, Name: a.self.Name, Addr: a.addr, Version: a.cfg.Version, Voter: a.voting.Load(), VoterOnly: a.self.VoterOnly, Boot: a.started,
		Level: int(fsm.Newest), Cluster: int(a.store.View().Level()), Hold: a.holds.Load(),
		Session: a.session, Starts: starts, Ring: ring, CA: ca, Term: s.Term, LastTerm: s.LastTerm, LastIndex: s.LastIndex}
}

// tellVoter lets the others know whether this node can answer for the cluster.
func (a *Agent) tellVoter(voter bool) {
	a.voting.Store(voter)
	a.tell()
}

// tell passes on what this node says of itself by gossip.
func (a *Agent) tell() {
	a.telling.Lock() // so that the last to come is the newest
	defer a.telling.Unlock()
	if err := a.gossip.Load().UpdateMeta(a.meta()); err != nil {
		a.log.Warn("telling the others about this node failed", "err", err)
	}
}

func (a *Agent) openExecutor(rep executor.Reporter) error {
	host, err := isolation.Detect(isolation.Config{Root: a.cfg.CgroupRoot, Slice: a.cfg.Slice, Log: a.log})
	if err != nil {
		return fmt.Errorf("find out what this machine can isolate: %w", err)
	}
	a.host = host
	if err := host.Spare(isolation.DaemonScore); err != nil {
		a.log.Info("the kernel may kill this process when memory runs out", "err", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	argv := []string{exe, "keeper", "--slice", a.cfg.Slice}
	if a.cfg.CgroupRoot != "" {
		argv = append(argv, "--cgroup-root", a.cfg.CgroupRoot)
	}
	kc := keeper.ClientConfig{Dir: a.dir.File("keeper"), Argv: argv, Log: a.log, Vouch: a.vouch, OneKeeper: a.oneKeeper}
	if err := keeper.EndOthers(context.Background(), kc, host, func(dir string) bool { return datadir.InUse(filepath.Dir(dir)) }); err != nil { // bounded by itself
		return api.InField("slice", err)
	}
	res, err := a.cfg.resources()
	if err != nil {
		return err
	}
	reserve, err := a.cfg.diskReserve()
	if err != nil {
		return err
	}
	rt := keeper.NewClient(kc)
	around := outside.Config{Name: a.self.Name, Has: res, Log: a.log}
	if host.Attributes()["isolation.memory"] == "yes" {
		around.TaskMemory = host.TaskMemory
	}
	a.exec, err = executor.New(executor.Config{NodeID: a.self.NodeID, Name: a.self.Name, Age: a.line.ID(), DataDir: a.dir.File("executor"), Hidden: []string{a.dir.Path}, Log: a.log,
		CPUs: res.CPUs, Mem: res.Mem, Kernel: host, Cores: host, Outside: outside.New(around), Fetch: a.fetchBlob, Fetcher: []string{"mesita", FetchCommand}, Needed: a.neededUploads, Now: a.cfg.Now, Env: a.executorEnv, Ask: a.executors.Ask, DiskReserve: int64(reserve),
		BlobCache: a.cfg.ProgramCache, LogKeep: a.cfg.LogKeep, LogTotal: a.cfg.LogTotal, DirKeep: a.cfg.FolderKeep}, rt, rep)
	return errors.Join(err)
}

// oneKeeper reports whether a daemon may still run here that knows of one keeper
// only: those below the level of fsm.ProcessSpecs.
func (a *Agent) oneKeeper() bool {
	return !a.store.View().Does(fsm.ProcessSpecs) && !fsm.Level(a.selfLevel()).Has(fsm.ProcessSpecs)
}

// FetchCommand is the word by which this program is a fetcher: see FetchMain.
const FetchCommand = "fetch-files"

// FetchMain is the life of the process that brings what a task has fetched, in the task's
// place. It returns its exit code.
func FetchMain(ctx context.Context, came, why io.Writer) int { return fetch.Main(ctx, came, why) }

// KeeperConfig is what the process needs that is the parent of a node's tasks.
type KeeperConfig struct {
	Dir, Slice, CgroupRoot string
	Log                    io.Writer
}

// KeeperMain is the life of that process.
func KeeperMain(ctx context.Context, cfg KeeperConfig) error {
	log := slog.New(slog.NewTextHandler(cfg.Log, nil))
	return keeper.Main(ctx, keeper.Config{Dir: cfg.Dir, Log: log, Isolation: isolation.Config{Root: cfg.CgroupRoot, Slice: cfg.Slice, Log: log}})
}

// attrs are the operator's attributes and what was found out.
func (a *Agent) attrs() map[string]string {
	attrs := machineAttrs()
	maps.Copy(attrs, a.host.Attributes())
	maps.Copy(attrs, a.cfg.Attrs)
	if a.cfg.AllowRoot || a.cfg.Dev {
		attrs[api.AttrAllowRoot] = "yes"
	}
	return attrs
}

func (a *Agent) newServer() {
	authn := auth.New(auth.Config{
		Directory: func() auth.Directory { return a.store.View() },
		Final:     members{a}.IsLeader,
		NodeCert: func(r *http.Request) (auth.Peer, bool) {
			p, ok := tlsconf.PeerOf(r.Context())
			return auth.Peer(p), ok
		},
		Admit:        a.admitPeer,
		Least:        a.least,
		Votes:        func(p auth.Peer) bool { return a.vouches(p.ID, p.Voter) },
		NoLocalAdmin: a.noLocalAdmin,
		Confines:     a.host.Confines,
		Node:         a.self.Name,
		Now:          a.cfg.Now,
	})
	a.server = server.New(server.Config{Store: a.store, Cluster: members{a}, Local: local{a}, Planner: foresee.Planner{Planner: a.planner()}, Moves: foresee.Planner{Planner: a.planner()}, Queue: foresee.NewQueues(a.planner()), Shares: foresee.Shares{Planner: allocator.Planner{Now: a.cfg.Now}, Jobs: a.planner(), Tallies: a.tallies}, History: a.history, Audit: a.audit,
		Auth: authn, Now: a.cfg.Now, Forgets: a.forgets, Log: a.log, Version: a.cfg.Version, NodeName: a.self.Name, MaxStreams: a.cfg.MaxStreams, Floods: &a.floods, Meter: a.meter, Machine: local{a}})
	a.operator = operator.New(operator.Config{Store: a.store, Nodes: members{a}, Version: a.cfg.Version, Master: func() (*v1.MasterInfo, time.Time, bool) { return a.mesos.Master() },
		Figures: func() operator.Figures { return a.mesos.Figures }})
	a.mesos = mesos.New(mesos.Config{Store: a.store, Cluster: members{a}, Auth: authn, Now: a.cfg.Now, Forgets: a.forgets, Log: a.log, NodeName: a.self.Name, Floods: &a.floods, Audit: a.audit,
		Send: a.tellExecutor, Receive: a.hearFramework, Others: a.operator.Routes()})
	a.newNodeAPI(authn)
}

// serve runs an HTTP server on a listener, and gives open requests a moment at
// the end.
func (a *Agent) serve(name string, l net.Listener, cred auth.Credentials) {
	a.serveBy(name, l, cred, a.withNode(cred, a.mesos.Handler(cred, a.server.Handler(cred))))
}

// serveMesos serves frameworks alone, in the clear.
func (a *Agent) serveMesos(l net.Listener) {
	cred := auth.Bearer
	if a.cfg.MesosAnonymous {
		cred = auth.Anybody
		a.log.Warn("whoever reaches this address may run programs on the cluster's nodes: frameworks need no credentials (--mesos-anonymous)", "address", l.Addr())
	}
	a.serveBy("mesos", l, cred, a.withNode(cred, a.mesos.Handler(cred, nil)))
}

func (a *Agent) serveBy(name string, l net.Listener, cred auth.Credentials, h http.Handler) {
	srv := server.NewHTTPServer(a.ages.tell(h), a.log)
	if cred == auth.TLS {
		plain := srv.ConnContext
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return a.certs.ConnContext(plain(ctx, c), c) }
	}
	a.serveHTTP(name, srv, l)
}

func (a *Agent) serveHTTP(name string, srv *http.Server, l net.Listener) {
	a.stack.start(name, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() {
			sctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if srv.Shutdown(sctx) != nil {
				_ = srv.Close() // streams do not end by themselves
			}
		})
		defer stop()
		err := srv.Serve(l)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
}

// fetchBlob gets an uploaded program from a node that holds it: those that are
// known to first, then any other. They come in another order each time, since
// what one of them sends may be damaged.
func (a *Agent) fetchBlob(ctx context.Context, digest string, w io.Writer) error {
	var ids []string
	if b := a.store.View().Blob(digest); b != nil {
		ids = append(ids, b.Nodes...)
		rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	}
	for _, m := range a.gossip.Load().Members() {
		ids = append(ids, m.ID)
	}
	tried := map[string]bool{a.self.NodeID: true}
	last := fmt.Errorf("no other node holds the program %s", digest)
	for _, id := range ids {
		if tried[id] {
			continue
		}
		tried[id] = true
		found, err := a.fetchFrom(ctx, id, digest, w)
		if found {
			return err
		}
		if err != nil {
			last = err
		}
	}
	return last
}

// fetchFrom copies a program from one node; found reports whether any of it was
// written.
func (a *Agent) fetchFrom(ctx context.Context, id, digest string, w io.Writer) (found bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id+"/v1/blobs/"+digest, nil)
	if err != nil {
		return false, err
	}
	res, err := a.peers.anyTransport(id).RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, nil
	}
	_, err = io.Copy(w, io.LimitReader(res.Body, api.MaxBlob+1))
	return true, err
}

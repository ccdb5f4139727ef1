package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mesita/mesita/cluster/datadir"
	"github.com/mesita/mesita/cluster/localip"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/api/mesos"
	"github.com/mesita/mesita/api/mesos/agent"
	"github.com/mesita/mesita/api/mesos/node"
	"github.com/mesita/mesita/api/mesos/operator"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/api/server/meter"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/allocator/offer"
	"github.com/mesita/mesita/cluster/audit"
	"github.com/mesita/mesita/cluster/calm"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/history"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/cluster/skew"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/clock"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
	"github.com/mesita/mesita/isolation"
)

// Agent is one node.
type Agent struct {
	cfg Config
	log *slog.Logger

	dir     *datadir.Dir
	files   tlsconf.Files
	self    *datadir.Node
	line    ages.Line  // of this life
	ringMu  sync.Mutex // held while the keys of gossip change
	selfMu  sync.Mutex // held to change self, and to read what changes
	addr    string     // that others reach
	moved   string     // the one of the start before, if it was another
	address localip.Found
	started uint64 // grows with each start
	counted bool   // this start is in what the node remembers of itself
	pending *datadir.Pending
	makes   bool // this start has to make the cluster, or did not note that it was made

	certs     *tlsconf.Holder
	peers     *peers
	ages      *ageGuard
	store     *fsm.Store
	raft      *consensus.Node
	gossip    atomic.Pointer[gossip.Gossip] // nil until it is open: peers are let in before
	host      *isolation.Host
	exec      *executor.Executor
	asker     *vouch.Asker  // of other nodes' keepers
	vouch     *keeper.Vouch // what this node's keeper needs to answer
	server    *server.Server
	mesos     *mesos.Server
	operator  *operator.Server
	hosts     datadir.Executors // where executors of frameworks find this node
	executors *agent.Desk       // hands them their tasks
	nodeAPI   *node.Server      // answers operators of this node in the words of Mesos
	history   *history.History
	audit     *audit.Log

	auditWas  string    // what was wrong with it at the start
	auditTold time.Time // when the cluster was told of it
	stack     *stack

	spared  bool                        // a token that was not needed
	logged  *api.Authority              // the CA as the log has it, while the state is not read
	seeds   []string                    // where the others were at the start
	removal atomic.Pointer[api.Removal] // this node was removed
	gone    chan struct{}               // closed once this node has no part in its cluster any more
	leaves  sync.Once                   // closes gone
	session string                      // of this start, see session.go
	claimed chan struct{}               // closed once this start speaks for the node
	speaks  sync.Once                   // closes claimed
	doubt   signal                      // another node refused this one
	refusal string                      // what was said last of a hello that was refused; announce has it
	roll    roll                        // who belongs to the cluster

	leastRights atomic.Bool                         // see least
	scheduler   atomic.Pointer[scheduler.Scheduler] // while this node leads
	desk        atomic.Pointer[offer.Desk]          // likewise

	turnedAway lately        // who claimed to be another node
	floods     budget.Floods // who asks this node for too much
	meter      *meter.Meter  // what /metrics counts

	changed   signal // who is alive, or where
	renewed   signal // this node's certificate
	lost      signal // what a worker heard of itself
	ca        caNews
	refilled  signal // what this voter had lost is there again
	joined    signal // the cluster knows this node
	announced atomic.Bool
	fed       atomic.Bool              // a voter feeds this worker
	told      atomic.Uint64            // index of the newest assignments that a stream brought
	ownNode   atomic.Pointer[api.Node] // what a worker heard of itself
	leader    leaderCache
	found     stateAnswers // about its own state
	telling   sync.Mutex
	voting    atomic.Bool                        // this node answers for the cluster
	stands    atomic.Pointer[consensus.Standing] // what the others were told of this voter
	sightings sightings
	fresh     bool                       // this start made the identity
	up        chan struct{}              // closed when all parts run
	holds     atomic.Bool                // this node was told to hold the level
	levelDue  atomic.Int64               // when the level will be raised: see levelLoop
	made      atomic.Bool                // this start made the cluster
	trust     atomic.Pointer[skew.Trust] // of the newest time that this node led
}

// Ready is what a node that can serve tells its starter.
type Ready struct {
	Name        string
	ClusterName string
	API         string // https://host:port
	Address     string // which of several was found to be what others reach, and why
	CA          string // file by which API is verified
	Socket      string
	HTTP        string   // http://host:port, "" = none
	Made        bool     // the cluster was just made
	Joined      bool     // this start joined one
	Steps       []string // what was done, in a few words each
	Warnings    []string // what this node cannot enforce
}

// New checks the configuration.
func New(cfg Config) (*Agent, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Agent{cfg: cfg, log: cfg.Log, stack: newStack(), up: make(chan struct{}), gone: make(chan struct{}), claimed: make(chan struct{}), session: newSession(), meter: meter.New(cfg.Version, clock.Uptime()), started: uint64(cfg.Now().UnixNano())}, nil
}

// Run starts the node, calls ready once it can serve, and blocks until ctx
// ends or a part of the node fails. Tasks outlive it.
func (a *Agent) Run(ctx context.Context, ready func(Ready)) error {
	var once sync.Once
	for {
		err := a.live(ctx, func(r Ready) { once.Do(func() { ready(r) }) })
		if !errors.Is(err, errNewAge) && !errors.Is(err, errOdd) && !errors.Is(err, errDemoted) && !errors.Is(err, errMoved) || ctx.Err() != nil {
			return err
		}
		if a, err = New(a.cfg); err != nil {
			return err
		}
	}
}

// live is one life of the node, in one age of its cluster.
func (a *Agent) live(ctx context.Context, ready func(Ready)) error {
	dir, err := datadir.Open(a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.dir = dir
	defer dir.Close()
	defer func() {
		if a.peers != nil {
			a.peers.close()
		}
	}()
	l, err := a.listen()
	if err != nil {
		return err
	}
	err = a.start(ctx, l)
	if err != nil {
		l.close()
		return errors.Join(err, a.stack.stop())
	}
	a.stack.start("report readiness", func(rctx context.Context) error {
		if a.awaitReady(rctx) == nil {
			a.namer().await(rctx)
			ready(a.readiness(l))
			if a.cfg.MesosAnonymous && !a.hasState() {
				a.log.Info("until this node votes, which a worker never does, it passes on no call without credentials (--mesos-anonymous)")
			}
		}
		<-rctx.Done()
		return nil
	})
	return a.stack.wait(ctx)
}

// start brings the parts up from the bottom: keys, the port, gossip, Raft, the
// executor, HTTP, and last what makes this node take part.
func (a *Agent) start(ctx context.Context, l *listeners) error {
	if err := clock.SetSlack(clock.IdleSlack); err != nil {
		a.log.Debug("waits for timers cost a little more", "err", err)
	}
	a.store = fsm.NewStore(nil)
	key, err := a.identify(ctx)
	if err != nil {
		return err
	}
	if err := a.loadCertificates(key); err != nil {
		return err
	}
	if err := a.refuseRemoved(ctx); err != nil {
		return err
	}
	if err := a.enterAge(ctx); err != nil {
		return err
	}
	a.makes = a.pending != nil
	a.ages = newAgeGuard(a.line, a.nameOf, a.log)
	a.peers = newPeers(a.certs, a.addrOf, a.ages, a.doubt.notify)
	a.noteLeast(a.self.Level)
	admit := turnAway(l.tcp)
	err = a.beginSession(ctx)
	admit()
	if err != nil {
		return err
	}
	protoRaft, protoGossip := a.line.Name(tlsconf.ProtoRaft), a.line.Name(tlsconf.ProtoGossip)
	conns := budget.NewConns(budget.DefaultConns, a.log, &a.floods)
	mux := tlsconf.NewMux(tlsconf.MuxConfig{Listener: l.tcp, TLS: a.certs.ServerConfig(protocols(a.line)), Log: a.log, HTTPConns: conns, Who: a.nodeAt, Keep: a.certs.Keep})
	raftStreams, gossipStreams, https := mux.Listener(protoRaft), mux.Listener(protoGossip), mux.HTTP()
	a.stack.start("port", mux.Run)

	if err := a.openRaft(raftStreams); err != nil {
		return err
	}
	if err := a.loadHold(); err != nil {
		return err
	}
	a.findSeeds()
	if err := a.mendCertificate(key); err != nil {
		return err
	}
	if err := a.openGossip(gossipStreams, l.udp); err != nil {
		return err
	}
	a.stack.start("gossip", a.gossip.Load().Run)
	a.stack.start("gossip events", a.watchGossip)
	a.stack.start("raft", a.raft.Run)
	a.stack.start("level", a.tellLevel)
	a.stack.start("gossip key", a.followRing)
	a.stack.start("CA key", a.followCA)
	a.stack.start("state hashes", a.answerChecks)
	a.stack.start("state verdict", a.awaitVerdict)
	a.stack.start("demotion", a.awaitDemotion)
	a.stack.start("removed nodes", a.endRemoved)
	a.stack.start("certificate", a.rotator().Run)
	a.stack.start("certificate names", a.keepNamed)
	a.stack.start("address", a.followAddress)
	a.history = history.New(history.Config{Dir: a.dir.File("events"), Node: a.self.Name, Source: a.store, MaxBytes: a.cfg.EventBytes, MaxAge: a.cfg.EventAge, Now: a.cfg.Now, Log: a.log})
	a.stack.start("history", a.history.Run)
	a.audit = audit.New(audit.Config{Dir: a.dir.File("audit"), Node: a.self.Name, MaxBytes: a.cfg.AuditBytes, MaxAge: a.cfg.AuditAge, Now: a.cfg.Now, Log: a.log})
	a.stack.start("audit", a.audit.Run)
	a.openDesk(reporter{a})
	if err := a.openExecutor(lastWords{reporter{a}, a.executors}); err != nil {
		return err
	}
	a.stack.start("frameworks' tasks", a.executors.Run)
	a.stack.start("executor", a.exec.Run)
	a.newServer()
	a.stack.start("commands beside tasks", a.nodeAPI.Run)
	a.serve("https", https, auth.TLS)
	a.serve("socket", conns.Listener(insiders{l.unix, a.host}, auth.CallerOf), auth.Unix)
	if l.root != nil {
		a.serve("root's socket", conns.Listener(insiders{l.root, a.host}, auth.CallerOf), auth.Unix)
	}
	if l.http != nil {
		cred := auth.Bearer
		if a.cfg.Dev {
			cred = auth.Open
		}
		a.serve("http", conns.Listener(l.http, auth.CallerOf), cred)
	}
	if l.mesos != nil {
		a.serveMesos(conns.Listener(l.mesos, auth.CallerOf))
	}
	for _, port := range []net.Listener{l.executors, l.agent} {
		if port != nil {
			a.serveExecutors(conns.Listener(port, auth.CallerOf))
		}
	}
	a.stack.start("leader loops", a.lead)
	a.stack.start("session", a.holdSession)
	a.stack.start("assignments", a.followAssignments)
	a.stack.start("presence", a.announce)
	a.stack.start("age", a.followAge)
	a.rejoin()
	close(a.up)
	if a.makes {
		return a.raft.Bootstrap(a.addr)
	}
	return nil
}

// identify loads this node's identity, or makes it: a cluster of its own, or
// by joining one.
func (a *Agent) identify(ctx context.Context) (*tlsconf.NodeKey, error) {
	a.files = tlsconf.Files{Dir: a.dir.Path}
	self, err := a.dir.Load()
	if err != nil {
		return nil, err
	}
	if a.pending, err = a.dir.LoadPending(); err != nil {
		return nil, err
	}
	key, err := a.key(self)
	if err != nil {
		return nil, err
	}
	switch {
	case self != nil && self.NodeID != key.ID():
		return nil, api.Errorf(api.CodeConflict, "the data folder %s is of node %s, and its key is of node %s: restore the key that belongs to it, or use another --data", a.dir.Path, self.NodeID, key.ID())
	case self != nil && a.cfg.Name != "" && a.cfg.Name != self.Name:
		return nil, api.Errorf(api.CodeConflict, "the data folder %s is of node %q: start it without --name, or use another --data", a.dir.Path, self.Name)
	case self != nil && len(a.cfg.JoinAddrs) > 0:
		tok, err := api.ParseJoinToken(a.cfg.Token)
		if err != nil {
			return nil, err
		}
		if tok.Cluster != self.Cluster {
			return nil, api.Errorf(api.CodeConflict, "this node is in cluster %s already, and the token is of %s: use another --data", self.Cluster, tok.Cluster)
		}
		a.spared = true
		a.self = self
	case self != nil:
		a.self = self
	default:
		if a.cfg.Name == "" {
			a.cfg.Name = defaultName()
		}
		if err := a.firstStart(ctx, key); err != nil {
			return nil, err
		}
		a.fresh = true
	}
	a.cfg.Name, a.cfg.VoterOnly = a.self.Name, a.self.VoterOnly
	return key, nil
}

func (a *Agent) firstStart(ctx context.Context, key *tlsconf.NodeKey) error {
	switch {
	case len(a.cfg.JoinAddrs) > 0:
		return a.join(ctx, key)
	case a.pending != nil:
		return a.adoptCluster(key, a.pending)
	}
	if err := a.newCluster(key); err != nil {
		return err
	}
	var err error
	a.pending, err = a.dir.LoadPending()
	return err
}

// listeners are the sockets of a node.
type listeners struct {
	tcp  net.Listener
	udp  net.PacketConn
	unix net.Listener
	root net.Listener // nil = none
	http net.Listener // nil = none

	mesos net.Listener // nil = none

	executors net.Listener // of frameworks; nil on a node that runs nothing
	agent     net.Listener // likewise, at the port that was asked for; nil = none
}

func (l *listeners) close() {
	for _, c := range []interface{ Close() error }{l.tcp, l.udp, l.unix, l.root, l.http, l.mesos, l.executors, l.agent} {
		if c != nil {
			_ = c.Close() // it is given up
		}
	}
}

// listen opens all sockets before anything is written, so that a port that is
// taken changes nothing.
func (a *Agent) listen() (*listeners, error) {
	l := &listeners{}
	if err := a.openListeners(l); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (a *Agent) openListeners(l *listeners) error {
	addr, err := a.cfg.listenAddr()
	if err != nil {
		return err
	}
	if l.tcp, l.udp, err = listenBoth(addr); err != nil {
		return err
	}
	if l.unix, l.root, err = listenLocal(a.cfg.Socket); err != nil {
		return err
	}
	if a.cfg.HTTP != "" {
		if l.http, err = net.Listen("tcp", a.cfg.HTTP); err != nil {
			return listenError("http", a.cfg.HTTP, err)
		}
	}
	if a.cfg.MesosHTTP != "" {
		if l.mesos, err = net.Listen("tcp", a.cfg.MesosHTTP); err != nil {
			return listenError("mesos-http", a.cfg.MesosHTTP, err)
		}
	}
	if err := a.openForExecutors(l); err != nil {
		return err
	}
	a.findAddress(l.tcp.Addr().(*net.TCPAddr))
	a.cfg.Listen = l.tcp.Addr().String() // a port that was found stays the node's, whatever age it is in
	return nil
}

// listenBoth opens the one port for TCP and UDP; with port 0 it looks for one
// that is free for both.
func listenBoth(addr *net.TCPAddr) (net.Listener, net.PacketConn, error) {
	for try := 0; ; try++ {
		tcp, err := net.ListenTCP("tcp", addr)
		if err != nil {
			return nil, nil, listenError("listen", addr.String(), err)
		}
		at := tcp.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: addr.IP, Port: at.Port})
		if err == nil {
			q, err := calm.NewPacketConn(udp)
			if err != nil {
				return nil, nil, errors.Join(listenError("listen", at.String()+" (UDP)", err), tcp.Close(), udp.Close())
			}
			return boundListener{tcp}, q, nil
		}
		_ = tcp.Close() // it is given up
		if addr.Port != 0 || try == 20 {
			return nil, nil, listenError("listen", at.String()+" (UDP)", err)
		}
	}
}

func listenError(field, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return &api.Error{Code: api.CodeConflict, Field: field, Message: addr + " is taken by another program: stop it, or give another address with --" + field}
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return api.FieldErrorf(field, "%s is not an address of this machine", addr)
	}
	return api.InField(field, fmt.Errorf("listen on %s: %w", addr, err))
}

// readiness is what the starter is told once the node can serve.
func (a *Agent) readiness(l *listeners) Ready {
	r := Ready{Name: a.self.Name, ClusterName: a.self.Cluster, API: "https://" + a.addr, CA: a.files.CAPath(), Socket: a.cfg.Socket, Warnings: a.host.Warnings()}
	if dir := datadir.Barred(a.cfg.DataDir); dir != "" && !a.cfg.VoterOnly {
		r.Warnings = append(r.Warnings, "tasks that are not root cannot enter their folders: "+dir+" lets nobody pass; `chmod o+x "+dir+"`, or give another --data")
	}
	if a.spared {
		r.Warnings = append(r.Warnings, "this node was in cluster "+a.self.Cluster+" already: the token was not needed and is not used up; it starts with `mesita node start`, and its key gets it new certificates")
	}
	r.Warnings, r.Address = append(r.Warnings, a.addressWarnings()...), a.address.Choice()
	if l.http != nil {
		r.HTTP = "http://" + l.http.Addr().String()
	}
	r.Made, r.Joined = a.made.Load(), a.fresh && len(a.cfg.JoinAddrs) > 0
	switch {
	case r.Made:
		r.Steps = append(r.Steps, "cluster CA and keys made", "raft 1/1")
	case r.Joined:
		r.Steps = append(r.Steps, "CA pin matches", "certificate issued")
	}
	r.Steps = append(r.Steps, "isolation: "+string(a.host.Mode()))
	return r
}

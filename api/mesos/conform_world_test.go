package mesos_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/allocator/offer"
	"github.com/mesita/mesita/fsm"
)

// cluster is nodes of four CPUs and 8 GiB of which one leads, with all that frameworks
// meet of them: the state, what makes offers and ends them, and the API. Its clients know
// nothing of mesita. It is of one bubble, in which time passes while everybody waits.
type cluster struct {
	t     *testing.T
	store *fsm.Store
	nodes map[string]*node
	lead  string
	stop  func() // the lead
}

// node is one that serves the API.
type node struct {
	id     string
	of     *cluster
	server *mesos.Server
	dial   func() (net.Conn, error) // its listener for frameworks
	peers  func() (net.Conn, error) // its listener for nodes
}

// conformed runs a test on a cluster of that many nodes, once in each bubble.
func conformed(t *testing.T, nodes int, test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newCluster(t, nodes)) })
}

var names = []string{"oak", "elm", "fir"}

func newCluster(t *testing.T, nodes int) *cluster {
	c := &cluster{t: t, store: fsm.NewStore(nil), nodes: map[string]*node{}, stop: func() {}}
	c.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: c.meta(), Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak"}})
	c.do(&fsm.TokenCreate{Meta: c.meta(), Token: &api.Token{ID: "t", Hash: "h"}})
	for i, id := range names[:nodes] {
		if i > 0 {
			c.do(&fsm.NodeJoin{Meta: c.meta(), Token: "t", Hash: "h", NodeID: id, Name: id})
		}
		c.hello(id)
		c.nodes[id] = c.newNode(id)
	}
	c.leads("oak")
	t.Cleanup(func() { c.stop() })
	return c
}

// pause lets the time of the bubble pass that the test is in.
func pause(d time.Duration) { time.Sleep(d) }

func (c *cluster) meta() fsm.Meta { return fsm.Meta{At: time.Now()} }

func (c *cluster) do(cmd fsm.Command) any {
	c.t.Helper()
	v, err := c.store.Do(context.Background(), cmd)
	if err != nil {
		c.t.Fatalf("%T: %v", cmd, err)
	}
	return v
}

// hello has a node answer.
func (c *cluster) hello(id string) {
	c.t.Helper()
	c.do(&fsm.NodeHello{Meta: c.meta(), ID: id, Hello: api.NodeHello{Addr: "10.0.0.1:5050", Level: int(fsm.Newest),
		Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 31000, Last: 31099}}}}})
}

// lose has a node not answer.
func (c *cluster) lose(id string) {
	c.t.Helper()
	c.do(&fsm.NodeState{Meta: c.meta(), ID: id, State: api.NodeUnreachable, Since: c.store.View().Node(id).Since})
}

// partition makes one, which frameworks call a role.
func (c *cluster) partition(path string) {
	c.t.Helper()
	c.do(&fsm.PartitionPut{Meta: c.meta(), Partition: &api.Partition{Path: path, Weight: 1000}})
}

// becomes is what its node says of a task.
func (c *cluster) becomes(framework, task string, state api.TaskState) {
	c.t.Helper()
	t := c.store.View().FrameworkTask(framework, task)
	if t == nil {
		c.t.Fatalf("there is no task %s", task)
	}
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: state, PID: 77, Time: time.Now()}
	if state.Final() {
		st.ExitCode, st.Reason = new(0), api.ReasonExited
	}
	c.do(&fsm.TaskReport{Meta: c.meta(), Statuses: []api.TaskStatus{st}})
}

// leads has a node lead, and the one before not any more.
func (c *cluster) leads(id string) {
	c.stop()
	c.lead = id
	ctx, cancel := context.WithCancel(context.Background())
	desk := offer.NewDesk(time.Now)
	maker := offer.New(offer.Config{Store: c.store, Desk: desk, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Left:  func() (uint64, map[string]api.Resources) { return c.store.View().Index(), nil },
		Begin: func(v *fsm.View, wants func(string) int) offer.Round { return allocator.Begin(v, claims(wants)) }})
	alloc := allocator.New(c.store, time.Now, slog.New(slog.DiscardHandler))
	runs := []func(context.Context) error{maker.Run, alloc.Run, func(ctx context.Context) error { return c.nodes[id].server.Lead(ctx, desk) }}
	over := make(chan struct{}, len(runs))
	for _, run := range runs {
		go func() {
			_ = run(ctx) // always nil
			over <- struct{}{}
		}()
	}
	c.stop = func() {
		cancel()
		for range runs {
			<-over
		}
		c.stop = func() {}
	}
	synctest.Wait()
}

type claims func(string) int

func (c claims) Wants(p string) int { return c(p) }

func (c *cluster) newNode(id string) *node {
	n := &node{id: id, of: c}
	n.server = mesos.New(mesos.Config{Store: c.store, Cluster: n, Now: time.Now, Forgets: func() bool { return true }, Log: slog.New(slog.DiscardHandler), NodeName: id,
		Auth: auth.New(auth.Config{Directory: func() auth.Directory { return c.store.View() }, Final: func() bool { return true }, Now: time.Now, NodeCert: between,
			Admit: func(*http.Request, string) error { return nil }, Least: func() bool { return true }, Votes: func(auth.Peer) bool { return true }})})
	n.dial = c.listen(n.server.Handler(auth.Anybody, nil))
	n.peers = c.listen(n.server.Handler(auth.TLS, nil))
	return n
}

// between takes what comes by a node's other listener for what another node sent.
func between(*http.Request) (auth.Peer, bool) { return auth.Peer{ID: "fir", Voter: true}, true }

// The cluster as one of its nodes sees it.
func (n *node) NodeID() string         { return n.id }
func (n *node) LeaderID() string       { return n.of.lead }
func (n *node) IsLeader() bool         { return n.of.lead == n.id }
func (n *node) HasReplica() bool       { return true }
func (n *node) Healthy() error         { return nil }
func (n *node) PassOn(string) []string { return nil }
func (n *node) Peer(id string) (string, http.RoundTripper, error) {
	to := n.of.nodes[id]
	if to == nil {
		return "", nil, errors.New("there is no such node")
	}
	return id + ":5050", &http.Transport{DisableKeepAlives: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return to.peers() }}, nil
}

// pipes is a listener of connections within the process.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5050} }

// listen serves until the test is over.
func (c *cluster) listen(h http.Handler) (dial func() (net.Conn, error)) {
	p := &pipes{conns: make(chan net.Conn), over: make(chan struct{})}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.Serve(p) // until it is closed
	}()
	c.t.Cleanup(func() {
		close(p.over)
		_ = s.Close()
		<-over
		time.Sleep(time.Second) // for which it waits for who was refused and writes on
	})
	return func() (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case p.conns <- there:
			return here, nil
		case <-p.over:
			return nil, fmt.Errorf("dial: %w", net.ErrClosed)
		}
	}
}

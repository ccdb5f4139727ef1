package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/server/exchange"
	"github.com/mesita/mesita/fsm"
)

var testTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// world is what the nodes of a test share: who leads, and how to reach whom.
type world struct {
	leader atomic.Pointer[string]
	mu     sync.Mutex
	nodes  map[string]*testNode
	cuts   map[[2]string]bool
	pooled atomic.Bool // a connection from before the cut looks alive; no other can be made
}

func newWorld() *world {
	w := &world{nodes: map[string]*testNode{}, cuts: map[[2]string]bool{}}
	w.lead("")
	return w
}

func (w *world) lead(id string) { w.leader.Store(&id) }

// testNode is one server with a fake of all that it stands on.
type testNode struct {
	*fakeLocal
	t      testing.TB
	world  *world
	id     string
	store  *fsm.Store
	server *Server
	http   *httptest.Server
	auth   *auth.Authenticator

	shares  *fakeShares
	sick    error
	links   string
	replica bool
	joined  []api.JoinRequest
	joinErr error
	removed []string
	claims  []string
	fits    error
	panics  bool
	lost    atomic.Int64                  // requests that went into a cut link
	asked   atomic.Int64                  // requests that came in
	belief  atomic.Pointer[string]        // of who leads; nil = as it is
	hang    atomic.Pointer[chan struct{}] // requests wait for this
}

// testCert is the header that stands for a verified node certificate.
const testCert = "Test-Node-Certificate"

// newTestNode starts a server; nodes that share a store are replicas of one
// cluster.
func newTestNode(t testing.TB, w *world, id string, store *fsm.Store, change ...func(*Config)) *testNode {
	n := &testNode{fakeLocal: &fakeLocal{blobs: map[string][]byte{}}, t: t, world: w, id: id, store: store, shares: &fakeShares{}, replica: true}
	n.auth = auth.New(auth.Config{
		Directory: func() auth.Directory { return n.store.View() },
		Final:     n.IsLeader,
		NodeCert: func(r *http.Request) (string, string, bool) {
			id, session, _ := strings.Cut(r.Header.Get(testCert), " ")
			return id, session, id != ""
		},
		Now: func() time.Time { return testTime },
	})
	cfg := Config{Store: store, Cluster: n, Local: n, Planner: n, Shares: n.shares, Auth: n.auth, Now: func() time.Time { return testTime },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "1.2.3", NodeName: id + "-name"}
	for _, f := range change {
		f(&cfg)
	}
	n.server = New(cfg)
	n.server.http.Patience.Read, n.server.http.Patience.Write = 100*time.Millisecond, 5*time.Second
	n.http = n.listen(auth.TLS)
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
	return n
}

// listen opens one more listener of that kind.
func (n *testNode) listen(cred auth.Credentials) *httptest.Server {
	s := httptest.NewUnstartedServer(nil)
	h := n.server.Handler(cred)
	s.Config = NewHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		if c := n.hang.Load(); c != nil {
			<-*c
		}
		h.ServeHTTP(w, r)
	}), n.server.Log)
	s.StartTLS()
	n.t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// newLeader is a cluster of one node, ready for work.
func newLeader(t testing.TB, change ...func(*Config)) *testNode {
	w := newWorld()
	n := newTestNode(t, w, "oak", newStore(t), change...)
	w.lead("oak")
	return n
}

// newStore is the state of a cluster with the node oak.
func newStore(t testing.TB) *fsm.Store {
	s := fsm.NewStore(nil)
	do(t, s, &fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: testTime}, Cluster: &api.Cluster{ID: "c1", Name: "pine"},
		Authority: &api.Authority{CAKey: []byte("top secret"), Pin: "0123456789abcdef0123456789abcdef0123456789abcdef0123"},
		Node:      &api.Node{ID: "oak", Name: "oak-name", Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
	return s
}

func do(t testing.TB, s *fsm.Store, c fsm.Command) any {
	t.Helper()
	v, err := s.Do(context.Background(), c)
	if err != nil {
		t.Fatalf("%T: %v", c, err)
	}
	return v
}

// addNode adds a ready node to the state.
func addNode(t testing.TB, s *fsm.Store, id string) {
	t.Helper()
	tok := &api.Token{ID: "join-" + id, Kind: api.TokenJoin, Hash: "h"}
	do(t, s, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	do(t, s, &fsm.NodeJoin{Meta: fsm.Meta{At: testTime}, Token: tok.ID, Hash: "h", NodeID: id, Name: id + "-name"})
	do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: id, Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
}

// token makes a client token in the state and returns its text.
func (n *testNode) token(role api.Role) string {
	n.t.Helper()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Role: role}, testTime)
	do(n.t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	return api.ClientSecret(tok.ID, secret)
}

// request is one call of the API.
type request struct {
	method, path string
	body         any // a string is sent as it is
	token        string
	cert         string
	header       http.Header
}

// reply is its whole answer.
type reply struct {
	*http.Response
	body []byte
}

func (n *testNode) send(q request) reply {
	n.t.Helper()
	res, err := n.http.Client().Do(n.newRequest(n.http, q))
	if err != nil {
		n.t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return reply{res, b}
}

func (n *testNode) newRequest(s *httptest.Server, q request) *http.Request {
	n.t.Helper()
	var body io.Reader
	switch b := q.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			n.t.Fatal(err)
		}
		body = bytes.NewReader(j)
	}
	r, err := http.NewRequestWithContext(n.t.Context(), q.method, s.URL+q.path, body)
	if err != nil {
		n.t.Fatal(err)
	}
	for k, v := range q.header {
		r.Header[k] = v
	}
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.cert != "" {
		r.Header.Set(testCert, q.cert)
	}
	return r
}

// want checks the status and, for an error, returns it.
func (r reply) want(t testing.TB, status int) *api.Error {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL, r.StatusCode, status, r.body)
	}
	if r.Header.Get(exchange.HeaderIndex) == "" {
		t.Errorf("%s %s: no %s", r.Request.Method, r.Request.URL, exchange.HeaderIndex)
	}
	if status < 400 {
		return nil
	}
	var e exchange.ErrorBody
	if err := json.Unmarshal(r.body, &e); err != nil || e.Error == nil {
		return nil
	}
	return e.Error
}

func into[T any](t testing.TB, r reply) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return v
}

type items[T any] struct {
	Items []T    `json:"items"`
	Index uint64 `json:"index"`
}

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// The fake of Cluster.

func (n *testNode) NodeID() string   { return n.id }
func (n *testNode) IsLeader() bool   { return *n.world.leader.Load() == n.id }
func (n *testNode) HasReplica() bool { return n.replica }
func (n *testNode) Healthy() error   { return n.sick }
func (n *testNode) Links() string    { return n.links }

func (n *testNode) Level() api.LevelStatus { return api.LevelStatus{Level: 1, Next: 1} }

func (n *testNode) StateAnswer(uint64) (api.StateAnswer, bool) { return api.StateAnswer{}, false }

func (n *testNode) CheckState(context.Context, string) (*api.StateCheck, error) {
	return &api.StateCheck{}, nil
}

func (n *testNode) HoldLevel(bool) error { return nil }

func (n *testNode) Seen(string) Sighting { return Sighting{} }

func (n *testNode) SetLevel(context.Context, api.LevelRequest, string) (api.LevelStatus, error) {
	return n.Level(), nil
}

func (n *testNode) LeaderID() string {
	if b := n.belief.Load(); b != nil {
		return *b
	}
	return *n.world.leader.Load()
}

// PassOn are all others; a link that is cut is one of the leader's.
func (n *testNode) PassOn(leader string) []string {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	var out []string
	for id := range n.world.nodes {
		if id != leader && id != n.id {
			out = append(out, id)
		}
	}
	return out
}

func (n *testNode) Role(id string) string {
	if id == n.LeaderID() {
		return "voter, leader"
	}
	return "voter"
}

func (n *testNode) Peer(id string) (string, http.RoundTripper, error) {
	n.world.mu.Lock()
	far := n.world.nodes[id]
	cut := n.world.cuts[[2]string{n.id, id}]
	n.world.mu.Unlock()
	if cut {
		n.lost.Add(1)
		if n.world.pooled.Load() {
			return "10.0.0.1:1", noAck{n.lost.Load() == 1}, nil
		}
		return "10.0.0.1:1", noAnswer{}, nil
	}
	if far == nil {
		return "", nil, api.Errorf(api.CodeUnavailable, "no address of %s", id)
	}
	return far.http.Listener.Addr().String(), certified{far.http.Client().Transport, n.id}, nil
}

// noAnswer is a link that takes everything and gives nothing back.
type noAnswer struct{}

func (noAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// noAck is a link that a connection is left to, which ends some time after a
// request went into it; no other can be made.
type noAck struct{ left bool }

func (n noAck) RoundTrip(r *http.Request) (*http.Response, error) {
	if !n.left {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if t := httptrace.ContextClientTrace(r.Context()); t != nil {
		t.GotConn(httptrace.GotConnInfo{Reused: true})
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT}
}

// cut cuts the link between two nodes.
func (w *world) cut(a, b string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[[2]string{a, b}], w.cuts[[2]string{b, a}] = true, true
}

// certified shows the node's certificate with each request.
type certified struct {
	http.RoundTripper
	id string
}

func (c certified) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(testCert, c.id)
	return c.RoundTripper.RoundTrip(r)
}

func (n *testNode) Join(_ context.Context, r api.JoinRequest) (*api.JoinGrant, error) {
	n.joined = append(n.joined, r)
	return &api.JoinGrant{NodeID: "new", Name: r.Name}, n.joinErr
}

func (n *testNode) Session() string { return "session-of-" + n.id }

func (n *testNode) Claim(_ context.Context, id string, c *api.SessionClaim) error {
	n.claims = append(n.claims, id+" "+c.Session)
	return nil
}

func (n *testNode) Renewal(_ context.Context, csr []byte, _ bool) (*api.Renewal, error) {
	return &api.Renewal{Certificate: append([]byte("for "), csr...)}, nil
}

func (n *testNode) Renew(_ context.Context, id string, csr []byte) ([]byte, error) {
	return append([]byte("cert of "+id+" for "), csr...), nil
}

func (n *testNode) RemoveNode(_ context.Context, node *api.Node, force bool, actor string) error {
	n.removed = append(n.removed, node.ID+" "+actor)
	return nil
}

// The fake of Planner.

func (n *testNode) CheckFits(*fsm.View, *api.JobSpec) error {
	if n.panics {
		panic("a bug")
	}
	return n.fits
}

func (n *testNode) Plan(_ *fsm.View, s *api.JobSpec) *api.Plan {
	return &api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks()}
}

func (n *testNode) Explain(_ *fsm.View, id string) (*api.Why, error) {
	return &api.Why{ID: id, Summary: "because"}, nil
}

// fakeShares is the fake of Shares: it knows usage and nothing of fairness.
type fakeShares struct {
	refuse error
	warn   []string
}

func (f *fakeShares) Status(v *fsm.View) []api.PartitionStatus {
	var out []api.PartitionStatus
	for p := range v.Partitions() {
		out = append(out, api.PartitionStatus{Partition: p, PartitionUsage: v.Usage(p.Path), Capacity: v.Capacity(), Share: 0.25, Fair: 0.5})
	}
	return out
}

func (f *fakeShares) Plan(v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error) {
	p := cmd.Partition
	c := api.PartitionChange{Partition: p, Action: "create", Warnings: f.warn}
	if v.Partition(p.Path) != nil {
		c.Action = "update"
	}
	return c, f.refuse
}

func (f *fakeShares) PlanRemove(v *fsm.View, path string, _ bool) (api.PartitionChange, error) {
	return api.PartitionChange{Partition: v.Partition(path), Action: "remove"}, f.refuse
}

// fakeLocal is the fake of Local.
type fakeLocal struct {
	mu    sync.Mutex
	blobs map[string][]byte
	full  bool
	logs  func(ctx context.Context, q LogQuery, emit func(*LogPiece) error) error
	exec  func(ctx context.Context, r ExecRequest, start func() (ExecIO, error)) (int, error)
	stats []api.TaskStats
}

func (f *fakeLocal) Logs(ctx context.Context, q LogQuery, emit func(*LogPiece) error) error {
	return f.logs(ctx, q, emit)
}

func (f *fakeLocal) Exec(ctx context.Context, r ExecRequest, start func() (ExecIO, error)) (int, error) {
	return f.exec(ctx, r, start)
}

func (f *fakeLocal) Stats(context.Context) ([]api.TaskStats, error) { return f.stats, nil }

func (f *fakeLocal) HasBlob(d string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blobs[d] != nil
}

func (f *fakeLocal) OpenBlob(d string) (io.ReadCloser, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.blobs[d]
	if !ok {
		return nil, 0, api.Errorf(api.CodeNotFound, "program %s is not on this node", d)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

func (f *fakeLocal) PutBlob(d string, fill func(io.Writer) error) error {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[d] = b.Bytes()
	return nil
}

func (f *fakeLocal) DiskFull() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "/var/lib/mesita", f.full
}

func (f *fakeLocal) setFull(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

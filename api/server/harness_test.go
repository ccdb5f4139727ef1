package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

var testTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// world is what the nodes of a test share: who leads, and how to reach whom.
type world struct {
	leader  atomic.Pointer[string]
	mu      sync.Mutex
	nodes   map[string]*testNode
	cuts    map[[2]string]bool
	workers map[string]bool // may speak for themselves only
	pooled  atomic.Bool     // a connection from before the cut looks alive; no other can be made
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

	shares    *fakeShares
	sick      error
	links     string
	replica   bool
	joined    []api.JoinRequest
	joinErr   error
	removed   []string
	claims    []string
	fits      error
	panics    bool
	tell      func(answer any)              // says more in a plan or a why
	back      map[string]int                // of what waits, by how far it moved back
	strangers map[string]error              // nodes that are not let in
	retired   map[string]bool               // nodes that take no part in Raft
	noBlobs   bool                          // other nodes get no programs
	lost      atomic.Int64                  // requests that went into a cut link
	asked     atomic.Int64                  // requests that came in
	belief    atomic.Pointer[string]        // of who leads; nil = as it is
	hang      atomic.Pointer[chan struct{}] // requests wait for this
}

// testCert is the header that stands for a verified node certificate.
const testCert = "Test-Node-Certificate"

// newTestNode starts a server; nodes that share a store are replicas of one
// cluster.
func newTestNode(t testing.TB, w *world, id string, store *fsm.Store, change ...func(*Config)) *testNode {
	n := quietNode(t, w, id, store, change...)
	n.http = n.listen(auth.TLS)
	return n
}

// quietNode is one that listens nowhere.
func quietNode(t testing.TB, w *world, id string, store *fsm.Store, change ...func(*Config)) *testNode {
	n := &testNode{fakeLocal: &fakeLocal{blobs: map[string][]byte{}}, t: t, world: w, id: id, store: store, shares: &fakeShares{}, replica: true}
	n.auth = auth.New(auth.Config{
		Directory: func() auth.Directory { return n.store.View() },
		Final:     n.IsLeader,
		NodeCert: func(r *http.Request) (auth.Peer, bool) {
			id, session, _ := strings.Cut(r.Header.Get(testCert), " ")
			return auth.Peer{ID: id, Session: session}, id != ""
		},
		Admit: func(_ *http.Request, id string) error { return n.strangers[id] },
		Least: func() bool { return true },
		Votes: func(p auth.Peer) bool { return w.votes(p.ID) },
		NoLocalAdmin: func() (bool, error) {
			c := n.store.View().Cluster()
			return c != nil && c.NoLocalAdmin, nil
		},
		Now: func() time.Time { return testTime },
	})
	cfg := Config{Store: store, Cluster: n, Local: n, Planner: n, Moves: n, Queue: n, Shares: n.shares, Auth: n.auth, Now: func() time.Time { return testTime },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "1.2.3", NodeName: id + "-name"}
	for _, f := range change {
		f(&cfg)
	}
	n.server = New(cfg)
	n.server.http.Patience.Read, n.server.http.Patience.Write = 100*time.Millisecond, 5*time.Second
	n.server.http.Patience.Connect = time.Minute // on a busy machine
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
	return n
}

// listen opens one more listener of that kind.
func (n *testNode) listen(cred auth.Credentials) *httptest.Server { return n.listenBy(cred, false) }

func (n *testNode) listenBy(cred auth.Credentials, http2 bool) *httptest.Server {
	s := httptest.NewUnstartedServer(nil)
	s.EnableHTTP2 = http2
	h := asDescribed(n.t, n.server.Handler(cred))
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
func newStore(t testing.TB) *fsm.Store { return newStoreAt(t, fsm.Newest) }

func newStoreAt(t testing.TB, level fsm.Level) *fsm.Store {
	s := fsm.NewStore(nil)
	do(t, s, &fsm.ClusterInit{Level: level, Meta: fsm.Meta{At: testTime}, Cluster: &api.Cluster{ID: "c1", Name: "pine"},
		Authority: &api.Authority{CAKey: []byte("top secret"), CACert: []byte("cert"), Pin: "0123456789abcdef0123456789abcdef0123456789abcdef0123"},
		Node:      &api.Node{ID: "oak", Name: "oak-name", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
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
	do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: id, Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
}

// token makes a client token in the state and returns its text.
func (n *testNode) token(role api.Role) string {
	n.t.Helper()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Role: role}, testTime)
	do(n.t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	return api.ClientToken{ID: tok.ID, Secret: secret}.String()
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
	deadline := time.NewTimer(time.Minute)
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

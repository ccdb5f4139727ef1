package server

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// twoNodes is a cluster that oak leads and elm follows.
func twoNodes(t *testing.T) (w *world, oak, elm *testNode) {
	w = newWorld()
	store := newStore(t)
	addNode(t, store, "elm")
	oak, elm = newTestNode(t, w, "oak", store), newTestNode(t, w, "elm", store)
	w.lead("oak")
	return w, oak, elm
}

func TestFollowerRelays(t *testing.T) {
	_, oak, elm := twoNodes(t)
	token := oak.token(api.RoleOperator)
	r := elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token})
	r.want(t, 201)
	if j := into[api.Job](t, r); !strings.HasPrefix(j.Actor, "token:") {
		t.Errorf("the leader saw the actor %q", j.Actor)
	}
	elm.send(request{method: "GET", path: "/v1/jobs/web", token: token}).want(t, 200)
	elm.send(request{method: "GET", path: "/v1/jobs/wob", token: token}).want(t, 404)
	if e := elm.send(request{method: "POST", path: "/v1/jobs", body: `{"nam":"x"}`, token: token}).want(t, 400); e.Field != "nam" {
		t.Errorf("the leader's error got lost: %+v", e)
	}
	for i, rt := range oak.server.table {
		if rt.Method == "POST" && rt.Path == "/v1/jobs" && oak.server.http.Answers(i)[4] != 1 {
			t.Errorf("the leader counted %v", oak.server.http.Answers(i))
		}
	}
}

func TestRelayWaitsForALeader(t *testing.T) {
	w, oak, elm := twoNodes(t)
	token := oak.token(api.RoleOperator)
	w.lead("")
	got := make(chan reply, 1)
	go func() { got <- elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}) }()
	until(t, "elm is asked", func() bool { return elm.waiting() })
	w.lead("oak")
	(<-got).want(t, 201)
}

// waiting reports whether a request reached the server and has no answer.
func (n *testNode) waiting() bool { return n.asked.Load() > 0 }

func TestRelayFollowsTheLead(t *testing.T) {
	w, oak, elm := twoNodes(t)
	token := oak.token(api.RoleOperator)
	// elm believes in oak, which has lost the lead and says so; then elm wins.
	ash := newTestNode(t, w, "ash", oak.store)
	oldLead := "oak"
	elm.belief.Store(&oldLead)
	w.lead("")
	got := make(chan reply, 1)
	go func() { got <- elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}) }()
	until(t, "oak refused", func() bool { return oak.asked.Load() > 1 })
	w.lead("ash")
	elm.belief.Store(nil)
	(<-got).want(t, 201)
	if ash.asked.Load() == 0 {
		t.Error("the new leader was not asked")
	}
}

func TestLeaderThatLosesTheLeadRelays(t *testing.T) {
	w, oak, elm := twoNodes(t)
	token := oak.token(api.RoleOperator)
	lost := fsm.NewStore(lostLead{w})
	// oak answers from a store whose log nobody accepts any more.
	copyTokens(t, lost, oak.store)
	oak.store, oak.server.Store, oak.server.http.Store = lost, lost, lost
	r := oak.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token})
	r.want(t, 201)
	if elm.store.View().Job("web") == nil {
		t.Error("the job is not where the new leader is")
	}
}

// lostLead is the proposer of a leader that finds out that it leads no more.
type lostLead struct{ w *world }

func (p lostLead) Propose(context.Context, []fsm.Command) ([]fsm.Result, error) {
	p.w.lead("elm")
	return nil, api.Errorf(api.CodeUnknown, "leadership lost")
}

// A write that was lost with the lead is sent again; if it is refused then, that
// may be because it is done, and the caller must not take it for undone.
func TestRefusalAfterTheLeadWasLost(t *testing.T) {
	for _, first := range []string{"oak", "ash"} { // the leader itself; one that relays to it
		w, oak, elm := twoNodes(t)
		ash := newTestNode(t, w, "ash", elm.store)
		token := oak.token(api.RoleAdmin)
		elm.send(request{method: "PUT", path: "/v1/partitions/ml", body: `{"weight":2}`, token: token}).want(t, 200)
		body := `{"weight":3}`
		lost := fsm.NewStore(lostLead{w})
		copyTokens(t, lost, oak.store)
		oak.store, oak.server.Store, oak.server.http.Store = lost, lost, lost
		asked := oak
		if first == "ash" {
			asked = ash
		}
		w.lead("oak")
		e := asked.send(request{method: "PUT", path: "/v1/partitions/ml?create=1", body: body, token: token}).want(t, 502)
		if e.Code != api.CodeUnknown || !strings.Contains(e.Message, "may have been done") {
			t.Errorf("%s: %+v", first, e)
		}
		if e := asked.send(request{method: "PUT", path: "/v1/partitions/ml?create=1", body: body, token: token}).want(t, 409); e.Code != api.CodeConflict {
			t.Errorf("%s, asked anew: %+v", first, e)
		}
	}
}

// copyTokens fills an empty store through another proposer's back.
func copyTokens(t *testing.T, to, from *fsm.Store) {
	t.Helper()
	cmds := []fsm.Command{&fsm.ClusterInit{Level: fsm.Newest, Cluster: from.View().Cluster(), Authority: from.View().Authority(), Node: from.View().Node("oak")}}
	for tok := range from.View().Tokens() {
		cmds = append(cmds, &fsm.TokenCreate{Token: tok})
	}
	entry, err := fsm.Encode(cmds...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Apply([]fsm.Entry{{Index: 1, Data: entry}}); err != nil {
		t.Fatal(err)
	}
}

func TestNoLeader(t *testing.T) {
	w, oak, elm := twoNodes(t)
	token := oak.token(api.RoleAdmin)
	w.lead("")
	elm.server.http.Patience.Write = 200 * time.Millisecond
	r := elm.send(request{method: "GET", path: "/v1/nodes", token: token})
	r.want(t, 200)
	if r.Header.Get(exchange.HeaderStale) != "1" {
		t.Error("an old answer does not say so")
	}
	if e := elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 503); e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "no leader") {
		t.Errorf("%+v", e)
	}
	elm.send(request{method: "GET", path: "/v1/health"}).want(t, 503)
	elm.replica = false
	elm.send(request{method: "GET", path: "/v1/nodes", token: token}).want(t, 503)
}

func TestWorkerWithoutReplica(t *testing.T) {
	w, oak, _ := twoNodes(t)
	token := oak.token(api.RoleOperator)
	worker := newTestNode(t, w, "fir", fsm.NewStore(nil))
	addNode(t, oak.store, "fir")
	worker.replica = false
	worker.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
	worker.send(request{method: "GET", path: "/v1/tokens", token: token}).want(t, 403)
	e := worker.send(request{method: "GET", path: "/v1/jobs", token: "msc1-wrong.secret"}).want(t, 401)
	if e.Code != api.CodeNotAllowed {
		t.Errorf("%+v", e)
	}
	// Routes that the worker answers itself: the leader checks the token.
	worker.send(request{method: "GET", path: "/v1/local/stats", token: token}).want(t, 200)
	worker.send(request{method: "GET", path: "/v1/local/stats", token: "msc1-wrong.secret"}).want(t, 401)
	viewer := oak.token(api.RoleViewer)
	worker.send(request{method: "PUT", path: "/v1/blobs/" + helloDigest, body: "hello", token: viewer}).want(t, 403)
	worker.send(request{method: "PUT", path: "/v1/blobs/" + helloDigest + "?name=x", body: "hello", token: token}).want(t, 200)
	if b := oak.store.View().Blob(helloDigest); b == nil || len(b.Nodes) != 1 || b.Nodes[0] != "fir" || b.Size != 5 || b.Name != "x" {
		t.Errorf("the cluster knows %+v", b)
	}
}

func TestForgedHeaders(t *testing.T) {
	_, oak, elm := twoNodes(t)
	forged := http.Header{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"root"}, auth.HeaderRole: {"admin"}, auth.HeaderNode: {"oak"}}
	for _, n := range []*testNode{oak, elm} {
		n.send(request{method: "GET", path: "/v1/tokens", header: forged}).want(t, 401)
		n.send(request{method: "GET", path: "/v1/tokens", header: forged, token: oak.token(api.RoleViewer)}).want(t, 403)
		r := n.send(request{method: "GET", path: "/v1/whoami", header: forged, token: oak.token(api.RoleViewer)})
		r.want(t, 200)
		if who := into[exchange.Whoami](t, r); who.Role != api.RoleViewer || who.Actor == "root" {
			t.Errorf("%s believes %+v", n.id, who)
		}
	}
	// The same headers from a node that votes count.
	oak.send(request{method: "GET", path: "/v1/tokens", header: forged, cert: "elm"}).want(t, 200)
	// A relayed request without an identity is nobody's, not the node's.
	oak.send(request{method: "GET", path: "/v1/tokens", header: http.Header{auth.HeaderForwarded: {"1"}}, cert: "elm"}).want(t, 401)
	oak.send(request{method: "GET", path: "/v1/tokens", cert: "elm"}).want(t, 403)
}

// asRoot is how a node tells that its own root asks.
var asRoot = http.Header{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"root"}, auth.HeaderRole: {"admin"}}

// A node that does not vote has no rights but its own: it is not a user, nobody else,
// and no other node; and it passes a token on to whoever can check it.
func TestAWorkerIsNobodyElse(t *testing.T) {
	w, oak, elm := twoNodes(t)
	w.workers = map[string]bool{"elm": true}
	token := oak.token(api.RoleOperator)
	r := elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token})
	r.want(t, 201)
	if j := into[api.Job](t, r); !strings.HasPrefix(j.Actor, "token:") {
		t.Errorf("the leader saw the actor %q", j.Actor)
	}
	r = oak.send(request{method: "GET", path: "/v1/whoami", cert: "elm", header: asRoot})
	r.want(t, 200)
	if who := into[exchange.Whoami](t, r); who.Actor != "root@elm-name" || who.Role != api.RoleAdmin {
		t.Errorf("root of elm is %+v", who)
	}
	for _, claim := range []http.Header{
		{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"token:ci"}, auth.HeaderRole: {"admin"}},
		{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"root@oak-name"}, auth.HeaderRole: {"admin"}},
		{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"node:oak-name"}, auth.HeaderRole: {"node"}, auth.HeaderNode: {"oak"}},
	} {
		oak.send(request{method: "GET", path: "/v1/whoami", cert: "elm", header: claim}).want(t, 401)
		oak.send(request{method: "GET", path: "/v1/internal/feed", cert: "elm", header: claim}).want(t, 401)
		oak.send(request{method: "POST", path: "/v1/internal/status", body: `[]`, cert: "elm", header: claim}).want(t, 401)
	}
	for _, rt := range routeTable(nil) { // in its own name
		if rt.Action == auth.Nothing || rt.Action == auth.BeNode || rt.Nodes {
			continue
		}
		path := strings.NewReplacer("{id}", "nothing", "{ref}", "nothing", "{digest}", "nothing", "{path...}", "no/thing").Replace(rt.Path)
		if r := oak.send(request{method: rt.Method, path: path, cert: "oak"}); r.StatusCode != http.StatusForbidden {
			t.Errorf("a node does %s %s: status %d", rt.Method, rt.Path, r.StatusCode)
		}
	}
	oak.noBlobs = true
	oak.blobs[helloDigest] = []byte("hello")
	oak.send(request{method: "GET", path: "/v1/blobs/" + helloDigest, cert: "elm"}).want(t, 403)
	oak.send(request{method: "GET", path: "/v1/blobs/" + helloDigest, token: token}).want(t, 200)
}

// A node that nobody can tell of now is not let in, whatever it asks.
func TestStrangersAreNotLetIn(t *testing.T) {
	_, oak, _ := twoNodes(t)
	oak.strangers = map[string]error{"fir": api.Errorf(api.CodeUnavailable, "nobody knows whether it belongs to the cluster"), "yew": api.Errorf(api.CodeNotAllowed, "was removed")}
	for cert, status := range map[string]int{"fir": 503, "yew": 401} {
		for _, h := range []http.Header{nil, asRoot, {auth.HeaderForwarded: {"1"}}} {
			oak.send(request{method: "GET", path: "/v1/whoami", cert: cert, header: h, token: oak.token(api.RoleAdmin)}).want(t, status)
		}
	}
}

// A voter answers what a node is to the cluster, as far as it knows.
func TestMembersAreToldOf(t *testing.T) {
	_, oak, elm := twoNodes(t)
	addNode(t, oak.store, "fir")
	do(t, oak.store, &fsm.NodeRemove{Meta: fsm.Meta{At: testTime}, ID: "fir"})
	ask := func(n *testNode, id string) reply {
		return n.send(request{method: "GET", path: "/v1/internal/member?id=" + id, cert: "elm"})
	}
	for id, want := range map[string]string{"oak": MemberIn, "fir": MemberGone, "yew": MemberNever} {
		r := ask(oak, id)
		r.want(t, 200)
		if m := into[Member](t, r); m.State != want {
			t.Errorf("%s is %+v, want %s", id, m, want)
		}
	}
	ask(elm, "yew").want(t, 503) // it may have joined a moment ago
	elm.replica = false
	ask(elm, "oak").want(t, 503)
	if m := into[Member](t, ask(elm, "fir")); m.State != MemberGone {
		t.Errorf("a node that was removed is %+v", m)
	}
}

// That a demoted node takes no part in Raft any more, and so may erase what it has of
// it, the leader alone says, and of nobody else.
func TestWhoIsOutOfRaft(t *testing.T) {
	_, oak, elm := twoNodes(t)
	addNode(t, oak.store, "fir")
	addNode(t, oak.store, "ash")
	do(t, oak.store, &fsm.NodeDemote{Meta: fsm.Meta{At: testTime}, ID: "fir"})
	out := map[string]bool{"ash": true}
	oak.retired, elm.retired = out, out
	is := func(n *testNode, id string) bool {
		r := n.send(request{method: "GET", path: "/v1/internal/member?id=" + id, cert: "fir"})
		r.want(t, 200)
		return into[Member](t, r).Out
	}
	if is(oak, "fir") || is(oak, "ash") {
		t.Error("a node is out of Raft that votes, or may")
	}
	out["fir"] = true
	if !is(oak, "fir") || is(elm, "fir") {
		t.Error("not the leader says who is out of Raft")
	}
}

func TestRemovedNodeIsRefused(t *testing.T) {
	_, oak, _ := twoNodes(t)
	do(t, oak.store, &fsm.NodeRemove{Meta: fsm.Meta{At: testTime}, ID: "elm"})
	oak.send(request{method: "POST", path: "/v1/internal/status", body: `[]`, cert: "elm"}).want(t, 401)
}

func TestRelayGivesUpAHangingLeader(t *testing.T) {
	w, oak, elm := twoNodes(t)
	token := oak.token(api.RoleOperator)
	ash := newTestNode(t, w, "ash", oak.store)
	release := make(chan struct{})
	oak.hang.Store(&release)
	defer close(release)
	got := make(chan reply, 1)
	go func() { got <- elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}) }()
	until(t, "oak hangs", func() bool { return oak.asked.Load() > 0 })
	w.lead("ash")
	select {
	case r := <-got:
		r.want(t, 201)
	case <-time.After(time.Minute):
		t.Fatal("still waits for the old leader")
	}
	_ = ash
}

// A token that could not be checked when the request came in is checked before
// the request acts, also if the node leads by then.
func TestUncheckedTokenOnANewLeader(t *testing.T) {
	n := newLeader(t)
	final := atomic.Bool{}
	n.server.Auth = auth.New(auth.Config{Directory: func() auth.Directory { return n.store.View() }, Final: func() bool { return final.Swap(true) }, Now: func() time.Time { return testTime }})
	n.server.http.Auth = n.server.Auth
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: "msc1-wrong.secret"}).want(t, 401)
	if n.store.View().Job("web") != nil {
		t.Error("a wrong token made a job")
	}
}

func TestTokenOfAFollowerThatBecomesLeader(t *testing.T) {
	w, oak, _ := twoNodes(t)
	late := newTestNode(t, w, "ash", fsm.NewStore(nil)) // its replica lags: no tokens yet
	w.lead("")
	got := make(chan reply, 2)
	for _, token := range []string{oak.token(api.RoleOperator), "msc1-wrong.secret"} {
		go func() { got <- late.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}) }()
	}
	until(t, "ash is asked", func() bool { return late.asked.Load() == 2 })
	copyTokens(t, late.store, oak.store)
	w.lead("ash")
	if a, b := <-got, <-got; a.StatusCode+b.StatusCode != 201+401 {
		t.Errorf("%s, %s", a.Status, b.Status)
	}
}

// TestNoLocalAdmin: root of a worker sees its own node alone, whatever the route;
// a voter's root is an admin.
func TestNoLocalAdmin(t *testing.T) {
	w, oak, elm := twoNodes(t)
	w.workers = map[string]bool{"elm": true}
	set := func(no string, status int, q request) {
		t.Helper()
		q.method, q.path, q.body = "POST", "/v1/cluster", `{"noLocalAdmin":`+no+`}`
		oak.send(q).want(t, status)
	}
	admin := request{token: oak.token(api.RoleAdmin)}
	oak.send(request{method: "POST", path: "/v1/cluster", token: admin.token}).want(t, 400)
	set("true", 200, admin)
	asked := 0
	for _, rt := range routeTable(nil) {
		if rt.Action == auth.Nothing || rt.Action == auth.BeNode {
			continue
		}
		for _, ref := range []string{"elm", "elm-name", "oak-name", "nothing"} {
			path := strings.NewReplacer("{id}", ref, "{ref}", ref, "{digest}", ref, "{path...}", ref).Replace(rt.Path)
			own := rt.Method+" "+rt.Path == "GET /v1/nodes/{ref}" && strings.HasPrefix(ref, "elm")
			asked++
			if r := oak.send(request{method: rt.Method, path: path, cert: "elm", header: asRoot}); (r.StatusCode == http.StatusOK) != own || !own && r.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s: status %d: %s", rt.Method, path, r.StatusCode, r.body)
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d requests", asked)
	}
	set("false", 403, request{cert: "elm", header: asRoot})
	set("false", 200, request{cert: "oak", header: asRoot}) // a voter's root
	oak.send(request{method: "GET", path: "/v1/nodes", cert: "elm", header: asRoot}).want(t, 200)
	elm.send(request{method: "GET", path: "/v1/nodes", token: admin.token}).want(t, 200)
}

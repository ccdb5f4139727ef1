package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// One link is cut: a follower's requests get to the leader through a third node,
// in the name of their caller, and the cut link is not tried again each time.
func TestRelayAroundACutLink(t *testing.T) {
	w, oak, elm := twoNodes(t)
	addNode(t, oak.store, "ash")
	ash := newTestNode(t, w, "ash", oak.store)
	w.cut("elm", "oak")
	elm.server.http.Patience.Read = 5 * time.Second
	token := oak.token(api.RoleOperator)
	r := elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token})
	r.want(t, 201)
	if j := into[api.Job](t, r); !strings.HasPrefix(j.Actor, "token:") {
		t.Errorf("the leader saw the actor %q", j.Actor)
	}
	lost := elm.lost.Load()
	for range 5 {
		elm.send(request{method: "GET", path: "/v1/jobs/web", token: token}).want(t, 200)
	}
	if now := elm.lost.Load(); lost == 0 || now != lost {
		t.Errorf("%d requests went into the cut link at first, and %d after", lost, now-lost)
	}
	if ash.asked.Load() == 0 {
		t.Error("no other node was asked")
	}
	elm.send(request{method: "GET", path: "/v1/tokens", token: token}).want(t, 403)
	elm.send(request{method: "GET", path: "/v1/jobs", token: "msc1-wrong.secret"}).want(t, 401)
	if e := elm.send(request{method: "POST", path: "/v1/jobs", body: `{"nam":"x"}`, token: token}).want(t, 400); e.Field != "nam" {
		t.Errorf("the leader's error got lost: %+v", e)
	}
}

// The link is cut, and connections to the leader are left from before: one
// request finds out, and is passed on as those after it are. As it may have been
// acted on, a refusal of the second try does not say that nothing was done.
func TestRelayAroundALinkThatWasCut(t *testing.T) {
	for _, refused := range []bool{false, true} {
		w, oak, elm := twoNodes(t)
		addNode(t, oak.store, "ash")
		newTestNode(t, w, "ash", oak.store)
		w.cut("elm", "oak")
		w.pooled.Store(true)
		token := oak.token(api.RoleOperator)
		if refused {
			if e := elm.send(request{method: "POST", path: "/v1/jobs/gone/scale", body: `{"count":2}`, token: token}).want(t, 502); e.Code != api.CodeUnknown {
				t.Errorf("refused after a try of unknown outcome: %+v", e)
			}
			continue
		}
		elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
		elm.send(request{method: "GET", path: "/v1/jobs/web", token: token}).want(t, 200)
		if n := elm.lost.Load(); n != 1 {
			t.Errorf("%d requests went into the cut link", n)
		}
	}
}

// A write that went into a cut link is not said to have changed nothing, as no
// connection can be made for its later tries.
func TestWriteIntoACutLinkMayBeDone(t *testing.T) {
	w, oak, elm := twoNodes(t)
	addNode(t, oak.store, "ash")
	newTestNode(t, w, "ash", oak.store)
	w.cut("elm", "oak")
	w.cut("elm", "ash")
	w.pooled.Store(true)
	elm.server.http.Patience.Write = time.Second
	if e := elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: oak.token(api.RoleOperator)}).want(t, 502); e.Code != api.CodeUnknown {
		t.Errorf("%+v", e)
	}
}

// A request is passed on once at most, also among nodes that believe in each
// other's lead.
func TestPassingOnEnds(t *testing.T) {
	w, oak, elm := twoNodes(t)
	addNode(t, oak.store, "ash")
	ash := newTestNode(t, w, "ash", oak.store)
	elm.server.http.Patience.Write, ash.server.http.Patience.Write = 300*time.Millisecond, 300*time.Millisecond
	token := oak.token(api.RoleOperator)
	belief := map[*testNode]string{elm: "ash", ash: "elm"}
	for n, leader := range belief {
		n.belief.Store(&leader)
	}
	w.cut("elm", "oak")
	w.cut("ash", "oak")
	elm.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 503)
	before := elm.asked.Load() + ash.asked.Load()
	// Asked to pass it on, ash asks elm, which is not asked to.
	pass := http.Header{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"root"}, auth.HeaderRole: {"admin"}, "X-Mesita-Pass-On": {"1"}}
	ash.send(request{method: "POST", path: "/v1/jobs", body: webJob, cert: "elm", header: pass}).want(t, 503)
	if got := elm.asked.Load() + ash.asked.Load() - before; got != 2 {
		t.Errorf("%d requests for one that nobody can answer, want 2", got)
	}
	if oak.store.View().Job("web") != nil {
		t.Error("a job was made")
	}
}

// Who is not a node cannot use the hop: the header is nothing but a header then.
func TestPassOnCountsBetweenNodesOnly(t *testing.T) {
	_, oak, elm := twoNodes(t)
	forged := http.Header{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"root"}, auth.HeaderRole: {"admin"}, "X-Mesita-Pass-On": {"1"}}
	elm.send(request{method: "GET", path: "/v1/tokens", header: forged}).want(t, 401)
	elm.send(request{method: "GET", path: "/v1/tokens", header: forged, token: oak.token(api.RoleViewer)}).want(t, 403)
}

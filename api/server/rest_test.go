package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What a caller has of any list is not sent again.
func TestListsAreNotSentTwice(t *testing.T) {
	n := newLeader(t, func(c *Config) { c.Audit = &fakeAudit{} })
	token, asked := n.token(api.RoleAdmin), 0
	for _, rt := range n.server.table {
		query := map[string]string{"/v1/can": "?action=look"}[rt.Path]
		if !rt.Lists() {
			continue
		}
		q := request{method: "GET", path: rt.Path + query, token: token}
		first := n.send(q)
		first.want(t, 200)
		q.header = http.Header{"If-None-Match": {first.Header.Get("Etag")}}
		if again := n.send(q); again.StatusCode != 304 || len(again.body) > 0 || again.Header.Get("Etag") != first.Header.Get("Etag") {
			t.Errorf("%s: %s with %q", rt.Path, again.Status, again.Header.Get("Etag"))
		}
		asked++
	}
	if asked < 15 {
		t.Errorf("only %d lists", asked)
	}
}

// Each node answers the others what they ask of it.
func TestWhatNodesAskEachOther(t *testing.T) {
	_, oak, elm := twoNodes(t)
	claim := `{"session":"` + strings.Repeat("a", 32) + `","addr":"10.0.0.2:5050"}`
	for _, q := range []request{
		{method: "GET", path: "/v1/internal/ring"}, {method: "GET", path: "/v1/internal/seen"}, {method: "GET", path: "/v1/internal/state?of=1"},
		{method: "POST", path: "/v1/internal/claim", body: claim}, {method: "POST", path: "/v1/internal/level", body: `{"hold":true}`},
	} {
		q.cert = "elm"
		if r := oak.send(q); r.StatusCode != 200 {
			t.Errorf("%s: %s", q.path, r.body)
		}
	}
	oak.send(request{method: "GET", path: "/v1/internal/state?of=2", cert: "elm"}).want(t, 404)
	oak.send(request{method: "POST", path: "/v1/renew", body: RenewalRequest{CSR: []byte("csr")}}).want(t, 200)
	admin := oak.token(api.RoleAdmin)
	elm.send(request{method: "POST", path: "/v1/level", body: `{"raise":true}`, token: admin}).want(t, 200)
	oak.send(request{method: "POST", path: "/v1/nodes/elm/demote", token: admin}).want(t, 200)
}

func TestRequeueAnswersTheJob(t *testing.T) {
	n := newLeader(t)
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("sum")})
	runTask(t, n.store, "sum", 0)
	r := n.send(request{method: "POST", path: "/v1/jobs/sum/requeue", token: n.token(api.RoleOperator)})
	r.want(t, 200)
	if j := into[api.Job](t, r); j.ID != "sum" || j.State.Ended() {
		t.Errorf("%+v", j)
	}
}

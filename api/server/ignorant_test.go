package server

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// ownAnswers are the routes whose answers are of the node itself: they hold
// without the state of the cluster.
var ownAnswers = map[string]bool{"/": true, "/v1/health": true, "/v1/openapi.json": true, "/v1/schema/job.json": true, "/docs": true, "/docs/{topic}": true, "/metrics": true, "/v1/blobs/{digest}": true,
	"/v1/ca": true, "/v1/local/doctor": true, "/v1/local/stats": true, "/v1/local/audit": true, "/v1/local/audit/check": true, "/v1/local/tasks/{id}/logs": true}

// A node that has not read the state, or has none, answers no question about it:
// an empty list would be taken for the truth.
func TestNodeWithoutStateSaysSo(t *testing.T) {
	w := newWorld()
	n := newTestNode(t, w, "fir", fsm.NewStore(nil))
	n.replica = false
	n.server.http.Patience.Read = 0
	asked, token := 0, n.token(api.RoleAdmin)
	for _, rt := range n.server.table {
		if rt.Method != "GET" || ownAnswers[rt.Path] || rt.Local && rt.Action == auth.BeNode { // what nodes tell each other of themselves
			continue
		}
		asked++
		path := strings.NewReplacer("{id}", "x", "{ref}", "x", "{digest}", "x", "{path...}", "x").Replace(rt.Path)
		q := request{method: "GET", path: path, token: token}
		if rt.Action == auth.BeNode {
			q = request{method: "GET", path: path, cert: "oak"}
		}
		e := n.send(q).want(t, 503)
		if e == nil || e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "does not know the state") {
			t.Errorf("%s: %+v", path, e)
		}
		if rt.Local {
			t.Errorf("%s is answered by the node itself: is it of the node itself?", rt.Path)
		}
	}
	if asked < 15 {
		t.Errorf("only %d routes were asked", asked)
	}
	r := n.send(request{method: "GET", path: "/metrics", token: token})
	r.want(t, 200)
	for _, name := range []string{"mesita_nodes", "mesita_jobs", "mesita_tasks", "mesita_capacity_cpus", "mesita_incidents_open"} {
		if strings.Contains(string(r.body), name) {
			t.Errorf("metrics tell %s, which this node does not know", name)
		}
	}
}

// A node that has trouble of its own says that, rather than how the others are.
func TestSickNodeSaysWhy(t *testing.T) {
	n := newTestNode(t, newWorld(), "fir", fsm.NewStore(nil))
	n.replica = false
	n.sick = api.Errorf(api.CodeConflict, "this node was removed")
	n.server.http.Patience.Read, n.server.http.Patience.Write = 0, 0
	token := n.token(api.RoleAdmin)
	for _, q := range []request{{method: "GET", path: "/v1/nodes", token: token}, {method: "POST", path: "/v1/jobs", body: webJob, token: token}} {
		if e := n.send(q).want(t, 503); e == nil || e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "this node was removed") {
			t.Errorf("%s %s: %+v", q.method, q.path, e)
		}
	}
}

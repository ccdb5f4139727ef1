package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// with makes a client token of that name with rights.
func (n *testNode) with(name string, rights ...string) string {
	n.t.Helper()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Name: name, Rights: rights}, testTime)
	do(n.t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	return api.ClientToken{ID: tok.ID, Secret: secret}.String()
}

// ofObject are the routes that are asked for the one thing that they name, with
// the least role there; ofCluster those that take a right to the whole. All others
// take a right anywhere. Written out on purpose, as in TestEveryRouteForEveryRole.
var ofObject = map[string]string{
	"POST /v1/jobs": "deployer", "PUT /v1/jobs/{id}": "deployer", "DELETE /v1/jobs/{id}": "deployer", "POST /v1/jobs/{id}/scale": "deployer", "POST /v1/jobs/{id}/set": "deployer", "POST /v1/jobs/{id}/hold": "deployer", "POST /v1/jobs/{id}/release": "deployer", "POST /v1/jobs/{id}/requeue": "deployer", "POST /v1/jobs/{id}/stop": "deployer",
	"POST /v1/tasks/{id}/stop": "deployer", "POST /v1/tasks/{id}/exec": "deployer", "GET /v1/tasks/{id}/logs": "viewer",
	"PUT /v1/partitions/{path...}": "admin", "DELETE /v1/partitions/{path...}": "admin",
	"DELETE /v1/frameworks/{id}": "deployer", "DELETE /v1/offers/{id}": "deployer",
}

var ofCluster = map[string]string{
	"POST /v1/level": "admin", "POST /v1/cluster": "admin", "POST /v1/statecheck": "admin", "POST /v1/ca": "admin", "POST /v1/nodes/{ref}/drain": "admin", "GET /v1/rebalance": "admin", "POST /v1/nodes/{ref}/resume": "admin", "POST /v1/nodes/{ref}/promote": "admin", "POST /v1/nodes/{ref}/demote": "admin", "POST /v1/nodes/{ref}/unreserve": "admin", "DELETE /v1/nodes/{ref}": "admin",
	"GET /v1/doctor": "admin", "GET /v1/local/doctor": "admin", "GET /v1/audit": "admin", "GET /v1/audit/check": "admin", "GET /v1/local/audit": "admin", "GET /v1/local/audit/check": "admin",
	"GET /v1/tokens": "admin", "POST /v1/tokens": "admin", "DELETE /v1/tokens/{id}": "admin", "POST /v1/tokens/{id}/rights": "admin", "POST /v1/incidents/close": "operator",
	"GET /v1/blobs/{digest}": "deployer", "GET /v1/local/tasks/{id}/logs": "viewer", "POST /v1/local/tasks/{id}/exec": "admin",
}

var anywhere = map[string]string{"HEAD /v1/blobs/{digest}": "deployer", "PUT /v1/blobs/{digest}": "deployer", "POST /v1/internal/blobs": "deployer", "POST /v1/apply": "deployer"} // of what is applied it is asked one by one: see apply_test.go

// TestEveryRouteForEveryRight: role x scope x route, on what is in the scope, on
// what is beside it, and on the cluster.
func TestEveryRouteForEveryRight(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "prod/eu", "production"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	scopes := map[string][]string{"": {"prod", "prod/eu", "production"}, "@prod": {"prod", "prod/eu"}, "@prod/eu": {"prod/eu"}, "@prod/web-*": {"prod", "prod/eu"}, "@web-*": {"prod", "prod/eu", "production"}, "@prod/db*": nil}
	made := 0
	for scope, covered := range scopes {
		for rank, role := range api.RightRoles {
			if strings.HasSuffix(scope, "*") && rank > 1 {
				continue
			}
			token := n.with("", role+scope)
			for _, rt := range routeTable(nil) {
				name := rt.Method + " " + rt.Path
				if rt.Action == auth.Nothing || rt.Action == auth.BeNode || rt.Path == "/v1/can" {
					continue
				}
				for _, partition := range []string{"prod", "prod/eu", "production"} {
					made++
					job := fmt.Sprintf("web-%d", made)
					spec := fmt.Sprintf(`{"name":%q,"kind":"service","partition":%q,"command":["x"],"user":"mesita-task"}`, job, partition)
					body := ""
					object, cluster := ofObject[name], ofCluster[name]
					if object != "" && name != "POST /v1/jobs" {
						n.send(request{method: "POST", path: "/v1/jobs", body: spec, token: admin}).want(t, 201)
						do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: job, Count: 1})
					}
					ofFramework := strings.HasPrefix(rt.Path, "/v1/frameworks/") || strings.HasPrefix(rt.Path, "/v1/offers/")
					if object != "" && ofFramework {
						addFramework(t, n.store, job, partition)
					}
					if rt.Path == "/v1/jobs" || name == "PUT /v1/jobs/{id}" {
						body = spec
					}
					id := job
					if strings.Contains(rt.Path, "/tasks/") {
						id += ".0"
					}
					if strings.HasPrefix(rt.Path, "/v1/offers/") {
						id = offerID(id, partition)
					}
					path := strings.NewReplacer("{id}", id, "{ref}", "nothing", "{digest}", "sha256:"+strings.Repeat("0", 64), "{path...}", partition+"/none").Replace(rt.Path)
					if rt.Method == "GET" && body != "" {
						body = ""
					}
					here := slices.Contains(covered, partition) && !(ofFramework && strings.HasSuffix(scope, "*")) // what is of a partition is of no job of it
					need := "viewer"
					for _, of := range []string{object, cluster, anywhere[name]} {
						if of != "" {
							need = of
						}
					}
					may := rank >= slices.Index(api.RightRoles, need)
					switch {
					case object != "":
						may = may && here
					case cluster != "":
						may = may && scope == ""
					}
					r := n.send(request{method: rt.Method, path: path, body: body, token: token, cert: passedBy(rt), header: passedOn(rt)})
					// A job or task that the caller does not see is not there.
					hidden := rt.Method != "PUT" && strings.Contains(rt.Path, "{id}") && object != "" && !here
					refused := r.StatusCode == http.StatusForbidden
					if hidden {
						refused = refused || r.StatusCode == http.StatusNotFound // where it may do it nowhere, that is said
					}
					if refused == may || r.StatusCode == http.StatusUnauthorized {
						t.Errorf("%s%s: %s in %s: status %d: %s", role, scope, name, partition, r.StatusCode, r.body)
					}
					if object == "" {
						break // it is of none of them
					}
				}
			}
		}
	}
	t.Logf("%d requests", made)
}

// A right to a partition's jobs does not take over others, nor give its own away.
func TestRightsAsItIsAndAsItShallBe(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	ci := n.with("ci", "deployer@prod/web-*")
	spec := func(name, partition string) string {
		return fmt.Sprintf(`{"name":%q,"kind":"service","partition":%q,"command":["x"]}`, name, partition)
	}
	n.send(request{method: "POST", path: "/v1/jobs", body: spec("web-1", "prod"), token: ci}).want(t, 201)
	n.send(request{method: "POST", path: "/v1/jobs", body: spec("web-2", "dev"), token: admin}).want(t, 201)
	for _, q := range []request{
		{method: "PUT", path: "/v1/jobs/web-1", body: spec("web-1", "dev")},
		{method: "POST", path: "/v1/jobs", body: spec("db", "prod")},
		{method: "POST", path: "/v1/jobs", body: `{"kind":"batch","partition":"prod","command":["x"]}`},
		{method: "GET", path: "/v1/can?who=ci&action=deploy&on=prod"},
	} {
		q.token = ci
		before := n.store.View().Index()
		if n.send(q).want(t, 403); n.store.View().Index() != before {
			t.Errorf("%s %s changed something", q.method, q.path)
		}
	}
	for _, q := range []request{
		{method: "PUT", path: "/v1/jobs/web-2", body: spec("web-2", "prod"), token: ci},
		{method: "POST", path: "/v1/jobs", body: spec("web-2", "prod"), token: ci},
	} {
		before := n.store.View().Index()
		if e := n.send(q).want(t, 409); e.Field != "name" || strings.Contains(e.Message, "dev") || n.store.View().Index() != before {
			t.Errorf("%s %s: %+v", q.method, q.path, e)
		}
	}
	n.send(request{method: "PUT", path: "/v1/jobs/none", body: spec("none", "nowhere"), token: admin}).want(t, 404)

	can := func(token, q string) []api.Can {
		t.Helper()
		r := n.send(request{method: "GET", path: "/v1/can?" + q, token: token})
		r.want(t, 200)
		return into[items[api.Can]](t, r).Items
	}
	for q, may := range map[string]bool{"action=deploy&on=prod/web-9": true, "action=deploy&on=web-1": true, "action=deploy&on=prod/db": false, "action=deploy&on=dev/web-2": false, "action=manage-nodes": false, "action=look": true} {
		if own := can(ci, q); len(own) != 1 || own[0].May != may || own[0].Actor != "token:ci" || may == (own[0].Why != "") {
			t.Errorf("%s: %+v", q, own)
		}
		if told := can(admin, "who=ci&"+q); len(told) != 1 || told[0].May != may || told[0].Has != "deployer@prod/web-*" {
			t.Errorf("%s: %+v", q, told)
		}
	}
	for q, status := range map[string]int{"action=fly": 400, "action=": 400, "on=web-1": 400, "action=deploy&on=nowhere/web": 404, "action=deploy&who=nobody": 404} {
		n.send(request{method: "GET", path: "/v1/can?" + q, token: admin}).want(t, status)
	}

	// Rights that are revoked count no more, and end what they opened.
	rights := func(body string, status int) {
		t.Helper()
		n.send(request{method: "POST", path: "/v1/tokens/ci/rights", body: body, token: admin}).want(t, status)
	}
	if e := n.send(request{method: "POST", path: "/v1/tokens/nobody/rights", body: `{"grant":["viewer"]}`, token: admin}).want(t, 404); !strings.Contains(e.Message, "role ls") {
		t.Errorf("of nobody: %+v", e)
	}
	rights(`{}`, 400)
	rights(`{"grant":["king"]}`, 400)
	rights(`{"revoke":["admin"]}`, 409)
	rights(`{"grant":["deployer@dev","viewer"]}`, 200)
	n.send(request{method: "PUT", path: "/v1/jobs/web-2", body: spec("web-2", "dev"), token: ci}).want(t, 200)
	if who := into[exchange.Whoami](t, n.send(request{method: "GET", path: "/v1/whoami", token: ci})); who.Rights != "deployer@prod/web-*,deployer@dev,viewer" {
		t.Errorf("%+v", who)
	}
	rights(`{"revoke":["deployer@prod/web-*","deployer@dev","viewer"]}`, 200)
	if e := n.send(request{method: "GET", path: "/v1/whoami", token: ci}).want(t, 401); !strings.Contains(e.Message, "role grant") {
		t.Errorf("%+v", e)
	}
	for _, body := range []string{`{"kind":"client","name":"x","rights":["deployer@prod","admin"]}`, `{"kind":"client","role":"viewer","rights":["deployer@prod"]}`} {
		n.send(request{method: "POST", path: "/v1/tokens", body: body, token: admin}).want(t, 201)
	}
	for _, body := range []string{`{"kind":"client"}`, `{"kind":"join","rights":["viewer"]}`, `{"kind":"client","rights":["root"]}`} {
		n.send(request{method: "POST", path: "/v1/tokens", body: body, token: admin}).want(t, 400)
	}
}

// A program that was uploaded is fetched by who may deploy a job of it.
func TestWhoFetchesPrograms(t *testing.T) {
	n := newLeader(t)
	admin, operator, viewer := n.token(api.RoleAdmin), n.token(api.RoleOperator), n.token(api.RoleViewer)
	n.send(request{method: "PUT", path: "/v1/partitions/prod", body: `{}`, token: admin}).want(t, 200)
	const content, digest = "hello", helloDigest
	n.send(request{method: "PUT", path: "/v1/blobs/" + digest, body: content, token: operator}).want(t, 200)
	n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(`{"name":"web","kind":"service","partition":"prod","program":%q,"command":["x"]}`, digest), token: admin}).want(t, 201)
	for token, status := range map[string]int{admin: 200, operator: 200, viewer: 403, n.with("a", "deployer@prod"): 200, n.with("b", "deployer@web*"): 200, n.with("c", "deployer@default"): 403, n.with("d", "viewer@prod"): 403} {
		n.send(request{method: "GET", path: "/v1/blobs/" + digest, token: token}).want(t, status)
	}
	// What it ran where it was before is for who may there, too.
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: `{"kind":"service","partition":"default","command":["x"]}`, token: admin}).want(t, 200)
	for token, status := range map[string]int{admin: 200, n.with("e", "deployer@default"): 403, n.with("f", "deployer@prod"): 403, n.with("g", "deployer@prod", "deployer@default"): 200} {
		n.send(request{method: "GET", path: "/v1/blobs/" + digest, token: token}).want(t, status)
	}
}

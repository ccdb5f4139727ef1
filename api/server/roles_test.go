package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
)

// least is the least role that may use each route. It is written out here
// again on purpose: who may do what must not change by accident.
var least = map[string]api.Role{
	"GET /": api.RoleNone, "GET /v1/health": api.RoleNone, "GET /v1/openapi.json": api.RoleNone, "GET /v1/schema/job.json": api.RoleNone, "GET /docs": api.RoleNone, "GET /docs/{topic}": api.RoleNone, "POST /v1/join": api.RoleNone, "POST /v1/renew": api.RoleNone, "GET /v1/ca": api.RoleNone, "POST /v1/ca": api.RoleAdmin,
	"POST /v1/cluster": api.RoleAdmin,
	"GET /v1/level":    api.RoleViewer, "POST /v1/level": api.RoleAdmin, "POST /v1/internal/level": api.RoleNode, "GET /v1/internal/seen": api.RoleNode, "POST /v1/statecheck": api.RoleAdmin, "GET /v1/internal/state": api.RoleNode,
	"GET /metrics": api.RoleViewer, "GET /v1/sd/prometheus": api.RoleViewer, "GET /v1/whoami": api.RoleViewer, "GET /v1/cluster": api.RoleViewer,
	"POST /v1/apply": api.RoleOperator, "POST /v1/jobs": api.RoleOperator, "GET /v1/jobs": api.RoleViewer, "GET /v1/jobs/{id}": api.RoleViewer, "PUT /v1/jobs/{id}": api.RoleOperator,
	"DELETE /v1/jobs/{id}": api.RoleOperator, "POST /v1/jobs/{id}/scale": api.RoleOperator, "POST /v1/jobs/{id}/set": api.RoleOperator, "POST /v1/jobs/{id}/hold": api.RoleOperator, "POST /v1/jobs/{id}/release": api.RoleOperator, "POST /v1/jobs/{id}/requeue": api.RoleOperator, "POST /v1/jobs/{id}/stop": api.RoleOperator, "GET /v1/jobs/{id}/why": api.RoleViewer,
	"GET /v1/queue": api.RoleViewer, "GET /v1/tasks": api.RoleViewer, "GET /v1/tasks/{id}": api.RoleViewer, "POST /v1/tasks/{id}/stop": api.RoleOperator, "GET /v1/tasks/{id}/why": api.RoleViewer,
	"GET /v1/tasks/{id}/logs": api.RoleViewer, "POST /v1/tasks/{id}/exec": api.RoleOperator, "GET /v1/stats": api.RoleViewer,
	"GET /v1/nodes": api.RoleViewer, "GET /v1/nodes/{ref}": api.RoleViewer, "POST /v1/nodes/{ref}/drain": api.RoleAdmin, "GET /v1/rebalance": api.RoleAdmin, "POST /v1/nodes/{ref}/resume": api.RoleAdmin, "POST /v1/nodes/{ref}/promote": api.RoleAdmin, "POST /v1/nodes/{ref}/demote": api.RoleAdmin, "POST /v1/nodes/{ref}/unreserve": api.RoleAdmin, "DELETE /v1/nodes/{ref}": api.RoleAdmin,
	"GET /v1/doctor": api.RoleAdmin, "GET /v1/local/doctor": api.RoleAdmin,
	"GET /v1/audit": api.RoleAdmin, "GET /v1/audit/check": api.RoleAdmin, "GET /v1/local/audit": api.RoleAdmin, "GET /v1/local/audit/check": api.RoleAdmin,
	"GET /v1/events": api.RoleViewer, "GET /v1/tokens": api.RoleAdmin, "POST /v1/tokens": api.RoleAdmin, "DELETE /v1/tokens/{id}": api.RoleAdmin, "POST /v1/tokens/{id}/rights": api.RoleAdmin, "GET /v1/can": api.RoleViewer, "GET /v1/partitions": api.RoleViewer,
	"GET /v1/partitions/{path...}": api.RoleViewer, "PUT /v1/partitions/{path...}": api.RoleAdmin, "DELETE /v1/partitions/{path...}": api.RoleAdmin, "GET /v1/incidents": api.RoleViewer, "GET /v1/report": api.RoleViewer, "POST /v1/incidents/close": api.RoleOperator,
	"GET /v1/frameworks": api.RoleViewer, "GET /v1/frameworks/{id}": api.RoleViewer, "DELETE /v1/frameworks/{id}": api.RoleOperator, "GET /v1/offers": api.RoleViewer, "DELETE /v1/offers/{id}": api.RoleOperator,
	"GET /v1/blobs/{digest}": api.RoleOperator, "HEAD /v1/blobs/{digest}": api.RoleOperator, "PUT /v1/blobs/{digest}": api.RoleOperator,
	"GET /v1/local/stats": api.RoleViewer, "GET /v1/local/tasks/{id}/logs": api.RoleViewer, "POST /v1/local/tasks/{id}/exec": api.RoleAdmin,
	"POST /v1/internal/hello": api.RoleNode, "POST /v1/internal/claim": api.RoleNode, "POST /v1/internal/status": api.RoleNode, "POST /v1/internal/renew": api.RoleNode, "GET /v1/internal/assignments": api.RoleNode, "GET /v1/internal/feed": api.RoleNode, "GET /v1/internal/member": api.RoleNode, "POST /v1/internal/needed": api.RoleNode, "GET /v1/internal/ring": api.RoleNode,
	"POST /v1/internal/blobs": api.RoleOperator,
}

// passedBy is the certificate of the node that passes a request on, where only nodes send it.
func passedBy(rt *exchange.Route) string {
	if rt.Between {
		return "oak"
	}
	return ""
}

func passedOn(rt *exchange.Route) http.Header {
	if rt.Between {
		return http.Header{auth.HeaderForwarded: {"1"}}
	}
	return nil
}

func TestEveryRouteForEveryRole(t *testing.T) {
	n := newLeader(t)
	tokens := map[api.Role]string{api.RoleNone: ""}
	for r := api.RoleViewer; r <= api.RoleAdmin; r++ {
		tokens[r] = n.token(r)
	}
	table := routeTable(nil)
	if len(table) != len(least) {
		t.Errorf("%d routes, %d in the test", len(table), len(least))
	}
	for _, rt := range table {
		name := rt.Method + " " + rt.Path
		need, ok := least[name]
		if !ok {
			t.Errorf("%s: not in the test", name)
			continue
		}
		path := strings.NewReplacer("{id}", "nothing", "{ref}", "nothing", "{topic}", "nothing", "{digest}", "nothing", "{path...}", "no/thing").Replace(rt.Path)
		for role, token := range tokens {
			r := n.send(request{method: rt.Method, path: path, token: token, cert: passedBy(rt), header: passedOn(rt)})
			refused := r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden
			if refused != (role < need) {
				t.Errorf("%s as %s: status %d", name, role, r.StatusCode)
			}
			if want := map[bool]int{true: 401, false: 403}[role == api.RoleNone]; refused && r.StatusCode != want {
				t.Errorf("%s as %s: status %d, want %d", name, role, r.StatusCode, want)
			}
		}
	}
}

func TestEveryRouteRefusesUnknownParameters(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	for _, rt := range routeTable(nil) {
		path := strings.NewReplacer("{id}", "x", "{ref}", "x", "{topic}", "jobs", "{digest}", "x", "{path...}", "x/y").Replace(rt.Path)
		if rt.Action == auth.BeNode || rt.Method == http.MethodHead {
			continue
		}
		if e := n.send(request{method: rt.Method, path: path + "?nonsense=1", token: token, cert: passedBy(rt), header: passedOn(rt)}).want(t, 400); e.Field != "nonsense" {
			t.Errorf("%s %s: %+v", rt.Method, rt.Path, e)
		}
	}
	e := n.send(request{method: "GET", path: "/v1/tasks?jobs=web", token: token}).want(t, 400)
	if !strings.Contains(e.Message, "did you mean job?") {
		t.Errorf("no nearest name: %+v", e)
	}
	n.send(request{method: "GET", path: "/v1/tasks?job=a&job=b", token: token}).want(t, 400)
	n.send(request{method: "GET", path: "/v1/tasks?job=%zz", token: token}).want(t, 400)
}

func TestPathsThatAreNone(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	for path, status := range map[string]int{
		"/v2/jobs": 404, "/v1": 404, "/v1/jobs/a/b/c": 404, "/v1/jobs/a%2Fscale": 400, "/v1/jobs/%20": 400, "/v1/jobs/" + strings.Repeat("a", 200): 400,
		"/v1/jobs/a%00": 400, "/v1//jobs": 404, "/v1/jobs/..%2f..": 400,
	} {
		n.send(request{method: "GET", path: path, token: token}).want(t, status)
	}
	if r := n.send(request{method: "PATCH", path: "/v1/jobs", token: token}); r.Header.Get("Allow") != "GET, POST" || !strings.Contains(r.want(t, 405).Message, "use GET, POST") {
		t.Errorf("%v %s", r.Header, r.body)
	}
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	for code, status := range map[api.Code]int{
		api.CodeFailed: 422, api.CodeInvalid: 400, api.CodeNotFound: 404, api.CodeNotAllowed: 403, api.CodeConflict: 409, api.CodeTimeout: 504,
		api.CodeUnavailable: 503, api.CodeUnknown: 502, api.CodeDoesNotFit: 422, api.CodeBusy: 429, api.CodeTooLarge: 413, api.CodeInternal: 500,
	} {
		n.fits = &api.Error{Code: code, Field: "f", Message: "m"}
		e := n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, status)
		if *e != (api.Error{Code: code, Field: "f", Message: "m"}) {
			t.Errorf("%s became %+v", code, e)
		}
	}
}

func TestPanicIsAnErrorOfOneRequest(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	n.panics = true
	e := n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 500)
	if e.Code != api.CodeInternal || strings.Contains(e.Message, "a bug in mesita") == false {
		t.Errorf("%+v", e)
	}
	n.panics = false
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
}

package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// TestValuesAreMasked: the values of an environment are in no answer, whatever the
// route, to who may not deploy the job.
func TestValuesAreMasked(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	n.send(request{method: "PUT", path: "/v1/partitions/listed", body: `{"users":["other"]}`, token: admin}).want(t, 200)
	key := http.Header{"Idempotency-Key": {"k"}}
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"web","kind":"service","partition":"prod","command":["x"],"env":{"PASSWORD":"hunter1"}}`, token: admin}).want(t, 201)
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: `{"name":"web","kind":"service","partition":"prod","command":["x"],"env":{"PASSWORD":"hunter2"}}`, token: admin}).want(t, 200)
	n.send(request{method: "POST", path: "/v1/jobs", header: key, body: `{"name":"again","kind":"batch","partition":"prod","command":["x"],"env":{"PASSWORD":"hunter3"}}`, token: admin}).want(t, 201)
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"own","kind":"service","partition":"listed","command":["x"],"env":{"PASSWORD":"hunter4"}}`, token: admin}).want(t, 201)

	for name, c := range map[string]struct{ token, sees string }{
		"viewer": {n.token(api.RoleViewer), ""}, "operator": {n.token(api.RoleOperator), "123"}, "admin": {admin, "1234"},
		"deployer@prod": {n.with("a", "deployer@prod"), "123"}, "deployer@web*": {n.with("b", "deployer@web*"), "12"}, "deployer@dev": {n.with("c", "deployer@dev"), ""}, "viewer@prod": {n.with("d", "viewer@prod"), ""}, "on the list": {n.with("other", "deployer@own*"), "4"},
	} {
		var all strings.Builder
		for _, rt := range routeTable(nil) {
			if rt.Method != "GET" || rt.Stream {
				continue
			}
			for _, id := range []string{"web", "again", "own"} {
				path := strings.NewReplacer("{id}", id, "{ref}", "oak", "{digest}", helloDigest, "{path...}", "prod").Replace(rt.Path)
				all.Write(n.send(request{method: "GET", path: path, token: c.token}).body)
				if rt.Path == "/v1/jobs" {
					all.Write(n.send(request{method: "GET", path: path + "?all=1", token: c.token}).body)
				}
			}
		}
		all.Write(n.send(request{method: "GET", path: "/v1/events?limit=1000", token: c.token}).body)
		all.Write(n.send(request{method: "GET", path: "/v1/jobs/web?wait=running&timeout=1ms", token: c.token}).body)
		// The same request again is answered with the job that it made, to who made it.
		again := n.send(request{method: "POST", path: "/v1/jobs", header: key, body: `{"name":"mine","kind":"batch","partition":"dev","command":["x"]}`, token: c.token})
		all.Write(again.body)
		if name == "deployer@dev" {
			if e := again.want(t, 409); e.Field != "Idempotency-Key" {
				t.Errorf("%s has the job of another request with its key: %+v", name, e)
			}
		}
		for i, secret := range []string{"hunter1", "hunter2", "hunter3", "hunter4"} {
			want := strings.Contains(c.sees, secret[len(secret)-1:])
			if strings.Contains(all.String(), secret) != want {
				t.Errorf("%s: value %d is shown: %t, want %t", name, i+1, !want, want)
			}
		}
		if shown := strings.Contains(all.String(), `"PASSWORD":"***"`); c.sees == "" && shown == (name == "deployer@dev") { // who sees none of the jobs
			t.Errorf("%s is shown that there is a variable: %t", name, shown)
		}
	}
	if j := n.store.View().Job("web"); j.Spec.Env["PASSWORD"] != "hunter2" || j.History[0].Spec.Env["PASSWORD"] != "hunter1" {
		t.Errorf("the state was masked: %+v", j.Spec.Env)
	}
	for _, q := range []request{{method: "PUT", path: "/v1/jobs/web"}, {method: "PUT", path: "/v1/jobs/web?dry_run=1"}, {method: "POST", path: "/v1/jobs"}} {
		q.token, q.body = admin, `{"name":"web","kind":"service","partition":"prod","command":["x"],"env":{"A":"b","PASSWORD":"***"}}`
		if e := n.send(q).want(t, 400); e.Field != "env.PASSWORD" || !strings.Contains(e.Message, "export") {
			t.Errorf("%+v", e)
		}
	}
}

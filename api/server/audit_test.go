package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// fakeAudit keeps what is noted.
type fakeAudit struct {
	mu      sync.Mutex
	records []api.AuditRecord
	values  [][2]any
	head    uint64
}

func (a *fakeAudit) Note(r api.AuditRecord, before, after any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records, a.values = append(a.records, r), append(a.values, [2]any{before, after})
}

func (a *fakeAudit) Newest(_ context.Context, f api.AuditFilter, limit int) (out []api.AuditRecord, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.records {
		if f.Match(&r) && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (a *fakeAudit) Verify(_ context.Context, at uint64) (*api.AuditCheck, error) {
	return &api.AuditCheck{Node: "somebody", Head: api.AuditHead{Number: a.head}, Records: uint64(len(a.records)), At: strings.Repeat("a", int(min(at, 1)))}, nil
}

// take returns what was noted since the last time.
func (a *fakeAudit) take() []api.AuditRecord {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.records
	a.records, a.values = nil, nil
	return out
}

func audited(a *fakeAudit) func(*Config) { return func(c *Config) { c.Audit = a } }

// routine are the routes of which only refusals are recorded. It is written out
// here again on purpose: a change that nobody records must not come by accident.
var routine = []string{"POST /v1/internal/hello", "POST /v1/internal/claim", "POST /v1/internal/status", "POST /v1/internal/level", "POST /v1/internal/blobs"}

// TestEveryRouteIsAudited: each change that is done or fails, and each refusal, is
// one record, and a plain read none.
func TestEveryRouteIsAudited(t *testing.T) {
	a := new(fakeAudit)
	n := newLeader(t, audited(a))
	tokens := map[string]string{"": "", "viewer": n.token(api.RoleViewer), "operator": n.token(api.RoleOperator), "admin": n.token(api.RoleAdmin)}
	type asked struct {
		*exchange.Route
		more string
	}
	var all []asked
	for _, rt := range routeTable(nil) {
		all = append(all, asked{rt, ""})
		if slices.Contains(rt.Query, "dry_run") {
			all = append(all, asked{rt, "?dry_run=0"}, asked{rt, "?dry_run=false"}, asked{rt, "?dry_run="}) // which does it
		}
	}
	for _, rt := range all {
		name := rt.Method + " " + rt.Path
		change := rt.Method != http.MethodGet && rt.Method != http.MethodHead && !slices.Contains(routine, name) ||
			slices.Contains([]string{"GET /v1/tasks/{id}/logs", "GET /v1/local/tasks/{id}/logs", "GET /v1/blobs/{digest}"}, name)
		path := strings.NewReplacer("{id}", "nothing", "{ref}", "nothing", "{digest}", "nothing", "{path...}", "no/thing").Replace(rt.Path) + rt.more
		for who, token := range tokens {
			r := n.send(request{method: rt.Method, path: path, token: token, header: http.Header{"Idempotency-Key": {"k1"}}})
			var got []api.AuditRecord
			refused := r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden
			if refused || change {
				until(t, "a record of "+name+" by "+who, func() bool { got = append(got, a.take()...); return len(got) > 0 })
			} else {
				got = a.take()
			}
			want := api.AuditDone
			switch {
			case refused:
				want = api.AuditRefused
			case r.StatusCode >= 400:
				want = api.AuditFailed
			}
			switch {
			case !refused && !change && len(got) > 0:
				t.Errorf("%s by %s: %+v", name, who, got)
			case !refused && !change:
			case len(got) != 1 || got[0].Outcome != want || got[0].Route != name || got[0].Action != rt.Action.String() || got[0].From != "127.0.0.1":
				t.Errorf("%s by %s, %d: %+v", name, who, r.StatusCode, got)
			case (who == "") != (got[0].Actor == "") && rt.Action.Role() != "":
				t.Errorf("%s by %s: %+v", name, who, got)
			case got[0].Request != "k1" || strings.Contains(rt.Path, "{") && got[0].Object == "":
				t.Errorf("%s by %s: %+v", name, who, got)
			}
		}
	}
}

// TestWhatTheAuditSays of changes: who, what, and how it was before and after,
// nothing of it secret.
func TestWhatTheAuditSays(t *testing.T) {
	a := new(fakeAudit)
	n := newLeader(t, audited(a))
	admin := n.token(api.RoleAdmin)
	one := func(method, path, body string) (r api.AuditRecord, values [2]any) {
		t.Helper()
		a.take()
		if res := n.send(request{method: method, path: path, body: body, token: admin}); res.StatusCode >= 300 {
			t.Fatalf("%s %s: %s", method, path, res.body)
		}
		until(t, "a record of "+path, func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.records) > 0 })
		a.mu.Lock()
		defer a.mu.Unlock()
		r, values = a.records[0], a.values[0]
		if b, _ := json.Marshal(r); strings.Contains(string(b), "msc1-") || strings.Contains(string(b), "mst1-") || strings.Contains(string(b), "s3cret") {
			t.Errorf("a secret is in %s", b)
		}
		if r.Outcome != api.AuditDone || r.Token == "" || !strings.HasPrefix(r.Actor, "token:") {
			t.Errorf("%s %s: %+v", method, path, r)
		}
		return r, values
	}
	r, v := one("POST", "/v1/jobs", strings.Replace(webJob, "{", `{"env":{"K":"s3cret"},`, 1))
	if r.Object != "web" || r.Partition != "default" || v[0] != nil || v[1].(auditedJob).Spec.Env["K"] != "s3cret" {
		t.Errorf("%+v %+v", r, v)
	}
	r, v = one("POST", "/v1/jobs/web/scale", `{"count":5}`)
	if was, is := v[0].(auditedJob), v[1].(auditedJob); r.Object != "web" || is.Spec.Tasks() != 5 || was.Spec.Tasks() == 5 {
		t.Errorf("%+v %+v", r, v)
	}
	r, v = one("POST", "/v1/jobs/web/stop", "")
	if was, is := v[0].(auditedJob), v[1].(auditedJob); was.Stop || !is.Stop {
		t.Errorf("%+v %+v", r, v)
	}
	if r, v = one("PUT", "/v1/partitions/prod", `{"weight":3}`); r.Object != "prod" || r.Partition != "prod" || v[0] != nil || v[1] == nil {
		t.Errorf("%+v %+v", r, v)
	}
	if r, v = one("POST", "/v1/nodes/oak-name/drain", `{"deadline":"10m"}`); r.Object != "oak-name" || v[0].(auditedNode).Drain || !v[1].(auditedNode).Drain || r.Asked != `{"deadline":"10m"}` {
		t.Errorf("%+v %+v", r, v)
	}
	if r, v = one("POST", "/v1/tokens", `{"kind":"client","role":"viewer","name":"bob"}`); r.Object == "" || v[1].(*api.Token).Hash != "" || v[1].(*api.Token).Name != "bob" {
		t.Errorf("%+v %+v", r, v)
	}
	id := r.Object
	if r, v = one("POST", "/v1/tokens/bob/rights", `{"grant":["deployer@prod"]}`); r.Object != "bob" || !strings.Contains(r.Asked, "deployer@prod") {
		t.Errorf("%+v %+v", r, v)
	}
	if r, v = one("DELETE", "/v1/tokens/"+id, ""); r.Object != id || v[0].(*api.Token).Name != "bob" || v[0].(*api.Token).Hash != "" || v[1] != nil {
		t.Errorf("%+v %+v", r, v)
	}
	a.take()
	n.send(request{method: "POST", path: "/v1/jobs?dry_run=1", body: webJob, token: admin})
	n.send(request{method: "GET", path: "/v1/jobs", token: admin})
	if got := a.take(); len(got) > 0 {
		t.Errorf("what changes nothing is recorded: %+v", got)
	}
}

// TestARelayedRequestIsRecordedOnce, by who decided, with where it came from and
// which node relayed it; what nobody relayed may not say so.
func TestARelayedRequestIsRecordedOnce(t *testing.T) {
	w := newWorld()
	store := newStore(t)
	addNode(t, store, "fir")
	here, there := new(fakeAudit), new(fakeAudit)
	leader := newTestNode(t, w, "oak", store, audited(here))
	follower := newTestNode(t, w, "fir", store, audited(there))
	w.lead("oak")
	viewer, admin := leader.token(api.RoleViewer), leader.token(api.RoleAdmin)
	follower.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: admin, header: http.Header{"X-Mesita-From": {"9.9.9.9"}}}).want(t, 201)
	follower.send(request{method: "POST", path: "/v1/statecheck", token: admin})
	var got []api.AuditRecord
	until(t, "two records", func() bool { got = append(got, here.take()...); return len(got) >= 2 })
	for _, r := range got {
		if r.Via != "fir-name" || r.From != "127.0.0.1" || r.Token == "" {
			t.Errorf("%+v", r)
		}
	}
	if r := there.take(); len(r) > 0 || len(got) != 2 {
		t.Errorf("%+v and %+v", got, r)
	}
	follower.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: viewer}).want(t, 403)
	var refused []api.AuditRecord
	until(t, "a refusal", func() bool { refused = append(here.take(), there.take()...); return len(refused) > 0 })
	if len(refused) != 1 || refused[0].Outcome != api.AuditRefused || refused[0].From != "127.0.0.1" {
		t.Errorf("%+v", refused)
	}
}

// TestTheAuditOfAllNodes is read from any of them, and says which did not answer.
func TestTheAuditOfAllNodes(t *testing.T) {
	w := newWorld()
	store := newStore(t)
	addNode(t, store, "fir")
	addNode(t, store, "elm")
	here, there := new(fakeAudit), new(fakeAudit)
	leader := newTestNode(t, w, "oak", store, audited(here))
	newTestNode(t, w, "fir", store, audited(there))
	w.lead("oak")
	admin := leader.token(api.RoleAdmin)
	here.Note(api.AuditRecord{Node: "oak-name", Time: testTime, Actor: "token:ci"}, nil, nil)
	there.Note(api.AuditRecord{Node: "fir-name", Time: testTime.Add(-1), Actor: "token:ci"}, nil, nil)
	there.Note(api.AuditRecord{Node: "fir-name", Time: testTime.Add(-2), Actor: "root"}, nil, nil)
	type answer struct {
		Items   []api.AuditRecord
		Missing []missingNode
	}
	r := leader.send(request{method: "GET", path: "/v1/audit?user=ci", token: admin})
	r.want(t, 200)
	got := into[answer](t, r)
	if len(got.Items) != 2 || got.Items[0].Node != "fir-name" || got.Items[1].Node != "oak-name" || len(got.Missing) != 1 || got.Missing[0].Node != "elm-name" {
		t.Errorf("%s", r.body)
	}
	r = leader.send(request{method: "GET", path: "/v1/audit/check", token: admin})
	r.want(t, 200)
	checks := into[struct {
		Items   []api.AuditCheck
		Missing []missingNode
	}](t, r)
	if len(checks.Items) != 2 || len(checks.Missing) != 1 || len(checks.Items[0].Faults)+len(checks.Items[1].Faults) > 0 {
		t.Errorf("%s", r.body)
	}
	// One node is asked for by its name or id, and what is none is refused by the field.
	for ref, want := range map[string]int{"fir-name": 200, "fir": 200, "elm-name": 200, "elk": 404, "": 404} {
		r = leader.send(request{method: "GET", path: "/v1/audit/check?node=" + ref, token: admin})
		r.want(t, want)
		one := into[struct {
			Items   []api.AuditCheck
			Missing []missingNode
			Error   api.Error
		}](t, r)
		if want == 404 && one.Error.Field != "node" || want == 200 && len(one.Items)+len(one.Missing) != 1 || (ref == "elm-name") != (len(one.Missing) == 1) {
			t.Errorf("%q: %s", ref, r.body)
		}
	}
	// A node that lacks what the cluster was told of is found by whoever leads.
	do(t, store, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "fir", Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}, Audit: &api.AuditMark{Number: 9, Hash: "a"}}})
	for head, want := range map[uint64]string{8: "its end is missing", 9: "", 10: ""} {
		there.head = head
		r = leader.send(request{method: "GET", path: "/v1/audit/check", token: admin})
		if faulty := strings.Contains(string(r.body), `"faults"`); faulty != (want != "") || !strings.Contains(string(r.body), want) {
			t.Errorf("%d: %s", head, r.body)
		}
	}
}

// TestWhatLastsIsRecordedAsItBegins: by who decided, and by the node where it runs,
// whichever way it came there; with the command, and not its arguments.
func TestWhatLastsIsRecordedAsItBegins(t *testing.T) {
	oak, elm := runningOnOak(t)
	at := map[string]*fakeAudit{"oak": new(fakeAudit), "elm": new(fakeAudit)}
	oak.server.http.Audit, elm.server.http.Audit = at["oak"], at["elm"]
	token := oak.token(api.RoleOperator)
	end := make(chan struct{})
	oak.exec = func(_ context.Context, _ ExecRequest, start func() (ExecIO, error)) (int, error) {
		_, err := start()
		<-end
		return 0, err
	}
	out, _, res := elm.upgrade(token, "?cmd=sh&cmd=s3cret")
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	var request string
	for node, a := range at {
		var got []api.AuditRecord
		until(t, "a record at "+node, func() bool { got = append(got, a.take()...); return len(got) > 0 })
		if len(got) == 1 && request == "" {
			request = got[0].Request
		}
		if r := got[0]; len(got) > 1 || r.Action != "exec" || r.Object != "sums.0" || r.Outcome != api.AuditDone || r.Asked != "sh" || r.Request != request || r.From != "127.0.0.1" || r.Actor == "" {
			t.Errorf("%s: %+v", node, got)
		}
	}
	close(end)
	out.(io.Closer).Close()
	until(t, "all streams end", func() bool { return oak.server.http.Streams()+elm.server.http.Streams() == 0 })
	for node, a := range at {
		if got := a.take(); len(got) > 0 {
			t.Errorf("%s, at the end: %+v", node, got)
		}
	}
}

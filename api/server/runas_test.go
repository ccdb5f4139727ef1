package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// mapped makes a client token that maps to a user.
func (n *testNode) mapped(runAs string, r api.TokenRequest) string {
	n.t.Helper()
	r.Kind, r.RunAs = api.TokenClient, runAs
	if err := r.Validate(); err != nil {
		n.t.Fatal(err)
	}
	tok, secret := auth.NewToken(&r, testTime)
	do(n.t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	return api.ClientToken{ID: tok.ID, Secret: secret}.String()
}

// mappedNode is a cluster with partitions that say as whom tasks run.
func mappedNode(t *testing.T) (n *testNode, admin string) {
	n = newLeader(t)
	admin = n.token(api.RoleAdmin)
	for path, body := range map[string]string{"plain": `{}`, "ci": `{"runAs":"ci"}`, "free": `{"allowRoot":true}`, "asroot": `{"runAs":"root"}`} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + path, body: body, token: admin}).want(t, 200)
	}
	for path, body := range map[string]string{"ci/below": `{}`, "ci/other": `{"runAs":"ann:red"}`, "free/below": `{}`, "free/root": `{"runAs":"0"}`} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + path, body: body, token: admin}).want(t, 200)
	}
	return n, admin
}

// TestWhoTasksRunAs: who submits x which partition x --user.
func TestWhoTasksRunAs(t *testing.T) {
	n, admin := mappedNode(t)
	who := map[string]string{
		"admin": admin, "admin as ops": n.mapped("ops", api.TokenRequest{Role: api.RoleAdmin}), "right of admin": n.with("chief", "admin"),
		"operator": n.token(api.RoleOperator), "deployer": n.with("dep", "deployer"), "admin of all partitions": n.with("parts", "admin@plain", "admin@ci", "admin@free", "admin@asroot"),
		"bob": n.mapped("bob", api.TokenRequest{Role: api.RoleOperator}), "root": n.mapped("root", api.TokenRequest{Role: api.RoleOperator}),
	}
	const refused = "refused"
	for i, c := range []struct{ who, partition, user, want string }{
		{"admin", "plain", "", ""}, {"admin", "ci", "", ""}, {"admin", "plain", "root", "root"}, {"admin", "ci", "ann", "ann"}, {"admin", "plain", "mesita-task", "mesita-task"},
		{"admin as ops", "ci", "", "ops"}, {"admin as ops", "ci", "root", "root"}, {"right of admin", "ci", "", ""},
		{"operator", "plain", "", "mesita-task"}, {"operator", "default", "", "mesita-task"}, {"operator", "plain", "mesita-task", "mesita-task"}, {"operator", "plain", "nobody", refused},
		{"operator", "plain", "root", refused}, {"operator", "plain", "0", refused}, {"operator", "plain", "00:1", refused}, {"operator", "plain", "mesita-task:0", refused},
		{"deployer", "ci", "", "ci"}, {"deployer", "ci/below", "", "ci"}, {"deployer", "ci/other", "", "ann:red"}, {"deployer", "ci", "ci", "ci"}, {"deployer", "ci", "ci:root", refused},
		{"deployer", "ci/other", "ann", refused}, {"deployer", "ci", "mesita-task", refused}, {"deployer", "ci/below", "root", refused},
		{"admin of all partitions", "plain", "", "mesita-task"}, {"admin of all partitions", "ci", "root", refused},
		{"bob", "ci", "", "bob"}, {"bob", "plain", "", "bob"}, {"bob", "ci", "ci", refused}, {"bob", "free", "", "bob"},
		{"operator", "free", "", "mesita-task"}, {"operator", "free", "root", "root where allowed"}, {"operator", "free/below", "0", "0 where allowed"}, {"operator", "free", "ann", "ann where allowed"},
		{"operator", "free/root", "", "root where allowed"}, {"operator", "asroot", "", refused}, {"operator", "asroot", "ci", refused}, {"bob", "asroot", "", "bob"},
		{"root", "plain", "", refused}, {"root", "plain", "root", refused}, {"root", "free", "", "root where allowed"},
	} {
		name := fmt.Sprintf("%s in %s --user %q", c.who, c.partition, c.user)
		job := fmt.Sprintf("job-%d", i)
		body := fmt.Sprintf(`{"name":%q,"kind":"service","partition":%q,"command":["x"],"user":%q}`, job, c.partition, c.user)
		method, path := "POST", "/v1/jobs"
		if i%2 == 1 {
			method, path = "PUT", "/v1/jobs/"+job
		}
		before := n.store.View().Index()
		r := n.send(request{method: method, path: path, body: body, token: who[c.who]})
		if c.want == refused {
			if e := r.want(t, 403); e.Field != "user" || !strings.Contains(e.Message, "--allow-root") || !api.IsRoot(c.user) && !strings.Contains(e.Message, "--run-as "+c.user) || n.store.View().Index() != before {
				t.Errorf("%s: %+v", name, e)
			}
			continue
		}
		user, limited := strings.CutSuffix(c.want, " where allowed")
		if j := n.store.View().Job(job); r.StatusCode >= 300 || j == nil || j.Spec.User != user || j.Spec.NeedsRootNode() != limited {
			t.Errorf("%s: %d, %+v", name, r.StatusCode, j)
			continue
		}
		if c.user == "" && c.who != "admin" { // the same again is not a change, nor is what was exported
			version := n.store.View().Job(job).Revision
			n.send(request{method: "PUT", path: "/v1/jobs/" + job, body: body, token: who[c.who]}).want(t, 200)
			n.send(request{method: "PUT", path: "/v1/jobs/" + job, body: n.store.View().Job(job).Spec, token: who[c.who]}).want(t, 200)
			if n.store.View().Job(job).Revision != version {
				t.Errorf("%s: applied again, it is another", name)
			}
		}
	}
}

// TestWhoChangesAJob: what it runs as stays when it is scaled, or submitted again as
// it is, by somebody else, and is settled anew for who gives it another spec.
func TestWhoChangesAJob(t *testing.T) {
	n, admin := mappedNode(t)
	bob := n.mapped("bob", api.TokenRequest{Role: api.RoleOperator})
	spec := func(arg string) string {
		return fmt.Sprintf(`{"name":"web","kind":"service","partition":"ci","command":[%q]}`, arg)
	}
	user := func(want string) {
		t.Helper()
		if got := n.store.View().Job("web").Spec.User; got != want {
			t.Errorf("runs as %q, want %q", got, want)
		}
	}
	n.send(request{method: "POST", path: "/v1/jobs", body: spec("a"), token: admin}).want(t, 201)
	n.send(request{method: "POST", path: "/v1/jobs/web/scale", body: `{"count":3}`, token: bob}).want(t, 200)
	user("")
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: spec("b"), token: bob}).want(t, 200)
	user("bob")
	n.send(request{method: "POST", path: "/v1/jobs/web/scale", body: `{"count":2}`, token: admin}).want(t, 200)
	n.send(request{method: "PUT", path: "/v1/partitions/ci", body: `{"runAs":"ann"}`, token: admin}).want(t, 200)
	user("bob")
	dep := n.with("dep", "deployer@ci")
	version := n.store.View().Job("web").Version
	for _, token := range []string{dep, admin} {
		for _, body := range []string{spec("b"), strings.Replace(spec("b"), "{", `{"count":3,"labels":{"a":"b"},`, 1), strings.Replace(spec("b"), "{", `{"user":"bob",`, 1)} {
			n.send(request{method: "PUT", path: "/v1/jobs/web", body: body, token: token}).want(t, 200)
			user("bob")
		}
	}
	if is := n.store.View().Job("web").Version; is != version {
		t.Errorf("version %d of the same tasks, was %d", is, version)
	}
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: strings.Replace(spec("c"), "{", `{"user":"bob",`, 1), token: dep}).want(t, 403)
	user("bob")
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: spec("c"), token: dep}).want(t, 200)
	user("ann")
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: strings.Replace(spec("c"), "{", `{"user":"root",`, 1), token: admin}).want(t, 200)
	user("root")

	// What ended begins anew as whoever has it begin; a batch that is the same does not.
	n.send(request{method: "POST", path: "/v1/jobs/web/stop", token: admin}).want(t, 200)
	if j := n.store.View().Job("web"); !j.State.Ended() {
		t.Fatalf("%+v", j)
	}
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: spec("c"), token: bob}).want(t, 200)
	user("bob")
	batch := request{method: "PUT", path: "/v1/jobs/sums", body: `{"kind":"batch","partition":"ci","command":["x"]}`, token: admin}
	n.send(batch).want(t, 200)
	finishBatch(t, n.store, "sums")
	batch.token = bob
	if j := into[api.Job](t, n.send(batch)); j.State != api.JobFinished || j.Spec.User != "" {
		t.Errorf("the same batch: %s as %q", j.State, j.Spec.User)
	}
	batch.method, batch.path, batch.body = "POST", "/v1/jobs", `{"name":"sums","kind":"batch","partition":"ci","command":["x"]}`
	if j := into[api.Job](t, n.send(batch)); j.State.Ended() || j.Spec.User != "bob" {
		t.Errorf("submitted again: %s as %q", j.State, j.Spec.User)
	}
}

// TestWhoEntersATask: a command beside a task is as who the task is, so it takes who
// may submit such a one.
func TestWhoEntersATask(t *testing.T) {
	n, admin := mappedNode(t)
	bob, operator := n.mapped("bob", api.TokenRequest{Role: api.RoleOperator}), n.token(api.RoleOperator)
	n.exec = func(context.Context, ExecRequest, func() (ExecIO, error)) (int, error) {
		return 0, api.Errorf(api.CodeConflict, "entered")
	}
	exec := http.Header{"Upgrade": {exchange.ExecProtocol}, "Connection": {"Upgrade"}}
	for i, c := range []struct {
		user, partition, token string
		may                    bool
	}{
		{"", "plain", admin, true}, {"bob", "plain", admin, true}, {"", "plain", operator, false}, {"root", "plain", bob, false}, {"bob", "plain", bob, true}, {"bob", "plain", operator, false},
		{"ci", "ci", operator, true}, {"ci", "ci", bob, false}, {"mesita-task", "plain", operator, true}, {"mesita-task", "ci", operator, false},
		{"", "free", operator, false}, // as its node allows no root
	} {
		job := fmt.Sprintf("job-%d", i)
		n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(`{"name":%q,"kind":"batch","partition":%q,"command":["x"],"user":%q}`, job, c.partition, c.user), token: admin}).want(t, 201)
		runTask(t, n.store, job, 0)
		r := n.send(request{method: "POST", path: "/v1/tasks/" + job + ".0/exec?cmd=id", token: c.token, header: exec})
		if c.may != (r.StatusCode != 403) {
			t.Errorf("%+v: %d %s", c, r.StatusCode, r.body)
		}
	}
	hello := api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}, Attrs: map[string]string{api.AttrAllowRoot: "yes"}}
	do(t, n.store, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "oak", Hello: hello})
	if r := n.send(request{method: "POST", path: "/v1/tasks/job-10.0/exec?cmd=id", token: operator, header: exec}); r.StatusCode == 403 {
		t.Errorf("where root is allowed: %s", r.body)
	}
}

// TestWhoMapsUsers: who decides over the partitions below one decides not who their
// tasks are on nodes.
func TestWhoMapsUsers(t *testing.T) {
	n, admin := mappedNode(t)
	chief := n.with("chief", "admin@ci", "admin@free")
	for body, field := range map[string]string{`{"allowRoot":true}`: "allowRoot", `{"runAs":"root"}`: "runAs", `{"runAs":"ann"}`: "runAs"} {
		for _, path := range []string{"ci/new", "ci/below"} {
			if e := n.send(request{method: "PUT", path: "/v1/partitions/" + path, body: body, token: chief}).want(t, 403); e.Field != field {
				t.Errorf("%s %s: %+v", path, body, e)
			}
		}
	}
	n.send(request{method: "PUT", path: "/v1/partitions/ci/other", body: `{}`, token: chief}).want(t, 403)
	n.send(request{method: "PUT", path: "/v1/partitions/ci/other", body: `{"runAs":"ann:red","weight":2}`, token: chief}).want(t, 200)
	n.send(request{method: "PUT", path: "/v1/partitions/ci/new", body: `{}`, token: chief}).want(t, 200)
	n.send(request{method: "PUT", path: "/v1/partitions/ci/new", body: `{"runAs":"a b"}`, token: admin}).want(t, 400)
	n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"join","runAs":"ci"}`, token: admin}).want(t, 400)
	n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"client","role":"viewer","runAs":"a b"}`, token: admin}).want(t, 400)

	for q, want := range map[string]string{"deploy&on=ci": "ci", "deploy&on=ci/web": "ci", "exec&on=free": "mesita-task, or anybody where root is allowed", "deploy&on=asroot": "nobody: root is not allowed there", "look&on=ci": ""} {
		who := n.with("", "deployer")
		if can := into[items[api.Can]](t, n.send(request{method: "GET", path: "/v1/can?action=" + q, token: who})).Items; len(can) != 1 || can[0].RunAs != want {
			t.Errorf("%s: %+v, want %q", q, can, want)
		}
	}
	if can := into[items[api.Can]](t, n.send(request{method: "GET", path: "/v1/can?action=deploy&on=ci", token: admin})).Items; len(can) != 1 || can[0].RunAs != "root, or anybody" {
		t.Errorf("%+v", can)
	}
}

// TestBelowTheLevel: a cluster with nodes that know nothing of this continues as it was.
func TestBelowTheLevel(t *testing.T) {
	s := fsm.NewStore(nil)
	do(t, s, &fsm.ClusterInit{Level: fsm.TaskUsers.Level() - 1, Meta: fsm.Meta{At: testTime}, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{},
		Node: &api.Node{ID: "oak", Name: "oak-name", Level: int(fsm.TaskUsers.Level()) - 1, Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
	w := newWorld()
	n := newTestNode(t, w, "oak", s)
	w.lead("oak")
	for user, want := range map[string]string{"": "", "ann": "ann"} {
		r := n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(`{"kind":"batch","command":["x"],"user":%q}`, user), token: n.token(api.RoleOperator)})
		if r.want(t, 201); into[api.Job](t, r).Spec.User != want {
			t.Errorf("%s", r.body)
		}
	}
	for _, q := range []request{
		{method: "POST", path: "/v1/jobs", body: `{"kind":"batch","command":["x"],"user":"mesita-task"}`}, {method: "PUT", path: "/v1/partitions/a", body: `{"runAs":"ci"}`},
		{method: "PUT", path: "/v1/partitions/a", body: `{"allowRoot":true}`}, {method: "POST", path: "/v1/tokens", body: `{"kind":"client","role":"viewer","runAs":"ci"}`},
	} {
		q.token = n.token(api.RoleAdmin)
		if e := n.send(q).want(t, 409); !strings.Contains(e.Message, "level 4") {
			t.Errorf("%s: %+v", q.body, e)
		}
	}
}

// TestAMapIsNotWrittenBack: what an admin takes away, or sets, while somebody who may
// not change it writes the rest of the partition, stays so.
func TestAMapIsNotWrittenBack(t *testing.T) {
	for name, c := range map[string]struct{ path, query, mine, admins string }{
		"root is taken away":         {"free/mine", "", `{"allowRoot":true,"weight":5}`, `{}`},
		"a user is set":              {"plain/mine", "", `{"weight":5}`, `{"runAs":"ann"}`},
		"it is made":                 {"plain/new", "", `{"weight":5}`, `{"runAs":"ann"}`},
		"of a version":               {"free/mine", "?if_version=1", `{"allowRoot":true,"weight":5}`, `{}`},
		"of one that there is to be": {"free/mine", "?if_version=2", `{"allowRoot":true,"weight":5}`, `{}`},
	} {
		n, admin := mappedNode(t)
		chief := n.with("chief", "admin@free", "admin@plain")
		n.send(request{method: "PUT", path: "/v1/partitions/free/mine", body: `{"allowRoot":true}`, token: admin}).want(t, 200)
		n.send(request{method: "PUT", path: "/v1/partitions/plain/mine", body: `{}`, token: admin}).want(t, 200)
		n.shares.meanwhile = func() {
			n.shares.meanwhile = nil
			n.send(request{method: "PUT", path: "/v1/partitions/" + c.path, body: c.admins, token: admin}).want(t, 200)
		}
		n.send(request{method: "PUT", path: "/v1/partitions/" + c.path + c.query, body: c.mine, token: chief}).want(t, 409)
		if n.shares.meanwhile != nil { // it was refused before
			continue
		}
		if p := n.store.View().Partition(c.path); p.AllowRoot || p.RunAs == "" && strings.Contains(c.admins, "ann") {
			t.Errorf("%s: %+v", name, p)
		}
		n.send(request{method: "PUT", path: "/v1/partitions/" + c.path, body: strings.Replace(c.admins, "{}", `{"weight":5}`, 1), token: chief}).want(t, 200)
	}
}

// between has something happen after a request was looked at, and before what it
// asks for is applied.
type between struct {
	store *fsm.Store
	what  func()
}

func (b between) Propose(ctx context.Context, cmds []fsm.Command) ([]fsm.Result, error) {
	b.store.SetProposer(nil)
	b.what()
	return b.store.Propose(ctx, cmds...)
}

// TestWhoMakesAJobAnew: whatever becomes of an admin's job while somebody else
// submits it again, no task of theirs is as whom only the admin may choose.
func TestWhoMakesAJobAnew(t *testing.T) {
	ends := func(n *testNode) {
		if n.store.View().Job("web").Spec.Kind == api.KindBatch {
			finishBatch(t, n.store, "web")
			return
		}
		do(n.t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: "web"})
	}
	anew := func(n *testNode, change func(*api.JobSpec)) {
		s := *n.store.View().Job("web").Spec
		s.User = "bob"
		change(&s)
		ends(n)
		do(n.t, n.store, &fsm.JobRemove{Meta: fsm.Meta{At: testTime}, IDs: []string{"web"}})
		do(n.t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: &s})
	}
	for name, happens := range map[string]func(*testNode){
		"it ends": ends,
		"it is removed": func(n *testNode) {
			ends(n)
			do(n.t, n.store, &fsm.JobRemove{Meta: fsm.Meta{At: testTime}, IDs: []string{"web"}})
		},
		"another takes its place": func(n *testNode) { anew(n, func(*api.JobSpec) {}) },
		"one of another kind does": func(n *testNode) {
			anew(n, func(s *api.JobSpec) { s.Kind, s.Count, s.Array = api.KindService, new(1), "" })
		},
		"it is changed": func(n *testNode) {
			if s := *n.store.View().Job("web").Spec; s.Kind == api.KindService {
				s.User = "ann"
				do(n.t, n.store, &fsm.JobUpdate{Meta: fsm.Meta{At: testTime}, ID: "web", Spec: &s})
			}
		},
		"it is stopped": func(n *testNode) { do(n.t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: "web"}) },
	} {
		for _, kind := range []string{"batch", "service"} {
			for _, how := range []string{"POST /v1/jobs", "PUT /v1/jobs/web", "PUT /v1/jobs/web?if_version=1", "PUT /v1/jobs/web?if_revision=9", "PUT /v1/jobs/web?if_revision=10", "PUT /v1/jobs/web?if_revision=11"} {
				for _, more := range []string{"", `,"priority":7`} {
					n := newLeader(t)
					body := fmt.Sprintf(`{"name":"web","kind":%q,"partition":"default","command":["x"]`, kind)
					n.send(request{method: "POST", path: "/v1/jobs", body: body + "}", token: n.token(api.RoleAdmin)}).want(t, 201)
					was := *n.store.View().Job("web")
					token := n.token(api.RoleOperator)
					happened := false
					n.store.SetProposer(between{n.store, func() { happened = true; happens(n) }})
					method, path, _ := strings.Cut(how, " ")
					r := n.send(request{method: method, path: path, body: body + more + "}", token: token})
					n.store.SetProposer(nil)
					if !happened {
						happens(n)
					}
					if j := n.store.View().Job("web"); j != nil && api.IsRoot(j.Spec.User) && !j.State.Ended() && !j.Stop && (j.Seq != was.Seq || j.Version != was.Version) {
						t.Errorf("%s of a %s %s, and %s: %d, a new job as %q", how, kind, more, name, r.StatusCode, j.Spec.User)
					}
				}
			}
		}
	}
}

// TestAnAdminNamesTheUser: where nobody may be root the tasks of a user's job start
// nowhere, and the remedy that `why` has is one: an admin submits the job with --user.
func TestAnAdminNamesTheUser(t *testing.T) {
	n, admin := mappedNode(t)
	body := `{"name":"web","kind":"service","partition":"free","command":["x"],"user":"root"}`
	put := request{method: "PUT", path: "/v1/jobs/web", body: body, token: n.token(api.RoleOperator)}
	n.send(put).want(t, 200)
	if j := n.store.View().Job("web"); !j.Spec.NeedsRootNode() {
		t.Fatalf("%+v", j.Spec)
	}
	put.token = admin
	n.send(put).want(t, 200)
	if j := n.store.View().Job("web"); j.Spec.NeedsRootNode() || j.Spec.User != "root" || j.Version != 2 {
		t.Errorf("version %d, %+v", j.Version, j.Spec)
	}
	put.token = n.token(api.RoleOperator)
	n.send(put).want(t, 200)
	if j := n.store.View().Job("web"); j.Spec.NeedsRootNode() || j.Version != 2 {
		t.Errorf("the same by another: version %d, %+v", j.Version, j.Spec)
	}
}

package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// addFramework connects a framework in partitions, and offers it room of oak in each.
func addFramework(t testing.TB, s *fsm.Store, id string, partitions ...string) {
	t.Helper()
	meta := fsm.Meta{At: testTime, Actor: "token:ci"}
	do(t, s, &fsm.FrameworkPut{Meta: meta, Connect: true, Framework: &api.Framework{ID: id, Name: "The " + id, User: "mesita-task", Principal: "ci", Partitions: partitions, Session: "s-" + id, Info: []byte("private")}})
	for _, p := range partitions {
		do(t, s, &fsm.OfferMake{Meta: meta, Offers: []*api.Offer{{ID: offerID(id, p), Framework: id, Partition: p, NodeID: "oak", Resources: api.Resources{CPUs: 500, Mem: 1 << 30}}}})
	}
}

func offerID(framework, partition string) string {
	return framework + "-" + strings.ReplaceAll(partition, "/", "-")
}

// launch has a framework start a task in the room of its offer in a partition.
func launch(t testing.TB, s *fsm.Store, id, partition, task string) *api.Task {
	t.Helper()
	got := do(t, s, &fsm.FrameworkAccept{Meta: fsm.Meta{At: testTime}, Framework: id, Session: "s-" + id, Offers: []string{offerID(id, partition)},
		Tasks: []fsm.FrameworkLaunch{{Resources: api.Resources{CPUs: 250, Mem: 512 << 20}, Task: &api.FrameworkTask{ID: task, Name: "named " + task, Info: []byte("private"),
			Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"/bin/sh", "-c", "echo " + task}, Env: map[string]string{"KEY": "secret"}}}}}}}).(*fsm.Accepted)
	if got.Invalid != "" || got.Tasks[0] == "" {
		t.Fatalf("%s was not launched: %+v", task, got)
	}
	return s.View().Task(got.Tasks[0])
}

// twoPartitions is a leader with the framework both in two partitions, one alone in each,
// and a task of both in each.
func twoPartitions(t *testing.T) (n *testNode, admin string) {
	n = newLeader(t)
	admin = n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	addFramework(t, n.store, "both", "prod", "dev")
	addFramework(t, n.store, "only-prod", "prod")
	addFramework(t, n.store, "only-dev", "dev")
	launch(t, n.store, "both", "prod", "t1")
	launch(t, n.store, "both", "dev", "t2")
	return n, admin
}

// Who sees a partition sees the frameworks and offers in it, and nothing of those that
// are elsewhere.
func TestFrameworksAreSeenByPartition(t *testing.T) {
	n, _ := twoPartitions(t)
	for who, want := range map[string]struct{ frameworks, partitions, offers, tasks string }{
		"viewer":          {"both only-dev only-prod", "prod dev", "only-dev-dev only-prod-prod", "t1 t2"},
		"viewer@prod":     {"both only-prod", "prod", "only-prod-prod", "t1"},
		"deployer@dev":    {"both only-dev", "dev", "only-dev-dev", "t2"},
		"viewer@prod/web": {"", "", "", ""},
	} {
		token := n.with("", who)
		var frameworks, offers, tasks []string
		r := n.send(request{method: "GET", path: "/v1/frameworks", token: token})
		r.want(t, 200)
		for _, f := range into[items[api.FrameworkStatus]](t, r).Items {
			frameworks = append(frameworks, f.ID)
			if f.ID == "both" && strings.Join(f.Partitions, " ") != want.partitions {
				t.Errorf("%s sees it in %v", who, f.Partitions)
			}
			if n := len(strings.Fields(want.partitions)); f.ID == "both" && (f.Counts.Starting != n || len(f.Jobs) != n) {
				t.Errorf("%s: %+v", who, f)
			}
		}
		said := string(r.body)
		for _, o := range into[items[api.OfferStatus]](t, n.send(request{method: "GET", path: "/v1/offers", token: token})).Items {
			offers = append(offers, o.ID)
			if o.Node != "oak-name" || o.Name != "The "+o.Framework {
				t.Errorf("%+v", o)
			}
		}
		if got := strings.Join(frameworks, " "); got != want.frameworks {
			t.Errorf("%s sees %s", who, got)
		}
		if got := strings.Join(offers, " "); got != want.offers {
			t.Errorf("%s sees the offers %s", who, got)
		}
		r = n.send(request{method: "GET", path: "/v1/tasks?framework=both", token: token})
		if want.frameworks == "" {
			r.want(t, 404)
			n.send(request{method: "GET", path: "/v1/frameworks/both", token: token}).want(t, 404)
			continue
		}
		for _, x := range into[items[api.Task]](t, r).Items {
			tasks = append(tasks, x.Framework.ID)
		}
		if got := strings.Join(tasks, " "); got != want.tasks {
			t.Errorf("%s sees the tasks %s", who, got)
		}
		one := n.send(request{method: "GET", path: "/v1/frameworks/both", token: token})
		one.want(t, 200)
		if f := into[api.FrameworkStatus](t, one); f.Held.CPUs != api.MilliCPU(250*len(tasks)) {
			t.Errorf("%s: it holds %s", who, f.Held)
		}
		for _, secret := range []string{"s-both", "session", "info", "cHJpdmF0ZQ"} {
			if strings.Contains(said+string(one.body), secret) {
				t.Errorf("%s is shown %s", who, secret)
			}
		}
	}
}

// What a framework's task was given to keep is for who may deploy there alone, wherever
// a task is told of; what its framework sent is for nobody.
func TestValuesOfFrameworksTasksAreMasked(t *testing.T) {
	n, admin := twoPartitions(t)
	id := n.store.View().FrameworkTask("both", "t1").ID
	for who, sees := range map[string]bool{"viewer": false, "viewer@prod": false, "deployer@prod": true, "admin": true} {
		token := admin
		if who != "admin" {
			token = n.with("", who)
		}
		for _, path := range []string{"/v1/tasks", "/v1/tasks/" + id, "/v1/tasks?framework=both&own=t1", "/v1/tasks?node=oak", "/v1/events?for=" + id} {
			said := string(n.send(request{method: "GET", path: path, token: token}).body)
			if strings.Contains(said, "secret") != sees || strings.Contains(said, `"KEY":"***"`) == sees && !sees || strings.Contains(said, "cHJpdmF0ZQ") || !strings.Contains(said, "named t1") {
				t.Errorf("%s: %s: %s", who, path, said)
			}
		}
	}
}

// Who wants the log of a task that an executor runs, or to enter it, is told whose it is; both
// are found by the ids that their framework gave them.
func TestHostedTasksNameTheirExecutor(t *testing.T) {
	n, admin := twoPartitions(t)
	addFramework(t, n.store, "f", "prod")
	spec := &api.JobSpec{Kind: api.KindBatch}
	spec.Normalize()
	got := do(t, n.store, &fsm.FrameworkAccept{Meta: fsm.Meta{At: testTime}, Framework: "f", Session: "s-f", Offers: []string{offerID("f", "prod")}, Tasks: []fsm.FrameworkLaunch{{
		Resources: api.Resources{CPUs: 100, Mem: 1 << 20}, Task: &api.FrameworkTask{ID: "t", Name: "t", Executor: "e", Spec: spec, Info: []byte("info")},
		Executor: &fsm.FrameworkExecutor{Resources: api.Resources{CPUs: 100, Mem: 1 << 20}, Task: &api.FrameworkTask{Name: "e", Executor: "e", IsExecutor: true, Info: []byte("info"), Digest: []byte("d"),
			Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"/bin/sh"}}}}}}}}).(*fsm.Accepted)
	if got.Invalid != "" || got.Tasks[0] == "" {
		t.Fatalf("%+v", got)
	}
	id, e := got.Tasks[0], n.store.View().Executor("f", "oak", "e")
	for own, want := range map[string]string{"t": id, "e": e.ID, "x": ""} {
		found := ""
		for _, one := range into[items[api.Task]](t, n.send(request{method: "GET", path: "/v1/tasks?framework=f&all=1&own=" + own, token: admin})).Items {
			found += one.ID
		}
		if found != want {
			t.Errorf("by the id %s that its framework gave it, %q is found, not %q", own, found, want)
		}
	}
	ask := func() map[string]string {
		return map[string]string{
			"logs": n.send(request{method: "GET", path: "/v1/tasks/" + id + "/logs", token: admin}).want(t, 409).Message,
			"exec": n.send(request{method: "POST", path: "/v1/tasks/" + id + "/exec?cmd=id", header: http.Header{"Upgrade": {exchange.ExecProtocol}, "Connection": {"Upgrade"}}, token: admin}).want(t, 409).Message,
		}
	}
	for word, said := range ask() {
		if !strings.Contains(said, "`mesita "+word+" "+e.ID+"`") {
			t.Errorf("%s: %s", word, said)
		}
	}
	do(t, n.store, &fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: e.ID, Attempt: e.Attempt, NodeID: "oak", State: api.TaskFailed, Reason: api.ReasonExited, Time: testTime}}})
	for word, said := range ask() {
		if !strings.Contains(said, `its executor "e" has ended`) {
			t.Errorf("%s: %s", word, said)
		}
	}
}

// A framework ends in all of its partitions, so who ends it may deploy in each.
func TestWhoEndsFrameworksAndTakesOffersBack(t *testing.T) {
	n, admin := twoPartitions(t)
	for _, c := range []struct {
		who, what string
		status    int
	}{
		{"viewer", "frameworks/both", 403}, {"deployer@prod", "frameworks/both", 403}, {"deployer@prod", "frameworks/only-dev", 404}, {"deployer@prod/both", "frameworks/both", 404},
		{"viewer@prod", "offers/only-prod-prod", 403}, {"deployer@prod", "offers/only-dev-dev", 404}, {"deployer@prod", "offers/both-prod", 404},
		{"deployer@prod", "offers/only-prod-prod", 200}, {"deployer@prod", "offers/only-prod-prod", 404}, {"deployer@prod", "frameworks/only-prod", 200}, {"deployer@prod", "frameworks/only-prod", 409},
	} {
		before := n.store.View().Index()
		token := n.with("", c.who)
		made := n.store.View().Index()
		if n.send(request{method: "DELETE", path: "/v1/" + c.what, token: token}).want(t, c.status); (n.store.View().Index() != made) != (c.status == 200) || made == before {
			t.Errorf("%s: %s: what was refused changed something, or what was not did not", c.who, c.what)
		}
	}
	n.send(request{method: "DELETE", path: "/v1/frameworks/both", token: admin}).want(t, 200)
	v := n.store.View()
	if f := v.Framework("both"); f.Ended.IsZero() || !strings.HasPrefix(f.Reason, "removed by token:") {
		t.Errorf("%+v", f)
	}
	for x := range v.FrameworkTasks("both") {
		if x.Desired != api.DesiredStop {
			t.Errorf("%s was not told to end", x.ID)
		}
	}
	for path, want := range map[string]string{"/v1/frameworks": "only-dev", "/v1/frameworks?all=1": "both only-dev only-prod"} {
		var got []string
		for _, f := range into[items[api.FrameworkStatus]](t, n.send(request{method: "GET", path: path, token: admin})).Items {
			got = append(got, f.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// Frameworks choose their own ids, which are asked for whatever they have but a slash.
func TestFrameworkIDsAreAnyText(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	for _, id := range []string{"a b", "ä%2F", "?x=1#", strings.Repeat("x", 255), "..x", "%"} {
		addFramework(t, n.store, id, "default")
		f := into[api.FrameworkStatus](t, n.send(request{method: "GET", path: "/v1/frameworks/" + url.PathEscape(id), token: token}))
		if f.Framework == nil || f.ID != id {
			t.Errorf("%q: %+v", id, f)
		}
		n.send(request{method: "DELETE", path: "/v1/offers/" + url.PathEscape(id+"-default"), token: token}).want(t, map[bool]int{true: 200, false: 400}[len(id) < 200])
		n.send(request{method: "DELETE", path: "/v1/frameworks/" + url.PathEscape(id), token: token}).want(t, 200)
	}
	for _, id := range []string{"a%2Fb", "a%00", "%ff", strings.Repeat("x", 256)} {
		for _, path := range []string{"/v1/frameworks/", "/v1/offers/"} {
			if e := n.send(request{method: "GET", path: path + id, token: token}).want(t, 400); e.Field != "id" {
				t.Errorf("%s: %+v", id, e)
			}
		}
	}
}

// Only a framework decides about what it runs: jobs of theirs are changed by no command
// for jobs, and a task is stopped, but not started again.
func TestJobsOfFrameworksAreTheirs(t *testing.T) {
	n, admin := twoPartitions(t)
	x := n.store.View().FrameworkTask("both", "t1")
	before := n.store.View().LastEvent()
	asked := 0
	for _, rt := range routeTable(nil) {
		if !strings.HasPrefix(rt.Path, "/v1/jobs/{id}") || rt.Method == http.MethodGet {
			continue
		}
		for _, body := range []string{"{}", `{"count":2}`, fmt.Sprintf(`{"name":%q,"kind":"service","partition":"prod","command":["x"]}`, x.Job)} {
			r := n.send(request{method: rt.Method, path: strings.Replace(rt.Path, "{id}", x.Job, 1), body: body, token: admin})
			if r.StatusCode != 409 && r.StatusCode != 400 || n.store.View().LastEvent() != before {
				t.Errorf("%s %s: %d %s", rt.Method, rt.Path, r.StatusCode, r.body)
			}
			if r.StatusCode == 409 && rt.Method != http.MethodDelete && strings.Contains(string(r.body), "job 1 is what framework both (The both) runs") {
				asked++
			}
		}
	}
	if asked < 8 {
		t.Errorf("only %d requests told why", asked)
	}
	if e := n.send(request{method: "POST", path: "/v1/tasks/" + x.ID + "/stop", body: `{"move":true}`, token: admin}).want(t, 409); !strings.Contains(e.Message, "task "+x.ID) || n.store.View().LastEvent() != before {
		t.Errorf("%+v", e)
	}
	for _, body := range []string{`{"kind":"framework","command":["x"]}`, `{"name":"f","kind":"framework","command":["x"]}`} {
		if e := n.send(request{method: "POST", path: "/v1/jobs", body: body, token: admin}).want(t, 400); e.Field != "kind" {
			t.Errorf("%s: %+v", body, e)
		}
	}
	if e := n.send(request{method: "POST", path: "/v1/apply", body: fmt.Sprintf(`{"stop":[{"job":%q,"revision":%d}]}`, x.Job, n.store.View().Job(x.Job).Revision), token: admin}); e.StatusCode == 200 {
		t.Errorf("apply stops it: %s", e.body)
	}
	n.send(request{method: "POST", path: "/v1/tasks/" + x.ID + "/stop", body: `{}`, token: admin}).want(t, 200)
	if now := n.store.View().Task(x.ID); now.Desired != api.DesiredStop {
		t.Errorf("%+v", now)
	}
}

// What is reserved on a node is shown of it, to who sees its partition.
func TestReservationsOfANode(t *testing.T) {
	n, _ := twoPartitions(t)
	for _, path := range []string{"prod", "dev"} {
		do(t, n.store, &fsm.ReservationChange{Meta: fsm.Meta{At: testTime}, NodeID: "oak", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: path, Principal: "ci", Resources: api.Resources{CPUs: 100}}}})
	}
	for who, want := range map[string]string{"viewer": "dev prod", "viewer@prod": "prod", "deployer@dev": "dev"} {
		r := n.send(request{method: "GET", path: "/v1/nodes/oak", token: n.with("", who)})
		r.want(t, 200)
		var sees []string
		for _, s := range into[api.NodeStatus](t, r).Reservations {
			sees = append(sees, s.Partition)
			if s.Node != "oak-name" || s.Resources.CPUs != 100 || s.Principal != "ci" {
				t.Errorf("%s sees %+v", who, s)
			}
		}
		slices.Sort(sees)
		if got := strings.Join(sees, " "); got != want {
			t.Errorf("%s sees what %q has reserved, not %q", who, got, want)
		}
	}
}

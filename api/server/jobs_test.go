package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const webJob = `{"name":"web","kind":"service","count":2,"command":["sleep","9"]}`

func TestCreateJob(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	r := n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token})
	r.want(t, 201)
	j := into[api.Job](t, r)
	if j.ID != "web" || j.Spec.StopSignal != "SIGTERM" || !j.Created.Equal(testTime) || !strings.HasPrefix(j.Actor, "token:") {
		t.Errorf("job %+v", j)
	}
	again := n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token})
	again.want(t, 201)
	if got := into[api.Job](t, again); got.Seq != j.Seq {
		t.Errorf("the same job again is another one: %d, %d", got.Seq, j.Seq)
	}
	e := n.send(request{method: "POST", path: "/v1/jobs", body: strings.Replace(webJob, "9", "8", 1), token: token}).want(t, 409)
	if e.Code != api.CodeConflict {
		t.Errorf("code %s", e.Code)
	}
}

func TestCreateJobOncePerKey(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	q := request{method: "POST", path: "/v1/jobs", body: `{"kind":"batch","command":["true"]}`, token: token, header: http.Header{"Idempotency-Key": {"k1"}}}
	first, second := into[api.Job](t, n.send(q)), into[api.Job](t, n.send(q))
	if first.ID != second.ID || first.ID == "" {
		t.Errorf("ids %q and %q", first.ID, second.ID)
	}
	q.header = http.Header{"Idempotency-Key": {strings.Repeat("k", 129)}}
	if e := n.send(q).want(t, 400); e.Field != "Idempotency-Key" {
		t.Errorf("%+v", e)
	}
}

func TestRefusedJobs(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	for _, c := range []struct {
		name, body  string
		status      int
		code        api.Code
		field, says string
	}{
		{"unknown field", `{"kind":"batch","comand":["x"]}`, 400, api.CodeInvalid, "comand", "did you mean command"},
		{"no command", `{"kind":"batch"}`, 400, api.CodeInvalid, "command", "empty"},
		{"bad name", `{"name":"a b","kind":"batch","command":["x"]}`, 400, api.CodeInvalid, "name", "position 2"},
		{"long name", `{"name":"` + strings.Repeat("a", 300) + `","kind":"batch","command":["x"]}`, 400, api.CodeInvalid, "name", "300"},
		{"negative cpus", `{"kind":"batch","command":["x"],"cpus":-1}`, 400, api.CodeInvalid, "cpus", "above zero"},
		{"cpus no number", `{"kind":"batch","command":["x"],"cpus":"many"}`, 400, api.CodeInvalid, "cpus", "number of cores"},
		{"array too long", `{"kind":"batch","command":["x"],"array":"0-1000000"}`, 400, api.CodeInvalid, "array", "limit"},
		{"cut off", `{"kind":"batch",`, 400, api.CodeInvalid, "", "cut off"},
		{"no body", ``, 400, api.CodeInvalid, "name", "empty"},
		{"two values", `{"kind":"batch","command":["x"]} {}`, 400, api.CodeInvalid, "", "more after"},
		{"no partition", `{"kind":"batch","command":["x"],"partition":"ml"}`, 404, api.CodeNotFound, "partition", "ml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := n.store.View().LastEvent()
			e := n.send(request{method: "POST", path: "/v1/jobs", body: c.body, token: token}).want(t, c.status)
			if e.Code != c.code || e.Field != c.field || !strings.Contains(e.Message, c.says) {
				t.Errorf("got %+v", e)
			}
			if after := n.store.View().LastEvent(); after != before {
				t.Errorf("something changed: %d events", after-before)
			}
		})
	}
}

func TestCreateJobThatDoesNotFit(t *testing.T) {
	n := newLeader(t)
	n.fits = api.Errorf(api.CodeDoesNotFit, "oak lacks 3 cpus")
	e := n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: n.token(api.RoleOperator)}).want(t, 422)
	if e.Code != api.CodeDoesNotFit || e.Code.ExitCode() != 9 {
		t.Errorf("%+v", e)
	}
}

func TestFullDiskRefusesNewWork(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	n.setFull(true)
	for _, path := range []string{"POST /v1/jobs", "PUT /v1/jobs/web", "PUT /v1/blobs/sha256:" + strings.Repeat("a", 64)} {
		method, path, _ := strings.Cut(path, " ")
		e := n.send(request{method: method, path: path, body: webJob, token: token}).want(t, 503)
		if e.Code != api.CodeUnavailable || !strings.Contains(e.Message, "/var/lib/mesita") {
			t.Errorf("%s: %+v", path, e)
		}
	}
	h := into[api.Health](t, n.send(request{method: "GET", path: "/v1/health"}))
	if !h.Quorum || !strings.Contains(h.Reason, "/var/lib/mesita") {
		t.Errorf("health %+v", h)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	for _, q := range []string{"POST /v1/jobs?dry_run=1", "PUT /v1/jobs/web?dry_run=true"} {
		method, path, _ := strings.Cut(q, " ")
		r := n.send(request{method: method, path: path, body: webJob, token: token})
		r.want(t, 200)
		if p := into[api.Plan](t, r); p.Job != "web" || p.Tasks != 2 {
			t.Errorf("plan %+v", p)
		}
	}
	if n.store.View().Job("web") != nil {
		t.Error("a dry run made the job")
	}
	n.send(request{method: "POST", path: "/v1/jobs?dry_run=perhaps", body: webJob, token: token}).want(t, 400)
}

func TestApplyJob(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	put := func(query, body string, status int) reply {
		t.Helper()
		r := n.send(request{method: "PUT", path: "/v1/jobs/web" + query, body: body, token: token})
		r.want(t, status)
		return r
	}
	unnamed := `{"kind":"service","count":2,"command":["sleep","9"]}`
	if j := into[api.Job](t, put("", unnamed, 200)); j.ID != "web" || j.Version != 1 {
		t.Fatalf("created %+v", j)
	}
	if j := into[api.Job](t, put("", webJob, 200)); j.Version != 1 {
		t.Errorf("the same spec made version %d", j.Version)
	}
	changed := strings.Replace(webJob, "9", "8", 1)
	put("?if_version=7", changed, 409)
	if j := into[api.Job](t, put("?if_version=1", changed, 200)); j.Version != 2 || len(j.History) != 1 {
		t.Errorf("updated %+v", j)
	}
	put("", strings.Replace(webJob, "web", "wob", 1), 400)
	put("?if_version=x", webJob, 400)
	put("?if_revision=x", webJob, 400)
}

// What was read before any change that somebody asked for is stale, though the
// version stays the same; what the cluster does by itself changes no revision.
func TestStaleRevision(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	send := func(method, path, body string, status int) api.Job {
		t.Helper()
		r := n.send(request{method: method, path: "/v1/jobs/web" + path, body: body, token: token})
		r.want(t, status)
		if status != 200 {
			return api.Job{}
		}
		return into[api.Job](t, r)
	}
	old := send("PUT", "", webJob, 200)
	do(t, n.store, &fsm.TaskPlace{Meta: fsm.Meta{At: testTime}, Placements: []fsm.Placement{{Job: "web", Attempt: 1, NodeID: "oak"}}})
	if now := send("GET", "", "", 200); now.Counts.Starting != 1 || now.Revision != old.Revision || now.Revision == 0 {
		t.Errorf("revision %d with %+v, was %d", now.Revision, now.Counts, old.Revision)
	}
	edit := func(old api.Job, status int) api.Job {
		t.Helper()
		changed := strings.Replace(webJob, "9", fmt.Sprint(old.Revision), 1)
		if send("PUT", fmt.Sprintf("?dry_run=1&if_revision=%d", old.Revision), changed, status); status != 200 {
			send("PUT", fmt.Sprintf("?if_version=%d&if_revision=%d", old.Version, old.Revision), changed, status)
			return old
		}
		return send("PUT", fmt.Sprintf("?if_revision=%d", old.Revision), changed, status)
	}
	for _, change := range []func(){
		func() { send("POST", "/scale", `{"count":5}`, 200) },
		func() { send("PUT", "", strings.Replace(webJob, "{", `{"labels":{"team":"web"},`, 1), 200) },
		func() { send("PUT", "", strings.Replace(webJob, "{", `{"priority":7,`, 1), 200) },
	} {
		change()
		edit(old, 409)
		old = edit(send("GET", "", "", 200), 200)
	}
	send("POST", "/stop", "", 200)
	edit(old, 409)
}

func TestApplyDoesNotRepeatABatch(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	q := request{method: "PUT", path: "/v1/jobs/sums", body: `{"kind":"batch","command":["true"]}`, token: token}
	n.send(q).want(t, 200)
	finishBatch(t, n.store, "sums")
	if j := into[api.Job](t, n.send(q)); j.Version != 1 || j.State != api.JobFinished {
		t.Errorf("applied again: version %d, %s", j.Version, j.State)
	}
}

// finishBatch runs the one task of a batch to its end.
func finishBatch(t *testing.T, s *fsm.Store, job string) {
	t.Helper()
	runTask(t, s, job, 0)
	code := 0
	do(t, s, &fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: job + ".0", Attempt: 1, NodeID: "oak", State: api.TaskFinished, ExitCode: &code, Time: testTime}}})
}

// runTask brings a job's task to run on oak.
func runTask(t *testing.T, s *fsm.Store, job string, i int) {
	t.Helper()
	meta := fsm.Meta{At: testTime}
	do(t, s, &fsm.TaskCreate{Meta: meta, Job: job, First: i, Count: 1})
	task := s.View().TaskOf(job, i)
	do(t, s, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: job, Index: i, Attempt: task.Attempt, NodeID: "oak"}}})
	do(t, s, &fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: task.ID, Attempt: task.Attempt, NodeID: "oak", State: api.TaskRunning, PID: 7, Time: testTime}}})
}

func TestJobLife(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	send := func(method, path string, body any, status int) reply {
		t.Helper()
		r := n.send(request{method: method, path: path, body: body, token: token})
		r.want(t, status)
		return r
	}
	send("POST", "/v1/jobs", webJob, 201)
	if j := into[api.Job](t, send("POST", "/v1/jobs/web/scale", `{"count":3}`, 200)); j.Spec.Tasks() != 3 {
		t.Errorf("scaled to %d", j.Spec.Tasks())
	}
	if e := send("POST", "/v1/jobs/web/scale", nil, 400).want(t, 400); e.Field != "count" {
		t.Errorf("%+v", e)
	}
	send("POST", "/v1/jobs/web/scale", `{"count":-1}`, 400)
	// What is read back of a service scaled to nothing, applied, leaves it so.
	none := into[api.Job](t, send("POST", "/v1/jobs/web/scale", `{"count":0}`, 200))
	if j := into[api.Job](t, send("PUT", "/v1/jobs/web", none.Spec, 200)); j.Spec.Tasks() != 0 || j.Version != none.Version {
		t.Errorf("version %d of %d tasks, was %d of none", j.Version, j.Spec.Tasks(), none.Version)
	}
	if j := into[api.Job](t, send("PUT", "/v1/jobs/web", webJob, 200)); j.Spec.Tasks() != 2 {
		t.Errorf("%d tasks", j.Spec.Tasks())
	}
	none.Spec.Count = nil
	if j := into[api.Job](t, send("PUT", "/v1/jobs/web", none.Spec, 200)); j.Spec.Tasks() != 1 {
		t.Errorf("%d tasks without a count", j.Spec.Tasks())
	}
	send("DELETE", "/v1/jobs/web", nil, 409)
	if w := into[api.Why](t, send("GET", "/v1/jobs/web/why", nil, 200)); w.ID != "web" || !w.Estimate.Equal(testTime.Add(time.Minute)) || w.Sure != api.SureLimits {
		t.Errorf("%+v: not what the queue says", w)
	}
	for id, at := range map[string]time.Time{"web.0": testTime.Add(time.Minute), "web.1": {}} { // only of the first is more than its place known
		if w := into[api.Why](t, send("GET", "/v1/tasks/"+id+"/why", nil, 200)); !w.Estimate.Equal(at) {
			t.Errorf("%s: %+v", id, w)
		}
	}
	list := into[items[api.Job]](t, send("GET", "/v1/jobs?kind=service", nil, 200))
	if len(list.Items) != 1 || list.Index != n.store.View().Index() {
		t.Errorf("%+v", list)
	}
	send("POST", "/v1/jobs/web/stop", `{}`, 200)
	if got := into[items[api.Job]](t, send("GET", "/v1/jobs", nil, 200)); len(got.Items) != 0 || got.Items == nil {
		t.Errorf("ended jobs are listed: %+v", got)
	}
	if got := into[items[api.Job]](t, send("GET", "/v1/jobs?all=1", nil, 200)); len(got.Items) != 1 {
		t.Errorf("%+v", got)
	}
	send("DELETE", "/v1/jobs/web", nil, 200)
	send("GET", "/v1/jobs/web", nil, 404)
	send("POST", "/v1/jobs/web/stop", nil, 404)
	send("POST", "/v1/jobs/web/stop", `{"now":true}`, 400)
}

func TestWaitForJob(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
	e := n.send(request{method: "GET", path: "/v1/jobs/web?wait=running&timeout=0.01", token: token}).want(t, 408)
	if e.Code != api.CodeTimeout || !strings.Contains(e.Message, "0/2 running") {
		t.Errorf("%+v", e)
	}
	got := make(chan reply, 1)
	go func() {
		got <- n.send(request{method: "GET", path: "/v1/jobs/web?wait=running&timeout=10s", token: token})
	}()
	until(t, "the wait holds", func() bool { return n.server.http.Streams() == 1 })
	runTask(t, n.store, "web", 0)
	select {
	case r := <-got:
		t.Fatalf("answered with one of two running: %s", r.body)
	default:
	}
	runTask(t, n.store, "web", 1)
	r := <-got
	r.want(t, 200)
	if j := into[api.Job](t, r); j.Counts.Running != 2 {
		t.Errorf("%+v", j.Counts)
	}
	for path, status := range map[string]int{
		"/v1/jobs/web?wait=forever": 400, "/v1/jobs/web?wait=running&timeout=1h": 400, "/v1/jobs/web?wait=": 400, "/v1/jobs/wob?wait=ended": 404,
	} {
		n.send(request{method: "GET", path: path, token: token}).want(t, status)
	}
}

// What a job leaves out its partition says, and the job says so; what is applied
// again as it was is not a change, whatever the partition says by then.
func TestPartitionsFillInWhatJobsLeaveOut(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	send := func(method, path, body string) reply {
		return n.send(request{method: method, path: path, body: body, token: admin})
	}
	send("PUT", "/v1/partitions/ml", `{"defaultCpus":0.5,"maxTime":"1h","maxMem":"1GiB"}`).want(t, 200)
	job := `{"name":"a","kind":"batch","partition":"ml","command":["x"]}`
	r := send("POST", "/v1/jobs", job)
	r.want(t, 201)
	first := into[api.Job](t, r)
	if s := first.Spec; s.CPUs != 500 || s.Mem != api.DefaultMem || s.Time != api.Duration(3600e9) || len(first.Filled) != 2 {
		t.Errorf("%s", r.body)
	}
	send("PUT", "/v1/partitions/ml", `{"defaultCpus":0.7,"maxTime":"2h"}`).want(t, 200)
	r = send("PUT", "/v1/jobs/a", job)
	r.want(t, 200)
	if again := into[api.Job](t, r); again.Seq != first.Seq || again.Spec.CPUs != 500 {
		t.Errorf("applied again: %s", r.body)
	}
	if e := send("POST", "/v1/jobs", `{"kind":"batch","partition":"ml","command":["x"],"time":"3h"}`).want(t, 422); e.Field != "time" || !strings.Contains(e.Message, "--max-time 3h0m0s") {
		t.Errorf("%+v", e)
	}
	if e := send("POST", "/v1/jobs?dry_run=1", `{"name":"web","kind":"service","partition":"ml","command":["x"]}`).want(t, 422); e.Field != "partition" {
		t.Errorf("%+v", e)
	}
}

// Who manages what is below a partition cannot let tasks there have more than the
// partition does.
func TestOnlyWhoMayChangeARuleLiftsItBelow(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	put := func(token, path, body string) reply {
		return n.send(request{method: "PUT", path: "/v1/partitions/" + path, body: body, token: token})
	}
	put(admin, "ml", `{"maxCpus":2}`).want(t, 200)
	lead := n.with("lead", "admin@ml")
	put(lead, "ml/a", `{"maxCpus":2,"maxMem":"1TiB"}`).want(t, 200)
	if e := put(lead, "ml/a", `{"maxCpus":2.1}`).want(t, 403); e.Field != "maxCpus" {
		t.Errorf("%+v", e)
	}
	put(admin, "ml/a", `{"maxCpus":3}`).want(t, 200)
	put(lead, "ml/a", `{"maxCpus":3,"weight":2}`).want(t, 200)
}

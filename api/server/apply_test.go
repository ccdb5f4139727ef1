package server

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

func (n *testNode) apply(token, query, body string) reply {
	n.t.Helper()
	return n.send(request{method: "POST", path: "/v1/apply" + query, body: body, token: token})
}

// did is what an answer says was done, in a line.
func did(t *testing.T, r reply) string {
	t.Helper()
	r.want(t, 200)
	var out []string
	for _, a := range into[api.ApplyAnswer](t, r).Items {
		out = append(out, a.Action+" "+a.Name)
	}
	return strings.Join(out, ", ")
}

func service(name, partition, more string) string {
	return fmt.Sprintf(`{"name":%q,"kind":"service","partition":%q,"command":["x"]%s}`, name, partition, more)
}

// All of a request is planned against what all of it makes: partitions that jobs are
// in, and rules that are gone.
func TestApplyIsPlannedTogether(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	if got := did(t, n.apply(admin, "", `{"partitions":[{"path":"ml/a"},{"path":"ml","maxCpus":1,"defaultCpus":0.5}],"jobs":[`+service("a", "ml/a", "")+`]}`)); got != "create ml/a, create ml, create a" {
		t.Error(got)
	}
	if s := n.store.View().Job("a").Spec; s.CPUs != 500 {
		t.Errorf("the default of the partition that is made with it did not count: %v", s.CPUs)
	}
	large := service("b", "ml/a", `,"cpus":2`)
	if e := n.apply(admin, "", `{"jobs":[`+large+`]}`).want(t, 422); e.Field != "jobs[0].cpus" {
		t.Errorf("%+v", e)
	}
	before := n.store.View().Index()
	body := `{"jobs":[` + large + `,` + service("a", "ml/a", `,"count":3`) + `],"partitions":[{"path":"ml"}]}`
	r := n.apply(admin, "?dry_run=1", body)
	if got := did(t, r); got != "update ml, create b, update a" || n.store.View().Index() != before {
		t.Errorf("%s, at %d after %d", got, n.store.View().Index(), before)
	}
	if items := into[api.ApplyAnswer](t, r).Items; items[1].Plan == nil || len(items[2].Changes) != 1 || items[2].Changes[0].Field != "count" {
		t.Errorf("%+v", items)
	}
	if got := did(t, n.apply(admin, "", body)); got != "update ml, create b, update a" || n.store.View().Index() != before+1 {
		t.Errorf("%s, in %d entries", got, n.store.View().Index()-before)
	}
	if v := n.store.View(); v.Partition("ml").MaxCPUs != 0 || v.Job("b") == nil || v.Job("a").Spec.Tasks() != 3 {
		t.Error("not all was done")
	}
	if got := did(t, n.apply(admin, "", body)); got != "nothing ml, nothing b, nothing a" || n.store.View().Index() != before+1 {
		t.Errorf("again: %s", got)
	}
	if got := did(t, n.apply(admin, "", `{"stop":[`+n.seen("b")+`],"jobs":[`+service("c", "ml/a", "")+`]}`)); got != "create c, stop b" || !n.store.View().Job("b").Stop {
		t.Errorf("%s", got)
	}
}

// seen is a job as one who looks at it now has it stopped.
func (n *testNode) seen(job string) string {
	return fmt.Sprintf(`{"job":%q,"revision":%d}`, job, n.store.View().Job(job).Revision)
}

// A job stops as it was seen, or nothing is done: whoever changed it since, or started
// another of that name, has not been asked.
func TestApplyStopsWhatWasSeen(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	put := func(more string) {
		n.send(request{method: "PUT", path: "/v1/jobs/old", body: service("old", "default", more), token: admin})
	}
	changes := map[string]func(){
		"another label": func() { put(`,"labels":{"team":"db"}`) },
		"started anew": func() {
			do(t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: "old"})
			put("")
		},
	}
	for what, change := range changes {
		put(`,"labels":{"team":"web"}`)
		was := n.seen("old")
		change()
		before := n.store.View().Index()
		for _, query := range []string{"", "?dry_run=1"} {
			e := n.apply(admin, query, `{"stop":[`+was+`],"jobs":[`+service("new", "default", "")+`]}`).want(t, 409)
			if e.Field != "stop[0]."+api.FieldRevision || n.store.View().Index() != before || n.store.View().Job("old").Stop {
				t.Errorf("%s: %+v", what, e)
			}
		}
	}
	if got := did(t, n.apply(admin, "", `{"stop":[`+n.seen("old")+`]}`)); got != "stop old" || !n.store.View().Job("old").Stop {
		t.Error(got)
	}
}

// Who may not stop some of the jobs hears of all of those, and nothing is done.
func TestApplyNamesWhatMayNotStop(t *testing.T) {
	n, admin := mappedNode(t)
	for job, partition := range map[string]string{"mine": "plain", "theirs": "ci", "also": "free"} {
		n.send(request{method: "POST", path: "/v1/jobs", body: service(job, partition, ""), token: admin}).want(t, 201)
	}
	who, before := n.with("dep", "deployer@plain", "viewer@ci", "viewer@free"), n.store.View().Index()
	for _, query := range []string{"", "?dry_run=1"} {
		e := n.apply(who, query, `{"stop":[`+n.seen("mine")+`,`+n.seen("theirs")+`,`+n.seen("also")+`],"jobs":[`+service("new", "plain", "")+`]}`).want(t, 403)
		if e.Field != "stop[1]" || !strings.Contains(e.Message, `you may not stop "theirs", "also", so nothing is done: `) || n.store.View().Index() != before {
			t.Errorf("%+v", e)
		}
	}
}

// What is wrong with one is said of that one, and nothing of the others is done.
func TestApplyIsRefusedWhole(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"batch","kind":"batch","command":["x"]}`, token: admin}).want(t, 201)
	good := service("good", "default", "")
	for body, want := range map[string]struct {
		status      int
		field, says string
	}{
		`{"jobs":[` + good + `,` + service("b", "none", "") + `]}`:                                                   {404, "jobs[1].partition", "none"},
		`{"jobs":[` + good + `,` + service("b", "default", `,"count":-1`) + `]}`:                                     {400, "jobs[1].count", "-1"},
		`{"jobs":[` + good + `],"partitions":[{"path":"a"},{"path":"b","guarantee":{"cpus":5}}]}`:                    {422, "partitions[1].guarantee", "does not fit"},
		`{"jobs":[` + good + `],"partitions":[{"path":"a","weight":-1}]}`:                                            {400, "partitions[0].weight", "above 0"},
		`{"jobs":[` + good + `],"partitions":[{"path":"a/b"}]}`:                                                      {404, "partitions[0].path", "create it first"},
		`{"jobs":[` + good + `,` + good + `]}`:                                                                       {400, "jobs[1].name", "twice"},
		`{"jobs":[` + good + `],"partitions":[{"path":"a"},{"path":"a"}]}`:                                           {400, "partitions[1].path", "twice"},
		`{"jobs":[` + good + `,{"kind":"service","command":["x"]}]}`:                                                 {400, "jobs[1].name", "missing"},
		`{"jobs":[` + good + `],"partitions":[{}]}`:                                                                  {400, "partitions[0].path", "missing"},
		`{"jobs":[` + good + `,null]}`:                                                                               {400, "jobs[1].name", "missing"},
		`{"jobs":[` + good + `],"stop":[{"job":"none"}]}`:                                                            {404, "stop[0]", "none"},
		`{"jobs":[` + good + `],"stop":[{"job":"good"}]}`:                                                            {400, "stop[0]", "to be stopped"},
		`{"jobs":[` + good + `,{"name":"batch","kind":"batch","command":["y"]}]}`:                                    {409, "jobs[1]", "mesita stop batch"},
		`{"jobs":[` + good + `,` + service("p", "default", `,"program":"sha256:`+strings.Repeat("a", 64)+`"`) + `]}`: {400, "jobs[1].program", "upload"},
		`{"jobs":[` + good + `],"stop":[{"revision":1}]}`:                                                            {400, "stop[0].job", "missing"},
		`{"jobs":[` + good + `],"stop":[{"job":"batch"}]}`:                                                           {400, "stop[0].revision", "missing"},
		`{"job":[]}`: {400, "job", "jobs"},
	} {
		for _, query := range []string{"", "?dry_run=1"} {
			if query != "" && strings.HasSuffix(want.field, "program") {
				continue // it is uploaded before it is done
			}
			e := n.apply(admin, query, body).want(t, want.status)
			if e == nil || e.Field != want.field || !strings.Contains(e.Message, want.says) {
				t.Errorf("%s%s: %+v", query, body, e)
			}
		}
	}
	for p := range n.store.View().Partitions() {
		if p.Path != api.DefaultPartition {
			t.Errorf("partition %s was made", p.Path)
		}
	}
	for j := range n.store.View().Jobs() {
		if j.ID != "batch" {
			t.Errorf("job %s was made", j.ID)
		}
	}
}

// Rights are asked for each of them, as it is and as it shall be: who may not change
// one of them alone may not together with others.
func TestRightsToApply(t *testing.T) {
	n, admin := mappedNode(t)
	n.send(request{method: "POST", path: "/v1/jobs", body: service("web-1", "plain", ""), token: admin}).want(t, 201)
	n.send(request{method: "POST", path: "/v1/jobs", body: service("db", "ci", `,"env":{"K":"secret"}`), token: admin}).want(t, 201)
	dep, parts := n.with("dep", "deployer@plain/web-*"), n.with("parts", "admin@plain", "deployer@ci")
	before := n.store.View().Index()
	for _, c := range []struct{ who, body, field string }{
		{dep, service("web-1", "ci", ""), "jobs[0]"},                                         // it shall be where they may not
		{dep, service("db", "plain", ""), "jobs[0]"},                                         // nor is it theirs
		{dep, service("web-2", "plain", `,"user":"root"`), "jobs[0].user"},                   //
		{parts, service("web-2", "plain", `,"user":"root"`), "jobs[0].user"},                 //
		{dep, `],"stop":[{"job":"db"}],"jobs":[` + service("web-2", "plain", ""), "stop[0]"}, // is not there for them
		{dep, `],"partitions":[{"path":"plain/x"}],"jobs":[` + service("web-2", "plain", ""), "partitions[0]"},
		{parts, `],"partitions":[{"path":"plain"}],"jobs":[` + service("web-2", "plain", ""), "partitions[0]"}, // its own share
		{parts, `],"partitions":[{"path":"plain/x","allowRoot":true}],"jobs":[` + service("r", "plain/x", `,"user":"root"`), "partitions[0].allowRoot"},
	} {
		body := `{"jobs":[` + c.body + `]}`
		if strings.HasPrefix(c.body, "]") {
			body = `{` + strings.TrimPrefix(c.body, `],`) + `]}`
		}
		r := n.apply(c.who, "", body)
		e := r.want(t, r.StatusCode)
		if r.StatusCode != 403 && r.StatusCode != 404 && r.StatusCode != 409 || e.Field != c.field && !strings.HasPrefix(e.Field, c.field+".") || n.store.View().Index() != before {
			t.Errorf("%s: %d %+v", body, r.StatusCode, e)
		}
	}
	if got := did(t, n.apply(dep, "", `{"jobs":[`+service("web-1", "plain", `,"count":2`)+`,`+service("web-2", "plain", "")+`]}`)); got != "update web-1, create web-2" {
		t.Error(got)
	}
	if j := n.store.View().Job("web-2"); j.Spec.User != "mesita-task" {
		t.Errorf("it runs as %q", j.Spec.User)
	}
	if got := did(t, n.apply(parts, "", `{"partitions":[{"path":"plain/x"}],"jobs":[`+service("in", "plain/x", "")+`]}`)); got != "create plain/x, create in" {
		t.Error(got)
	}
}

// A batch that has ended runs again only if that is asked for.
func TestApplyOfABatchThatEnded(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	batch := func(arg string) string { return `{"jobs":[{"name":"b","kind":"batch","command":["` + arg + `"]` }
	did(t, n.apply(admin, "", batch("x")+`}]}`))
	do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: "b", Count: 1})
	do(t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: "b"})
	if e := n.apply(admin, "", batch("y")+`}]}`).want(t, 409); e.Field != "jobs[0]."+api.FieldAgain || !strings.Contains(e.Message, "--again") {
		t.Errorf("%+v", e)
	}
	for _, name := range []string{"c", "d"} { // yes is said to all of them, so all are named
		other := strings.Replace(batch("x"), `"name":"b"`, `"name":"`+name+`"`, 1)
		did(t, n.apply(admin, "", other+`}]}`))
		do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: name, Count: 1})
		do(t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: name})
	}
	all := `{"jobs":[` + service("s", "default", "")
	for _, name := range []string{"b", "c", "d"} {
		all += `,{"name":"` + name + `","kind":"batch","command":["y"]}`
	}
	if e := n.apply(admin, "", all+`]}`).want(t, 409); e.Field != "jobs[1]."+api.FieldAgain || !strings.Contains(e.Message, `"b" has ended`) || !strings.Contains(e.Message, `so would "c", "d": `) {
		t.Errorf("%+v", e)
	}
	if got := did(t, n.apply(admin, "?dry_run=1", batch("y")+`}]}`)); got != "again b" {
		t.Error(got)
	}
	if got := did(t, n.apply(admin, "", batch("y")+`}],"again":true}`)); got != "again b" || n.store.View().Job("b").Version != 2 {
		t.Error(got)
	}
}

// Below the level that has it nothing is done, and what to do is said.
func TestApplyNeedsALevel(t *testing.T) {
	w := newWorld()
	n := newTestNode(t, w, "oak", newStoreAt(t, fsm.AppliedWhole.Level()-1))
	w.lead("oak")
	if e := n.apply(n.token(api.RoleAdmin), "", `{"jobs":[`+service("a", "default", "")+`]}`).want(t, 409); e.Field != api.FieldLevel || !strings.Contains(e.Message, "one after the other") {
		t.Errorf("%+v", e)
	}
}

// The audit of an apply has each partition and job that was changed, stops too, as if
// each had been changed by itself; what stays as it was is not in it, and what was
// refused is one record.
func TestEachChangeOfAnApplyIsAudited(t *testing.T) {
	a := new(fakeAudit)
	n := newLeader(t, audited(a))
	admin := n.token(api.RoleAdmin)
	const many = 40
	var first, second, stops []string
	for i := range many {
		first = append(first, service(fmt.Sprintf("old-%d", i), "ml", ""))
		second = append(second, service(fmt.Sprintf("new-%d", i), "ml/b", `,"env":{"A":"1","B":"2"}`))
	}
	same, web := service("same", "ml", ""), service("web", "ml", "")
	did(t, n.apply(admin, "", `{"partitions":[{"path":"ml"}],"jobs":[`+strings.Join(append(first, same, web), ",")+`]}`))
	until(t, "the first records", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.records) >= many+3 })
	a.take()
	for i := range many {
		stops = append(stops, n.seen(fmt.Sprintf("old-%d", i)))
	}
	want := map[string]string{"ml": "ml update partition", "ml/b": "ml/b create partition", "web": "ml/b update service"}
	for i := range many {
		want[fmt.Sprintf("old-%d", i)] = "ml stop service"
		want[fmt.Sprintf("new-%d", i)] = "ml/b create service"
	}
	web = service("web", "ml/b", "")
	body := `{"partitions":[{"path":"ml","maxCpus":2},{"path":"ml/b"}],"stop":[` + strings.Join(stops, ",") + `],"jobs":[` + strings.Join(append(second, same, web), ",") + `]}`
	did(t, n.apply(admin, "", body))
	until(t, "the records", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.records) >= len(want) })
	a.mu.Lock()
	got := map[string]string{}
	for i, r := range a.records {
		got[r.Object] = r.Partition + " " + r.Asked
		if (a.values[i][0] == nil) != strings.HasPrefix(r.Asked, "create ") || a.values[i][1] == nil || r.Outcome != api.AuditDone || r.Request == "" || r.Request != a.records[0].Request {
			t.Errorf("%+v of %v", r, a.values[i])
		}
		if j, ok := a.values[i][1].(auditedJob); ok && j.Stop != strings.HasPrefix(r.Asked, "stop ") {
			t.Errorf("%s stops: %v", r.Object, j.Stop)
		}
	}
	if len(a.records) != len(want) || !maps.Equal(got, want) {
		t.Errorf("%d records: %v, want %v", len(a.records), got, want)
	}
	a.mu.Unlock()
	a.take()
	n.apply(admin, "", `{"jobs":[`+service("new-0", "none", "")+`,`+service("x", "ml", "")+`]}`).want(t, 404)
	until(t, "a record of the refusal", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.records) > 0 })
	if all := a.take(); len(all) != 1 || all[0].Outcome != api.AuditFailed {
		t.Errorf("%+v", all)
	}
}

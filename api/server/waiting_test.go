package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const waitingJob = `{"name":"sweep","kind":"batch","partition":%q,"array":"0-2","command":["x"],"cpus":1}`

// What is done to a job that waits is answered with the job; with dry_run nothing is
// done.
func TestWhatIsDoneToAJobThatWaits(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(waitingJob, "default"), token: token}).want(t, 201)
	act := func(verb, body string) api.Job {
		t.Helper()
		before := n.store.View().Index()
		r := n.send(request{method: "POST", path: "/v1/jobs/sweep/" + verb, body: body, token: token})
		if r.want(t, 200); strings.Contains(verb, "dry_run") != (n.store.View().Index() == before) {
			t.Errorf("%s: index %d, before %d", verb, n.store.View().Index(), before)
		}
		return into[api.Job](t, r)
	}
	if j := act("hold?dry_run=1", ""); !j.Hold {
		t.Errorf("%+v", j)
	}
	if j := act("hold", ""); !j.Hold {
		t.Errorf("%+v", j)
	}
	act("set?dry_run=1", `{"time":"9m"}`)
	if j := act("set", `{"time":"9m","priority":3,"cpus":0.5,"mem":"64MiB"}`); !j.Hold || j.Version != 2 || j.Spec.CPUs != 500 || j.Spec.Priority != 3 || j.Spec.Time.String() != "9m0s" {
		t.Errorf("%+v", j.Spec)
	}
	if j := act("release", ""); j.Hold {
		t.Errorf("%+v", j)
	}
	for body, want := range map[string]struct {
		status int
		says   string
	}{
		`{}`:                    {400, "nothing is to change"},
		`{"cpus":0}`:            {400, "cpus"},
		`{"command":["y"]}`:     {400, "command"},
		`{"partition":"never"}`: {404, "never"},
	} {
		if e := n.send(request{method: "POST", path: "/v1/jobs/sweep/set", body: body, token: token}).want(t, want.status); !strings.Contains(e.Field+e.Message, want.says) {
			t.Errorf("%s: %+v", body, e)
		}
	}
	if e := n.send(request{method: "POST", path: "/v1/jobs/sweep/set?if_revision=1", body: `{"time":"8m"}`, token: token}).want(t, 409); !strings.Contains(e.Message, "revision") {
		t.Errorf("%+v", e)
	}
	if e := n.send(request{method: "POST", path: "/v1/jobs/sweep/requeue", token: token}).want(t, 409); !strings.Contains(e.Message, "keeps its place") {
		t.Errorf("%+v", e)
	}
}

// Who moves a job may have it where it is and where it shall be, and it becomes nobody
// there who its mover may not be.
func TestWhoMovesAJobThatWaits(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for path, body := range map[string]string{"prod": `{}`, "dev": `{}`, "lab": `{"runAs":"lab"}`} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + path, body: body, token: admin}).want(t, 200)
	}
	ci, both := n.with("ci", "deployer@prod"), n.with("both", "deployer@prod", "deployer@dev", "deployer@lab")
	n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(waitingJob, "prod"), token: ci}).want(t, 201)
	set := func(token, partition string, status int) *api.JobSpec {
		t.Helper()
		n.send(request{method: "POST", path: "/v1/jobs/sweep/set", body: fmt.Sprintf(`{"partition":%q}`, partition), token: token}).want(t, status)
		return n.store.View().Job("sweep").Spec
	}
	if s := set(ci, "dev", 403); s.Partition != "prod" {
		t.Errorf("%+v", s)
	}
	if s := set(both, "dev", 200); s.Partition != "dev" || s.User != api.TaskUser {
		t.Errorf("%+v", s)
	}
	for _, verb := range []string{"hold", "release", "requeue", "set"} {
		n.send(request{method: "POST", path: "/v1/jobs/sweep/" + verb, body: `{}`, token: ci}).want(t, 404) // it sees it no more
	}
	if s := set(both, "lab", 200); s.User != "lab" {
		t.Errorf("who a partition's tasks are: %+v", s)
	}
	if s := set(both, "prod", 200); s.User != api.TaskUser {
		t.Errorf("and no more once it is elsewhere: %+v", s)
	}
	do(t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: "sweep"})
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"root","kind":"batch","partition":"prod","command":["x"]}`, token: admin}).want(t, 201)
	before := n.store.View().Index()
	n.send(request{method: "POST", path: "/v1/jobs/root/set", body: `{"partition":"dev"}`, token: both}).want(t, 403)
	if n.store.View().Index() != before {
		t.Error("a job of root's was moved by who may be nobody there")
	}
}

// A cluster below the level at which voters know it says so.
func TestWhatWaitsIsLeftAloneBelowLevel5(t *testing.T) {
	store := newStoreAt(t, 4)
	w := newWorld()
	n := newTestNode(t, w, "id0", store)
	w.lead("id0")
	token := n.token(api.RoleOperator)
	n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(waitingJob, "default"), token: token}).want(t, 201)
	for _, verb := range []string{"hold", "hold?dry_run=1", "release", "requeue", "set", "set?dry_run=1"} {
		body := ""
		if strings.HasPrefix(verb, "set") {
			body = `{"time":"9m"}`
		}
		if e := n.send(request{method: "POST", path: "/v1/jobs/sweep/" + verb, body: body, token: token}).want(t, 409); !strings.Contains(e.Message, "needs level 5 of the cluster") {
			t.Errorf("%s: %+v", verb, e)
		}
	}
}

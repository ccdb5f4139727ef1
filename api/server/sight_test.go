package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// Whatever route somebody asks for who may look at some jobs only, nothing of another
// comes back, and one that is there is answered for as one that never was. Who may
// look at all sees all.
func TestNobodySeesWhatIsOfOthers(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "prod/eu", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	jobs := map[string]string{"web-shop": "prod", "web-blog": "prod/eu", "web-lab": "dev", "db-main": "prod", "cellar": "dev"}
	for name, partition := range jobs {
		n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"` + name + `","kind":"service","count":1,"partition":"` + partition + `","command":["x"]}`, token: admin}).want(t, 201)
		do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: name, First: 0, Count: 1})
	}
	for who, sees := range map[string]string{
		"viewer@prod": "web-shop web-blog db-main", "deployer@prod/eu": "web-blog", "viewer@web-*": "web-shop web-blog web-lab", "operator@dev": "web-lab cellar",
		"viewer@prod/web-*": "web-shop web-blog", "viewer": "web-shop web-blog web-lab db-main cellar",
	} {
		token := n.with("", who)
		listed := 0
		for _, rt := range routeTable(nil) {
			if rt.Method != http.MethodGet || rt.Action != auth.Look || rt.Scope != auth.OfAny || strings.HasPrefix(rt.Path, "/v1/can") {
				continue
			}
			for name := range jobs {
				mine := strings.Contains(" "+sees+" ", " "+name+" ")
				ids := map[string]string{"/v1/jobs/{": name, "/v1/tasks/{": name + ".0"}
				path, byID := rt.Path, false
				for prefix, id := range ids {
					if strings.HasPrefix(path, prefix) {
						path, byID = strings.Replace(path, "{id}", id, 1), true
					}
				}
				switch {
				case byID && mine:
					n.send(request{method: "GET", path: path, token: token}).want(t, 200)
				case byID:
					e := n.send(request{method: "GET", path: path, token: token}).want(t, 404)
					never := n.send(request{method: "GET", path: strings.Replace(path, name, "never", 1), token: token}).want(t, 404)
					if strings.ReplaceAll(e.Message, name, "never") != never.Message {
						t.Errorf("%s: GET %s: %q, and of what never was %q", who, path, e.Message, never.Message)
					}
				case strings.Contains(path, "{"):
				default:
					r := n.send(request{method: "GET", path: path, token: token})
					if has := strings.Contains(string(r.body), name); has && !mine {
						t.Errorf("%s: GET %s shows %s: %s", who, path, name, r.body)
					} else if has {
						listed++
					}
				}
			}
		}
		if want := 3 * len(strings.Fields(sees)); listed < want { // jobs, tasks and events
			t.Errorf("%s: %d names were listed, not %d: what is the caller's is left out, too", who, listed, want)
		}
		for name := range jobs {
			mine := strings.Contains(" "+sees+" ", " "+name+" ")
			for _, path := range []string{"/v1/tasks?job=" + name, "/v1/events?for=" + name} {
				status := 404
				if mine {
					status = 200
				}
				if r := n.send(request{method: "GET", path: path, token: token}); r.StatusCode != status {
					t.Errorf("%s: GET %s: %d %s", who, path, r.StatusCode, r.body)
				}
			}
		}
	}
}

// What a plan or a why says of other jobs is said by name only of those that who
// asks sees: of the others neither the name is told, nor that there is such a job.
func TestPlansNameNoJobsOfOthers(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	job := func(name, partition string) string {
		return `{"name":"` + name + `","kind":"service","count":1,"partition":"` + partition + `","command":["x"],"affinity":["cellar","never"]}`
	}
	jobs := map[string]string{"shop": "prod", "blog": "prod", "payroll": "dev", "cellar": "dev"}
	for name, partition := range jobs {
		n.send(request{method: "POST", path: "/v1/jobs", body: job(name, partition), token: admin}).want(t, 201)
		do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: name, First: 0, Count: 1})
	}
	near := "cellar"
	obstacles := func(other string) []api.Obstacle {
		of := api.Obstacle{Kind: api.ObstacleNear, Job: near}
		if near == "never" {
			of.Kind = api.ObstacleNoJob
		}
		return []api.Obstacle{of, {Kind: api.ObstacleHeld, Job: other}, {Kind: api.ObstacleQuota, Job: other}}
	}
	other := ""
	n.tell = func(answer any) {
		switch a := answer.(type) {
		case *api.Why:
			a.Waiting(obstacles(other)...)
			if a.Hints = []string{api.HintRoom}; near == "never" {
				a.Hints[0] = a.Obstacles[0].Hint()
			}
			a.Held(api.Holder{Job: other, Partition: "dev", Holds: "cpus=4"})
			a.Nodes = []api.WhyNode{{Node: "oak", Reason: a.Obstacles[1].String(), Obstacle: a.Obstacles[1]}}
		case *api.Plan:
			a.Obstacles, a.Waiting = obstacles(other)[1:], 1
			a.Warnings = []string{a.Waits()}
			if near == "never" {
				a.Warnings = append(a.Warnings, api.WarnNoJob(near))
			}
			a.GiveWay = []api.GaveWay{{Task: other + ".0", Cause: api.CauseOf(other, "dev")}}
		}
	}
	for who, sees := range map[string]string{"viewer": "blog payroll", "deployer@prod": "blog", "admin@prod": "blog"} {
		token := n.with("", who)
		for _, ask := range []request{
			{method: "GET", path: "/v1/jobs/shop/why"}, {method: "GET", path: "/v1/tasks/shop.0/why"},
			{method: "POST", path: "/v1/jobs?dry_run=1", body: job("new", "prod")}, {method: "PUT", path: "/v1/partitions/prod?dry_run=1", body: `{"weight":3}`},
		} {
			ask.token = token
			for _, other = range []string{"blog", "payroll"} {
				n.shares.reclaim = []string{other + ".0"}
				r := n.send(ask)
				if r.StatusCode == 403 && ask.method != "GET" {
					continue
				}
				r.want(t, 200)
				named, mine := strings.Contains(string(r.body), other), strings.Contains(sees, other)
				if named != mine {
					t.Errorf("%s: %s %s names %s: %v: %s", who, ask.method, ask.path, other, named, r.body)
				}
			}
			said := map[string]string{}
			for _, near = range []string{"cellar", "never"} {
				said[near] = strings.ReplaceAll(string(n.send(ask).body), near, "x")
			}
			if all := !strings.Contains(who, "@"); !all && said["cellar"] != said["never"] {
				t.Errorf("%s: %s %s tells whether there is a job: %s", who, ask.method, ask.path, said)
			}
			near = "cellar"
		}
	}
}

// Events of a job that is gone are not those of who has one of its name now; those
// of former runs of one's own job are.
func TestEventsAreOfTheirJob(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	for i, c := range []struct{ name, partition, then string }{
		{"gone", "prod", "remove"}, {"gone", "dev", ""}, {"moved", "prod", "stop"}, {"moved", "dev", ""}, {"again", "dev", "stop"}, {"again", "dev", ""},
	} {
		meta := fsm.Meta{At: testTime.Add(time.Duration(i) * time.Hour), Actor: fmt.Sprint("run", i)}
		s := &api.JobSpec{Name: c.name, Kind: api.KindService, Partition: c.partition, TaskSpec: api.TaskSpec{Command: []string{fmt.Sprint("run", i)}}}
		s.Normalize()
		do(t, n.store, &fsm.JobCreate{Meta: meta, Spec: s})
		if c.then != "" {
			do(t, n.store, &fsm.JobStop{Meta: meta, ID: c.name})
		}
		if c.then == "remove" {
			do(t, n.store, &fsm.JobRemove{Meta: meta, IDs: []string{c.name}})
		}
	}
	for who, want := range map[string]map[string]bool{"viewer@dev": {"gone": false, "moved": false, "again": true}, "viewer": {"gone": true, "moved": true, "again": true}} {
		token := n.with("", who)
		for job, old := range want {
			runs := map[string]bool{}
			for _, e := range into[items[api.Event]](t, n.send(request{method: "GET", path: "/v1/events?for=" + job, token: token})).Items {
				runs[e.Actor] = true
			}
			if len(runs) != map[bool]int{false: 1, true: 2}[old] {
				t.Errorf("%s: the events of %s are of %v", who, job, runs)
			}
		}
	}
}

package server

import (
	"fmt"
	"net/http"
	"regexp"
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
				t.Errorf("%s: %s %s reports whether there is a job: %s", who, ask.method, ask.path, said)
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

// What somebody does not see is answered for as what never was, whatever is asked of
// it and however: byte for byte, but for the name.
func TestWhatIsHiddenIsAsWhatNeverWas(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"cellar","kind":"service","count":1,"partition":"dev","command":["x"]}`, token: admin}).want(t, 201)
	do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: "cellar", First: 0, Count: 1})
	bodies := []string{"", `{`, `{"count":2}`, `{"move":true}`, `{"name":"NAME","kind":"service","partition":"dev","command":["x"]}`}
	asked := 0
	for _, who := range []string{"viewer@prod", "deployer@prod", "deployer@prod/web-*", "operator@prod", "admin@prod"} {
		token := n.with("", who)
		for _, rt := range routeTable(nil) {
			path, name := rt.Path, ""
			switch {
			case strings.Contains(path, "/jobs/{id}"):
				name = "NAME"
			case strings.Contains(path, "/tasks/{id}"):
				name = "NAME.0"
			case strings.HasPrefix(path, "/v1/can"):
				path += "?action=deploy&on=NAME"
			case rt.Path == "/v1/tasks" && rt.Method == http.MethodGet:
				path += "?job=NAME"
			case rt.Path == "/v1/jobs" && rt.Method == http.MethodPost:
			case rt.Path == "/v1/incidents", rt.Path == "/v1/events":
				path += "?for=NAME"
			default:
				continue
			}
			path = strings.Replace(path, "{id}", name, 1)
			for _, body := range bodies {
				if rt.Method == http.MethodGet {
					body = ""
				}
				if strings.HasSuffix(path, "/exec") {
					path += "?cmd=id"
				}
				said := func(job string) string {
					r := n.send(request{method: rt.Method, path: strings.ReplaceAll(path, "NAME", job), body: strings.ReplaceAll(body, "NAME", job), token: token})
					return fmt.Sprintf("%d %s", r.StatusCode, indexes.ReplaceAllString(strings.ReplaceAll(string(r.body), job, "NAME"), ""))
				}
				before := n.store.View().Index()
				if hidden, never := said("cellar"), said("vanity"); hidden != never || n.store.View().Index() != before {
					t.Errorf("%s: %s %s with %q: %s, and of what never was %s", who, rt.Method, path, body, hidden, never)
				}
				asked++
			}
		}
	}
	if asked < 200 {
		t.Errorf("%d requests: too few routes are looked at", asked)
	}
	// Who may make a job learns that a name is taken, and nothing else.
	for _, q := range []request{{method: "POST", path: "/v1/jobs"}, {method: "PUT", path: "/v1/jobs/cellar"}, {method: "POST", path: "/v1/jobs?dry_run=1"}} {
		q.token, q.body = n.with("", "deployer@prod"), `{"name":"cellar","kind":"service","count":1,"partition":"prod","command":["x"]}`
		if e := n.send(q).want(t, 409); e.Field != "name" || strings.Contains(e.Message, "dev") {
			t.Errorf("%s %s: %+v", q.method, q.path, e)
		}
	}
}

var indexes = regexp.MustCompile(`"index":\d+`)

// What events, incidents, nodes, and earlier versions of a job say of other jobs is
// told to who sees those; who sees all is told all.
func TestMessagesNameNoJobsOfOthers(t *testing.T) {
	n := newLeader(t)
	admin, meta := n.token(api.RoleAdmin), fsm.Meta{At: testTime, Actor: "scheduler"}
	for _, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
	}
	put := func(name, partition, command string) {
		t.Helper()
		n.send(request{method: "PUT", path: "/v1/jobs/" + name, body: `{"kind":"service","count":1,"partition":"` + partition + `","command":["` + command + `"]}`, token: admin}).want(t, 200)
	}
	put("shop", "prod", "x")
	put("moved", "dev", "payroll")
	put("moved", "prod", "x")
	runTask(t, n.store, "shop", 0)
	from := n.store.View().LastEvent()
	for i := range 3 {
		name := fmt.Sprintf("payroll-%d", i)
		put(name, "dev", "payroll")
		do(t, n.store, &fsm.TaskCreate{Meta: meta, Job: name, Count: 1})
		do(t, n.store, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: name, Attempt: 1, NodeID: "oak"}}})
		do(t, n.store, &fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: name + ".0", Attempt: 1, NodeID: "oak", State: api.TaskFailed, Reason: api.ReasonInternal, Message: "no payroll here", Time: testTime}}})
	}
	do(t, n.store, &fsm.TaskPreempt{Meta: meta, Victims: []fsm.Victim{{Job: "shop", Attempt: 1}}, Cause: api.CauseOf("payroll-0", "dev")})
	asOf := n.store.View()
	if node := asOf.Node("oak"); node.Starts == nil || node.Starts.Since.IsZero() {
		t.Fatalf("starts do not fail on oak: %+v", node.Starts)
	}
	why := func(token string) string {
		n.tell = func(answer any) {
			o := api.Obstacle{Kind: api.ObstacleUnavailable, Detail: api.CannotStart + asOf.Node("oak").Starts.Message}
			a := answer.(*api.Why)
			a.Nodes = []api.WhyNode{{Node: "oak", Reason: o.String(), Obstacle: o}}
			o.Kind, o.Nodes = api.ObstacleOut, []string{"oak"}
			a.Waiting(o)
		}
		return string(n.send(request{method: "GET", path: "/v1/jobs/shop/why", token: token}).body)
	}
	stream := func(token string) string {
		r := n.follow(t, token, fmt.Sprintf("?after=%d", from), nil)
		for said := ""; ; {
			e := r.next()
			if said += " " + e.Message; e.Kind == api.EventTaskPreempted {
				return said
			}
		}
	}
	get := func(path string) func(string) string {
		return func(token string) string {
			return string(n.send(request{method: "GET", path: path, token: token}).body)
		}
	}
	for name, ask := range map[string]func(token string) string{
		"events": get("/v1/events?limit=1000"), "a stream of events": stream, "incidents": get("/v1/incidents"), "nodes": get("/v1/nodes"), "a node": get("/v1/nodes/oak"),
		"why": why, "a job": get("/v1/jobs/moved"), "jobs": get("/v1/jobs"),
	} {
		if said := ask(n.with("", "viewer")); !strings.Contains(said, "payroll") {
			t.Errorf("%s do not tell who sees all: %s", name, said)
		}
		for _, who := range []string{"viewer@prod", "deployer@prod", "admin@prod"} {
			if said := ask(n.with("", who)); strings.Contains(said, "payroll") {
				t.Errorf("%s: %s: %s", who, name, said)
			}
		}
	}
}

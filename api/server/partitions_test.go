package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

func TestPartitions(t *testing.T) {
	n := newLeader(t)
	admin, viewer := n.token(api.RoleAdmin), n.token(api.RoleViewer)
	send := func(method, path, body string) reply {
		return n.send(request{method: method, path: "/v1/partitions" + path, body: body, token: admin})
	}
	r := send("PUT", "/ml?create=1", `{"guarantee":{"cpus":2,"mem":"1GiB"},"limit":{"cpus":3},"weight":2,"policy":"fair","nodes":["zone=a"],"users":["ci"]}`)
	r.want(t, 200)
	if c := into[api.PartitionChange](t, r); c.Action != "create" || c.Partition.Path != "ml" || c.Partition.Guarantee.CPUs != 2000 || !c.Partition.Created.Equal(testTime) {
		t.Errorf("%s", r.body)
	}
	for _, path := range []string{"/ml/train", "/ml%2Ftrain"} { // both ways to write a slash
		send("PUT", path, `{"guarantee":{"cpus":1}}`).want(t, 200)
	}
	r = n.send(request{method: "GET", path: "/v1/partitions/ml/train", token: viewer})
	r.want(t, 200)
	if p := into[api.PartitionStatus](t, r); p.Partition == nil || p.Path != "ml/train" || p.Weight != api.DefaultWeight || p.Fair != 0.5 {
		t.Errorf("%s", r.body)
	}
	r = n.send(request{method: "GET", path: "/v1/partitions", token: viewer})
	if l := into[items[api.PartitionStatus]](t, r); len(l.Items) != 3 || l.Items[1].Path != "ml" {
		t.Errorf("%s", r.body)
	}
	// A dry run answers the same and changes nothing; so does what is so already.
	before := n.store.View().Index()
	r = send("PUT", "/ml?dry_run=1", `{"weight":7}`)
	if c := into[api.PartitionChange](t, r); c.Action != "update" || c.Partition.Weight != 7000 {
		t.Errorf("%s", r.body)
	}
	send("DELETE", "/ml/train?dry_run=1", "").want(t, 200)
	if c := into[api.PartitionChange](t, send("PUT", "/ml/train", `{"guarantee":{"cpus":1}}`)); c.Action != "nothing" || c.Partition.Created.IsZero() {
		t.Errorf("%+v", c)
	}
	if n.store.View().Index() != before {
		t.Error("a dry run, or no change, wrote to the log")
	}
	if n.shares.foreseen != 1 {
		t.Errorf("looked ahead %d times, for one dry run", n.shares.foreseen)
	}
	n.shares.refuse = api.Errorf(api.CodeDoesNotFit, "no")
	send("PUT", "/ml", `{"weight":7}`).want(t, 422)
	send("DELETE", "/ml/train", "").want(t, 422)
	n.shares.refuse = nil
	if n.store.View().Index() != before {
		t.Error("what the plan refused was done")
	}
	send("DELETE", "/ml", "").want(t, 409) // a child is below it
	send("DELETE", "/ml/train", "").want(t, 200)
	send("GET", "/ml/train", "").want(t, 404)
	send("DELETE", "/ml/train", "").want(t, 404)
}

func TestRefusedPartitions(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	n.send(request{method: "PUT", path: "/v1/partitions/ml", body: `{"guarantee":{"cpus":2},"limit":{"cpus":3}}`, token: token}).want(t, 200)
	for _, c := range []struct {
		path, body  string
		status      int
		field, says string
	}{
		{"ml?create=1", `{}`, 409, "", "partition set"},
		{"ml?if_version=2", `{}`, 409, "", "changed meanwhile"},
		{"ml?if_revision=1", `{}`, 409, "", "changed meanwhile"},
		{"none?if_revision=1", `{}`, 409, "", "no such partition"},
		{"ml?if_version=x", `{}`, 400, "if_version", ""},
		{"a", `{"guarantee":{"cpus":4},"limit":{"cpus":3}}`, 400, "guarantee", "cpus=4 (of 3)"},
		{"a", `{"guarantee":{"cpus":3}}`, 422, "guarantee", "ml 2"},
		{"ml/a", `{"guarantee":{"cpus":2.5}}`, 422, "guarantee", "0.5 too much"},
		{"none/a", `{}`, 404, "path", "create it first"},
		{"a", `{"weight":-1}`, 400, "weight", "above 0"},
		{"a", `{"weight":"NaN"}`, 400, "weight", "NaN"},
		{"a", `{"weight":1e300}`, 400, "weight", "1e300"},
		{"a", `{"guarantee":{"cpus":1e300}}`, 400, "guarantee.cpus", "1e300"},
		{"a", `{"guarantee":{"cpus":"NaN"}}`, 400, "guarantee.cpus", "NaN"},
		{"a", `{"guarantee":{"mem":"9999999PiB"}}`, 400, "guarantee.mem", "9999999PiB"},
		{"a", `{"guarantee":{"cpus":-1}}`, 400, "guarantee.cpus", "negative"},
		{"a", `{"polcy":"fair"}`, 400, "polcy", "did you mean policy"},
		{"a", `{"policy":"lottery"}`, 400, "policy", "fifo"},
		{"a", `{"preempt":"maybe"}`, 400, "preempt", "freeze"},
		{"a", `{"nodes":["zone"]}`, 400, "nodes[0]", "is not a condition"},
		{"a", `{"roles":["king"]}`, 400, "roles", "operator"},
		{"a", `{"users":["a b"]}`, 400, "users", "a b"},
		{"a", `{"path":"b"}`, 400, "path", "the same"},
		{"A", `{}`, 400, "path", "position 1"},
		{"a/b/c/d/e/f/g/h/i", `{}`, 400, "path", "levels"},
		{"a", `{"minRuntime":"0.1s"}`, 400, "minRuntime", "1s"},
		{"a", `{"maxTime":"5ms"}`, 400, "maxTime", "give 1s or more"},
		{"a", `{"defaultTime":"5ms"}`, 400, "defaultTime", "give 1s or more"},
		{"a", `{"defaultCpus":99999}`, 400, "defaultCpus", "the largest node has, 4,"},
		{"a", `{"defaultMem":"9GiB"}`, 400, "defaultMem", "the largest node has, 8GiB,"},
		{"a", `{"defaultCpus":3,"limit":{"cpus":2}}`, 400, "defaultCpus", "limit of 2"},
		{"a", `{"adjust":{"min":{"cpus":2},"max":{"cpus":1}}}`, 400, "adjust.min", "above max"},
		{"a", `{"adjust":{"hours":[{"days":"mon-fry","from":"08:00","to":"18:00","guarantee":{"cpus":1}}]}}`, 400, "adjust.hours.days", "mon-fry"},
		{"a", `{} {}`, 400, "", "more after"},
		{"a", `[`, 400, "", "JSON"},
	} {
		e := n.send(request{method: "PUT", path: "/v1/partitions/" + c.path, body: c.body, token: token}).want(t, c.status)
		if e == nil || e.Field != c.field || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s %s: %+v", c.path, c.body, e)
		}
	}
	for p := range n.store.View().Partitions() {
		if p.Path != "ml" && p.Path != "default" || p.Path == "ml" && p.Guarantee.CPUs != 2000 {
			t.Errorf("something was written: %+v", p)
		}
	}
}

// What a partition has for long may not be refused any more, as a node became smaller: that
// stays, and something else can be changed, until it is what is asked for.
func TestRulesThatWereRight(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	const node = `"defaultCpus":4,"defaultMem":"8GiB"`
	n.send(request{method: "PUT", path: "/v1/partitions/big", body: `{` + node + `,"limit":{"cpus":9}}`, token: token}).want(t, 200)
	do(t, n.store, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "oak", Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 2000, Mem: 1 << 30}}})
	// Of before there was the rule, and of a limit that was refused since.
	do(t, n.store, &fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Create: true, Partition: &api.Partition{Path: "old", Weight: api.DefaultWeight, Policy: api.PolicyFIFO,
		TaskRules: api.TaskRules{MaxTime: api.Duration(5 * time.Millisecond), DefaultCPUs: 3000}, Limit: api.Amounts{CPUs: 2000}}})
	const old = `"maxTime":"5ms","defaultCpus":3`
	for _, c := range []struct{ path, body, field string }{
		{"big", `{` + node + `,"limit":{"cpus":9},"weight":2}`, ""},
		{"big", `{` + node + `,"limit":{"cpus":9},"maxRunning":5}`, ""},
		{"big", `{` + node + `,"limit":{"cpus":8},"maxCpus":6,"maxTime":"1h","defaultTime":"1m"}`, ""},
		{"big", `{"defaultCpus":4,"defaultMem":"7GiB"}`, "defaultMem"},
		{"big", `{"defaultCpus":3,"defaultMem":"8GiB"}`, "defaultCpus"},
		{"big", `{` + node + `,"limit":{"cpus":3}}`, "defaultCpus"},
		{"big", `{` + node + `,"maxTime":"5ms"}`, "maxTime"},
		{"old", `{` + old + `,"limit":{"cpus":2},"maxRunning":5}`, ""},
		{"old", `{` + old + `,"limit":{"cpus":2,"mem":"1GiB"}}`, ""},
		{"old", `{` + old + `,"limit":{"cpus":1}}`, "defaultCpus"},
		{"old", `{"maxTime":"5ms","defaultCpus":2.5,"limit":{"cpus":2}}`, "defaultCpus"},
		{"old", `{"maxTime":"6ms","defaultCpus":3,"limit":{"cpus":2}}`, "maxTime"},
		{"old", `{"limit":{"cpus":2}}`, ""},
		{"old", `{` + old + `,"limit":{"cpus":2}}`, "maxTime"}, // it was given up
		{"new", `{` + node + `}`, "defaultCpus"},
	} {
		status := 200
		if c.field != "" {
			status = 400
		}
		e := n.send(request{method: "PUT", path: "/v1/partitions/" + c.path, body: c.body, token: token}).want(t, status)
		if e != nil && e.Field != c.field {
			t.Errorf("%s %s: %+v", c.path, c.body, e)
		}
	}
}

func TestRemovePartitionWithWork(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	n.send(request{method: "PUT", path: "/v1/partitions/ml", token: token}).want(t, 200)
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"web","kind":"service","partition":"ml","command":["x"]}`, token: token}).want(t, 201)
	if e := n.send(request{method: "DELETE", path: "/v1/partitions/ml", token: token}).want(t, 409); !strings.Contains(e.Message, "--drain") {
		t.Errorf("%+v", e)
	}
	n.send(request{method: "DELETE", path: "/v1/partitions/ml?drain=1", token: token}).want(t, 200)
	// A plan refuses what the submission itself would be refused for.
	for partition, status := range map[string]int{"ml": 409, "none": 404, "default": 200} {
		body := `{"name":"more","kind":"batch","partition":"` + partition + `","command":["x"]}`
		n.send(request{method: "POST", path: "/v1/jobs?dry_run=1", body: body, token: token}).want(t, status)
		n.send(request{method: "PUT", path: "/v1/jobs/more?dry_run=1", body: body, token: token}).want(t, status)
	}
	if n.store.View().Job("more") != nil {
		t.Error("a plan made a job")
	}
	if p := n.store.View().Partition("ml"); p != nil && !p.Drain {
		t.Errorf("%+v", p)
	}
}

func TestWhoMaySubmit(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	named := func(name string, role api.Role) string {
		r := n.send(request{method: "POST", path: "/v1/tokens", body: fmt.Sprintf(`{"kind":"client","name":%q,"role":%q}`, name, role), token: admin})
		r.want(t, 201)
		return into[api.TokenGrant](t, r).Secret
	}
	ci, eve := named("ci", api.RoleOperator), named("eve", api.RoleOperator)
	put := func(path, body string) {
		n.send(request{method: "PUT", path: "/v1/partitions/" + path, body: body, token: admin}).want(t, 200)
	}
	put("ml", `{"users":["ci","bob"]}`)
	put("ml/train", `{}`)
	put("ml/open", `{"roles":["operator"]}`)
	put("ops", `{"roles":["admin"]}`)
	put("full", `{"users":["token:ci"]}`)
	for i, c := range []struct {
		token, partition string
		may              bool
	}{
		{ci, "ml", true}, {eve, "ml", false}, {admin, "ml", true}, {eve, "default", true}, {ci, "ml/train", true}, {eve, "ml/train", false},
		{eve, "ml/open", true}, {ci, "ops", false}, {admin, "ops", true}, {ci, "full", true}, {eve, "full", false},
	} {
		status := map[bool]int{true: 201, false: 403}[c.may]
		body := fmt.Sprintf(`{"name":"j%d","kind":"service","partition":%q,"command":["x"]}`, i, c.partition)
		e := n.send(request{method: "POST", path: "/v1/jobs", body: body, token: c.token}).want(t, status)
		if !c.may && (e.Code != api.CodeNotAllowed || e.Field != "partition" || !strings.Contains(e.Message, "token:") || !strings.Contains(e.Message, "admins")) {
			t.Errorf("%+v", e)
		}
		n.send(request{method: "PUT", path: fmt.Sprintf("/v1/jobs/j%d?dry_run=1", i), body: body, token: c.token}).want(t, map[bool]int{true: 200, false: 403}[c.may])
	}
}

// Who may not submit to a partition changes, ends, moves, takes over and enters
// nothing that is there: it is asked of the job as it is, and as it shall be.
func TestWhoMayChange(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	named := func(name string) string {
		r := n.send(request{method: "POST", path: "/v1/tokens", body: fmt.Sprintf(`{"kind":"client","name":%q,"role":"operator"}`, name), token: admin})
		r.want(t, 201)
		return into[api.TokenGrant](t, r).Secret
	}
	ci, eve := named("ci"), named("eve")
	n.send(request{method: "PUT", path: "/v1/partitions/prod", body: `{"users":["ci"]}`, token: admin}).want(t, 200)
	spec := func(partition string) string {
		return fmt.Sprintf(`{"name":"web","kind":"service","partition":%q,"command":["x"]}`, partition)
	}
	n.send(request{method: "POST", path: "/v1/jobs", body: spec("prod"), token: ci}).want(t, 201)
	do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: "web", Count: 1})
	exec := http.Header{"Upgrade": {exchange.ExecProtocol}, "Connection": {"Upgrade"}}
	for _, q := range []request{
		{method: "PUT", path: "/v1/jobs/web", body: spec("default")},
		{method: "PUT", path: "/v1/jobs/web", body: spec("prod")},
		{method: "PUT", path: "/v1/jobs/web?dry_run=1", body: spec("default")},
		{method: "POST", path: "/v1/jobs", body: spec("default")},
		{method: "POST", path: "/v1/jobs/web/scale", body: `{"count":2}`},
		{method: "POST", path: "/v1/jobs/web/scale", body: `{"count":0}`},
		{method: "POST", path: "/v1/jobs/web/stop"},
		{method: "DELETE", path: "/v1/jobs/web"},
		{method: "POST", path: "/v1/tasks/web.0/stop"},
		{method: "POST", path: "/v1/tasks/web.0/stop", body: `{"move":true}`},
		{method: "POST", path: "/v1/tasks/web.0/exec?cmd=id", header: exec},
		{method: "POST", path: "/v1/local/tasks/web.0/exec?cmd=id", header: exec}, // where the task is
	} {
		q.token = eve
		before := n.store.View().Index()
		n.send(q).want(t, 403)
		if n.store.View().Index() != before {
			t.Errorf("%s %s changed something", q.method, q.path)
		}
	}
	if e := n.send(request{method: "PUT", path: "/v1/jobs/new", body: `{"name":"new","kind":"service","partition":"none","command":["x"]}`, token: ci}).want(t, 404); e.Field != "partition" {
		t.Errorf("%+v", e)
	}
	n.send(request{method: "PUT", path: "/v1/jobs/web", body: spec("default"), token: ci}).want(t, 200)
	n.send(request{method: "POST", path: "/v1/jobs/web/stop", token: eve}).want(t, 200) // it is nobody's now
}

// A task that is privileged, or not confined in part, or sees all processes, may be
// root of its node: no one but an admin makes one, makes one of another, or enters it.
func TestPrivilegedIsForAdmins(t *testing.T) {
	t.Run("privileged", func(t *testing.T) { rootIsForAdmins(t, "privileged", "true") })
	t.Run("unconfined", func(t *testing.T) { rootIsForAdmins(t, "unconfined", `["system"]`) })
	t.Run("host PIDs", func(t *testing.T) { rootIsForAdmins(t, "hostPIDs", "true") })
}

func rootIsForAdmins(t *testing.T, field, value string) {
	n := newLeader(t)
	boss, operator, head := n.token(api.RoleAdmin), n.token(api.RoleOperator), n.with("head", "admin@default")
	const plain = `{"name":"web","kind":"service","command":["x"]}`
	spec := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"kind":"service","command":["x"],%q:%s}`, name, field, value)
	}
	privileged := spec("web")
	exec := request{method: "POST", path: "/v1/tasks/web.0/exec?cmd=id", header: http.Header{"Upgrade": {exchange.ExecProtocol}, "Connection": {"Upgrade"}}, token: operator}
	refused := func() {
		t.Helper()
		for _, q := range []request{
			{method: "POST", path: "/v1/jobs", body: privileged},
			{method: "POST", path: "/v1/jobs?dry_run=1", body: privileged},
			{method: "PUT", path: "/v1/jobs/web", body: privileged},
			{method: "PUT", path: "/v1/jobs/web?dry_run=1", body: privileged},
		} {
			for _, q.token = range []string{operator, head} { // who has one partition does not have the nodes
				before := n.store.View().Index()
				if e := n.send(q).want(t, 403); e.Field != field || n.store.View().Index() != before {
					t.Errorf("%s %s: %+v", q.method, q.path, e)
				}
			}
		}
	}
	refused()
	n.send(request{method: "POST", path: "/v1/jobs", body: plain, token: operator}).want(t, 201)
	do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: "web", Count: 1})
	refused()
	n.send(exec).want(t, 409) // it does not run yet
	n.send(request{method: "PUT", path: "/v1/jobs/root", body: spec("root"), token: boss}).want(t, 200)
	do(t, n.store, &fsm.TaskCreate{Meta: fsm.Meta{At: testTime}, Job: "root", Count: 1})
	exec.path = "/v1/tasks/root.0/exec?cmd=id"
	n.send(exec).want(t, 403)
	exec.token = boss
	n.send(exec).want(t, 409)
}

func TestIncidents(t *testing.T) {
	n := newLeader(t)
	addNode(t, n.store, "elm")
	token := n.token(api.RoleViewer)
	for i, id := range []string{"oak", "elm"} {
		do(t, n.store, &fsm.NodeState{Meta: fsm.Meta{At: testTime.Add(time.Duration(i) * time.Minute)}, ID: id, State: api.NodeUnreachable,
			Reason: "no answer", Since: n.store.View().Node(id).Since})
	}
	do(t, n.store, &fsm.NodeHello{Meta: fsm.Meta{At: testTime.Add(time.Hour)}, ID: "elm", Hello: api.NodeHello{Addr: "x:1"}})
	get := func(q string) []api.Incident {
		r := n.send(request{method: "GET", path: "/v1/incidents" + q, token: token})
		r.want(t, http.StatusOK)
		return into[items[api.Incident]](t, r).Items
	}
	all := get("")
	if len(all) != 2 || all[0].Node != "oak-name" || !all[0].Over.IsZero() || all[1].Node != "elm-name" || all[1].Over.IsZero() {
		t.Errorf("%+v", all)
	}
	for q, want := range map[string]int{"?open=1": 1, "?for=elm-name": 1, "?for=elm": 1, "?for=none": 0, "?limit=1": 1, "?open=1&for=elm": 0} {
		if l := get(q); len(l) != want {
			t.Errorf("%s: %+v", q, l)
		}
	}
	for _, q := range []string{"?limit=0", "?limit=x", "?open=perhaps"} {
		n.send(request{method: "GET", path: "/v1/incidents" + q, token: token}).want(t, 400)
	}
	if m := string(n.send(request{method: "GET", path: "/metrics", token: token}).body); !strings.Contains(m, "mesita_incidents_open 1\n") {
		t.Errorf("%s", m)
	}
	operator := n.token(api.RoleOperator)
	for body, want := range map[string]int{`{}`: 400, `{"ids":[77]}`: 404, fmt.Sprintf(`{"ids":[%d]}`, all[1].ID): 409, fmt.Sprintf(`{"ids":[%d]}`, all[0].ID): 200} {
		n.send(request{method: "POST", path: "/v1/incidents/close", body: body, token: operator}).want(t, want)
	}
	if l := get("?open=1"); len(l) != 0 {
		t.Errorf("still open: %+v", l)
	}
}

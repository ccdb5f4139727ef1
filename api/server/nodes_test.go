package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

func TestNodes(t *testing.T) {
	_, oak, _ := twoNodes(t)
	admin := oak.token(api.RoleAdmin)
	do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("sums")})
	runTask(t, oak.store, "sums", 0)
	r := oak.send(request{method: "GET", path: "/v1/nodes", token: admin})
	r.want(t, 200)
	list := into[items[api.NodeStatus]](t, r).Items
	if len(list) != 2 {
		t.Fatalf("%s", r.body)
	}
	byName := map[string]api.NodeStatus{}
	for _, n := range list {
		byName[n.Name] = n
	}
	o := byName["oak-name"]
	if o.Role != "voter, leader" || o.Tasks != 1 || o.Ledger.Allocated.CPUs != 100 || o.Ledger.Free.CPUs != 3900 {
		t.Errorf("%+v", o)
	}
	for _, ref := range []string{"elm", "elm-name"} {
		n := into[api.NodeStatus](t, oak.send(request{method: "GET", path: "/v1/nodes/" + ref, token: admin}))
		if n.Node == nil || n.ID != "elm" {
			t.Errorf("%s is %+v", ref, n)
		}
	}
	r = oak.send(request{method: "POST", path: "/v1/nodes/elm/drain", body: `{"deadline":"10m"}`, token: admin})
	r.want(t, 200)
	if n := into[api.NodeStatus](t, r); n.State != api.NodeDraining || !n.DrainBy.Equal(testTime.Add(10*time.Minute)) {
		t.Errorf("%s", r.body)
	}
	if n := into[api.NodeStatus](t, oak.send(request{method: "POST", path: "/v1/nodes/elm/resume", token: admin})); n.State != api.NodeReady || n.Drain {
		t.Errorf("%+v", n.Node)
	}
	oak.send(request{method: "POST", path: "/v1/nodes/elm/drain", body: `{"deadline":"-1m"}`, token: admin}).want(t, 400)
	for body, why := range map[string]string{`{}`: "", `{"deadline":"10m"}`: "at the deadline"} {
		r = oak.send(request{method: "POST", path: "/v1/nodes/elm/drain?dry_run=1", body: body, token: admin})
		r.want(t, 200)
		if p := into[api.DrainPlan](t, r); p.Node != "elm-name" || len(p.Moves) != 1 || p.Moves[0].Why != why || oak.store.View().Node("elm").Drain {
			t.Errorf("%s: %s", body, r.body)
		}
	}
	for path, want := range map[string]api.Move{"/v1/rebalance": {Attempt: fewMoves}, "/v1/rebalance?partition=default&max_moves=3": {Attempt: 3, Why: "default"}} {
		r = oak.send(request{method: "GET", path: path, token: admin})
		r.want(t, 200)
		if p := into[api.RebalancePlan](t, r); len(p.Moves) != 1 || p.Moves[0].Attempt != want.Attempt || p.Moves[0].Why != want.Why {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	oak.send(request{method: "GET", path: "/v1/rebalance?partition=nix", token: admin}).want(t, 404)
	oak.send(request{method: "GET", path: "/v1/rebalance?max_moves=0", token: admin}).want(t, 400)
	oak.send(request{method: "POST", path: "/v1/nodes/fir/drain", token: admin}).want(t, 404)
	oak.send(request{method: "DELETE", path: "/v1/nodes/elm-name?dry_run=1", token: admin}).want(t, 409)
	oak.send(request{method: "DELETE", path: "/v1/nodes/elm-name?dry_run=1&force=1", token: admin}).want(t, 200)
	if len(oak.removed) != 0 {
		t.Errorf("a dry run removed %v", oak.removed)
	}
	oak.send(request{method: "DELETE", path: "/v1/nodes/elm-name?force=1", token: admin}).want(t, 200)
	if len(oak.removed) != 1 || !strings.HasPrefix(oak.removed[0], "elm token:") {
		t.Errorf("%v", oak.removed)
	}
}

func batchSpec(name string) *api.JobSpec {
	s := &api.JobSpec{Name: name, Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"true"}, User: api.TaskUser}}
	s.Normalize()
	return s
}

func TestNodesReportForThemselvesOnly(t *testing.T) {
	_, oak, elm := twoNodes(t)
	hello := api.NodeHello{Addr: "10.0.0.2:5050", Version: "9", Resources: api.Resources{CPUs: 1000}}
	if e := oak.send(request{method: "POST", path: "/v1/internal/hello", body: hello, cert: "elm"}).want(t, 403); !strings.Contains(e.Message, "upgrade mesita on this node first") {
		t.Errorf("the first hello of an old program: %+v", e)
	}
	knows := func(level string) http.Header { return http.Header{api.HeaderLevel: {level}} }
	oak.send(request{method: "POST", path: "/v1/internal/hello", body: hello, cert: "elm", header: knows(strconv.Itoa(int(fsm.Newest)))}).want(t, 200)
	for level, outdated := range map[string]bool{strconv.Itoa(int(fsm.Newest)): false, "": true, "2": true, "no number": true} {
		for _, via := range []*testNode{oak, elm} { // directly, and through a follower
			hello.Version += "9"
			via.send(request{method: "POST", path: "/v1/internal/hello", body: hello, cert: "elm", header: knows(level)}).want(t, 200)
			if n := oak.store.View().Node("elm"); n.Version != hello.Version || n.Outdated != outdated {
				t.Errorf("via %s, with level %q: %+v", via.id, level, n)
			}
		}
	}
	oak.send(request{method: "POST", path: "/v1/internal/hello", body: `{"addr":""}`, cert: "elm"}).want(t, 400)
	status := []api.TaskStatus{{Task: "sums.0", Attempt: 1, NodeID: "oak", State: api.TaskFailed}}
	if e := oak.send(request{method: "POST", path: "/v1/internal/status", body: status, cert: "elm"}).want(t, 400); e.Field != "nodeID" {
		t.Errorf("%+v", e)
	}
	status[0].NodeID = "elm"
	oak.send(request{method: "POST", path: "/v1/internal/status", body: status, cert: "elm"}).want(t, 200)
	r := oak.send(request{method: "POST", path: "/v1/internal/renew", body: RenewRequest{CSR: []byte("csr")}, cert: "elm"})
	r.want(t, 200)
	if g := into[RenewGrant](t, r); string(g.Certificate) != "cert of elm for csr" {
		t.Errorf("%s", g.Certificate)
	}
	if e := oak.send(request{method: "GET", path: "/v1/internal/assignments?node=oak", cert: "elm"}).want(t, 400); e.Field != "node" {
		t.Errorf("%+v", e)
	}
}

func TestAssignments(t *testing.T) {
	_, oak, elm := twoNodes(t)
	do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("sums")})
	res, err := elm.http.Client().Do(elm.newRequest(elm.http, request{method: "GET", path: "/v1/internal/assignments?node=oak", cert: "oak"}))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := json.NewDecoder(res.Body)
	next := func() (d AssignmentsDelta) {
		t.Helper()
		if err := lines.Decode(&d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := next(); !d.Full || len(d.Put) != 0 {
		t.Fatalf("first %+v", d)
	}
	runTask(t, oak.store, "sums", 0)
	d := next()
	for len(d.Put) > 0 && d.Put[0].Task.State != api.TaskRunning {
		d = next()
	}
	if d.Full || len(d.Put) != 1 || d.Put[0].Task.ID != "sums.0" || d.Put[0].Spec.Command[0] != "true" {
		t.Errorf("%+v", d)
	}
	finishBatchTask(t, oak.store, "sums")
	if d := next(); len(d.Put) != 0 || len(d.Remove) != 1 || d.Remove[0] != "sums.0" {
		t.Errorf("%+v", d)
	}
}

// A feed begins with the leader, continues at any voter that has applied what the
// node holds, and says what changed since.
func TestFeed(t *testing.T) {
	_, oak, elm := twoNodes(t)
	do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("sums")})
	runTask(t, oak.store, "sums", 0)
	ask := func(n *testNode, after uint64) (r FeedRow, status int) {
		t.Helper()
		res, err := n.http.Client().Do(n.newRequest(n.http, request{method: "GET", path: fmt.Sprintf("/v1/internal/feed?after=%d", after), cert: "oak"}))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusOK {
			if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
				t.Fatal(err)
			}
		}
		return r, res.StatusCode
	}
	whole, status := ask(oak, 0)
	if status != 200 || !whole.Begin || len(whole.Held) != 1 || len(whole.Put) != 1 || whole.Put[0].Task.ID != "sums.0" || whole.Node == nil {
		t.Errorf("the leader begins with %d %+v", status, whole)
	}
	if _, status := ask(elm, 0); status != 503 {
		t.Errorf("a follower begins a feed: %d", status)
	}
	if _, status := ask(elm, whole.Index+1); status != 503 {
		t.Errorf("a voter that has applied less feeds a node: %d", status)
	}
	rest, status := ask(elm, whole.Index)
	if status != 200 || !rest.Begin || len(rest.Held) != 1 || len(rest.Put) != 0 {
		t.Errorf("a follower continues with %d %+v", status, rest)
	}
	finishBatchTask(t, oak.store, "sums")
	if over, status := ask(elm, whole.Index); status != 200 || len(over.Held) != 0 || len(over.Put) != 0 {
		t.Errorf("once the task ended: %d %+v", status, over)
	}
}

func finishBatchTask(t *testing.T, s *fsm.Store, job string) {
	t.Helper()
	do(t, s, &fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: job + ".0", Attempt: 1, NodeID: "oak", State: api.TaskFinished, Time: testTime}}})
}

// A reference that names no node says why: the remedies differ.
func TestWhyThereIsNoSuchNode(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	do(t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: &api.Token{ID: "j", Hash: "h"}})
	for id, name := range map[string]string{"abcd1": "fir", "abcd2": "elm", "dddd": "ash", "c0ffee": "oak", "beef": "c0ff"} {
		do(t, n.store, &fsm.NodeJoin{Meta: fsm.Meta{At: testTime}, Token: "j", Hash: "h", NodeID: id, Name: name})
	}
	do(t, n.store, &fsm.NodeRemove{Meta: fsm.Meta{At: testTime}, ID: "dddd"})
	do(t, n.store, &fsm.NodeRemove{Meta: fsm.Meta{At: testTime}, ID: "beef"})
	for ref, want := range map[string]string{
		"abcd": "2 nodes begin", "ash": "was removed", "yew": "the name of one",
		"c":    "the first 4 or more", // too short for "c0ffee": a slip, or the name of a node elsewhere
		"c0ff": "was removed",         // that name was another node's
	} {
		for _, method := range []string{"GET", "DELETE"} {
			if e := n.send(request{method: method, path: "/v1/nodes/" + ref, token: token}).want(t, 404); e == nil || !strings.Contains(e.Message, want) {
				t.Errorf("%s %s: %+v", method, ref, e)
			}
		}
	}
	n.send(request{method: "GET", path: "/v1/nodes/c0ffe", token: token}).want(t, 200)
}

// What is reserved of a node and not in use is given back, of one partition or of all, also
// where it is on offer; what is in use stays.
func TestUnreserve(t *testing.T) {
	n, _ := twoPartitions(t)
	admin := n.token(api.RoleAdmin)
	reserve := func(path, by string, cpus api.MilliCPU) string {
		do(t, n.store, &fsm.ReservationChange{Meta: fsm.Meta{At: testTime}, NodeID: "oak", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: path, Principal: by, Resources: api.Resources{CPUs: cpus}}}})
		return api.ReservationID(path, by, nil)
	}
	give := func(body string) reply {
		return n.send(request{method: "POST", path: "/v1/nodes/oak-name/unreserve", body: body, token: admin})
	}
	give(`{}`).want(t, 404)
	give(`{"partition":"nix"}`).want(t, 404)
	id := reserve("prod", "ci", 300)
	reserve("prod", "", 100)
	reserve("dev", "", 100)
	do(t, n.store, &fsm.FrameworkPut{Meta: fsm.Meta{At: testTime}, Connect: true, Framework: &api.Framework{ID: "fr", Name: "fr", Session: "s", Partitions: []string{"prod"}}})
	part := []api.Reserved{{Reservation: id, Resources: api.Resources{CPUs: 300}}}
	offer := func() {
		do(t, n.store, &fsm.OfferMake{Meta: fsm.Meta{At: testTime}, Offers: []*api.Offer{{ID: "or", Framework: "fr", Partition: "prod", NodeID: "oak", Reserved: part}}})
	}
	offer()
	part[0].Resources.CPUs = 200
	spec := batchSpec("x")
	do(t, n.store, &fsm.FrameworkAccept{Meta: fsm.Meta{At: testTime}, Framework: "fr", Session: "s", Offers: []string{"or"},
		Tasks: []fsm.FrameworkLaunch{{Task: &api.FrameworkTask{ID: "t", Spec: spec, Reserved: part}, Resources: part[0].Resources}}})
	part = []api.Reserved{{Reservation: id, Resources: api.Resources{CPUs: 100}}}
	offer()
	for _, c := range []struct {
		body   string
		status int
		left   string
	}{{`{"partition":"dev"}`, 200, "prod:100 prod:300"}, {`{"partition":"dev"}`, 404, "prod:100 prod:300"}, {`{}`, 200, "prod:200"}, {`{}`, 409, "prod:200"}, {`{"partition":"prod"}`, 409, "prod:200"}} {
		r := give(c.body)
		r.want(t, c.status)
		var left []string
		for x := range n.store.View().Reservations("oak") {
			left = append(left, fmt.Sprintf("%s:%d", x.Partition, x.Resources.CPUs))
		}
		slices.Sort(left)
		if got := strings.Join(left, " "); got != c.left {
			t.Errorf("%s leaves %s, not %s", c.body, got, c.left)
		}
		if c.status == 200 && len(into[api.NodeStatus](t, r).Reservations) != len(left) {
			t.Errorf("%s: %s", c.body, r.body)
		}
	}
	if n.store.View().Offer("or") != nil {
		t.Error("what was given back is on offer still")
	}
}

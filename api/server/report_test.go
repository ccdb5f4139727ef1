package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Who has a right of one partition sees what its work came to, by each way, and of
// others only what their nodes held.
func TestReportsAreOfWhatOneMayRead(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	do(t, n.store, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "oak", Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 8000, Mem: 8 << 30}}})
	for i, p := range []string{"prod", "dev"} {
		n.send(request{method: "PUT", path: "/v1/partitions/" + p, body: `{}`, token: admin}).want(t, 200)
		n.send(request{method: "POST", path: "/v1/jobs", body: `{"kind":"batch","cpus":2,"mem":"1GiB","partition":"` + p + `","command":["x"]}`, token: admin}).want(t, 201)
		id := fmt.Sprint(i + 1)
		do(t, n.store, &fsm.TaskPlace{Meta: fsm.Meta{At: testTime}, Placements: []fsm.Placement{{Job: id, Attempt: 1, NodeID: "oak"}}})
		for k, s := range []api.TaskState{api.TaskRunning, api.TaskFailed} {
			at := testTime.Add(time.Duration(k) * time.Hour)
			do(t, n.store, &fsm.TaskReport{Meta: fsm.Meta{At: at}, Statuses: []api.TaskStatus{{Task: id + ".0", Attempt: 1, NodeID: "oak", State: s, PID: 7, Time: at}}})
		}
	}
	get := func(token, by string) (names []string) {
		r := n.send(request{method: "GET", path: "/v1/report?since=2d&by=" + by, token: token})
		r.want(t, 200)
		for _, row := range into[items[api.ReportRow]](t, r).Items {
			names = append(names, fmt.Sprint(row.Partition, "/", row.Name, " ", row.CoreHours, " ", row.GiBHours, " ", row.LostToFailures))
		}
		return names
	}
	some := n.with("", "viewer@prod")
	for _, c := range []struct{ token, by, want string }{
		{admin, "partition", "[/dev 2 1 2 /prod 2 1 2]"}, {some, "partition", "[/prod 2 1 2]"},
		{admin, "job", "[dev/2 2 1 2 prod/1 2 1 2]"}, {some, "job", "[prod/1 2 1 2]"},
		{admin, "node", "[/oak-name 4 2 4]"}, {some, "node", "[/oak-name 4 2 4]"},
	} {
		if got := fmt.Sprint(get(c.token, c.by)); got != c.want {
			t.Errorf("by %s: %s, want %s", c.by, got, c.want)
		}
	}
	if all, part := get(admin, "user"), get(some, "user"); len(all) != 1 || len(part) != 1 || all[0] == part[0] {
		t.Errorf("by user: %v, and of prod %v", all, part)
	}
	for _, q := range []string{"by=team", "since=tomorrow", "since=2100-01-01T00:00:00Z", "since=2100-01-01", "since=401d", "since=5000d", "by=node&since=401d", "by=job&since=36d"} {
		n.send(request{method: "GET", path: "/v1/report?" + q, token: admin}).want(t, 400)
	}
	for _, q := range []string{"since=400d", "by=job&since=35d", "since=" + testTime.UTC().Format(time.DateOnly), "since=" + testTime.AddDate(0, 0, -400).UTC().Format(time.DateOnly)} {
		n.send(request{method: "GET", path: "/v1/report?" + q, token: admin}).want(t, 200)
	}
}

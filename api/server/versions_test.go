package server

import (
	"context"
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// However often a job is changed, who may not enter a task that it runs still may not,
// and the task's node is told of it.
func TestManyVersionsOpenNothing(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	n.send(request{method: "PUT", path: "/v1/partitions/prod", body: `{}`, token: admin}).want(t, 200)
	n.send(request{method: "POST", path: "/v1/jobs", body: `{"name":"sums","kind":"service","count":1,"partition":"prod","command":["x"],"user":"root","privileged":true}`, token: admin}).want(t, 201)
	meta := fsm.Meta{At: testTime, Actor: "scheduler"}
	do(t, n.store, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: "sums", Attempt: 1, NodeID: "oak"}}})
	do(t, n.store, &fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: "sums.0", Attempt: 1, NodeID: "oak", State: api.TaskRunning, PID: 7, Time: testTime}}})
	entered := 0
	n.exec = func(context.Context, ExecRequest, func() (ExecIO, error)) (int, error) { entered++; return 0, nil }
	token := n.with("", "deployer@prod")
	for i := range 2 * api.MaxHistory {
		n.send(request{method: "PUT", path: "/v1/jobs/sums", body: fmt.Sprintf(`{"kind":"service","count":1,"partition":"prod","command":["x%d"]}`, i), token: token}).want(t, 200)
		if _, _, res := n.upgrade(token, "?cmd=id"); res.StatusCode != 403 || entered != 0 {
			t.Fatalf("after %d changes an exec is answered %d", i+1, res.StatusCode)
		}
	}
	if rows := n.store.View().Assignments("oak"); len(rows) != 1 {
		t.Errorf("the node is told of %d tasks: it ends the one that it runs", len(rows))
	}
	if h := n.store.View().Job("sums").History; len(h) != api.MaxHistory+1 {
		t.Errorf("%d versions are remembered, want the last %d and the one that runs", len(h), api.MaxHistory)
	}
}

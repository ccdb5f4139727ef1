package integration

import (
	"net/http"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// Root of every node, whether it leads, votes or is a worker, is one user to what may
// run of each, to the queue and to reports, and is told apart in what it did.
func TestRootOfEachNodeIsOneUser(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	lead := l.Leader()
	if out, errs, code := lead.CLI("partition", "create", "ml", "--policy", "fair", "--max-running-per-user", "2"); code != 0 {
		t.Fatal(out, errs)
	}
	for _, n := range l.Nodes {
		j := n.Submit(map[string]any{"kind": "batch", "partition": "ml", "array": "0-1", "cpus": 0.01, "mem": "16MiB", "command": []string{"/bin/sleep", "1000"}})
		if want := "root@" + n.Name; j.Actor != want {
			t.Errorf("a job that was submitted on %s is by %q", n.Name, j.Actor)
		}
	}
	count := func() (placed, runs int) {
		tasks, _ := lab.List[*api.Task](lead, "/v1/tasks?all=1")
		for _, task := range tasks {
			if task.Partition == "ml" && task.NodeID != "" {
				placed++
				if task.State == api.TaskRunning {
					runs++
				}
			}
		}
		return placed, runs
	}
	l.Await(lab.Patience, "as many as may to run", func() bool { _, runs := count(); return runs >= 2 })
	// The others would start at once, as there is room: what waits says that it is the bound.
	var waits []*api.Queued
	l.Await(lab.Patience, "the others to wait for that", func() bool {
		var err error
		waits, err = lab.List[*api.Queued](lead, "/v1/queue?")
		tasks := 0
		for _, q := range waits {
			if q.Obstacle.Kind == api.ObstacleRunning && q.Obstacle.PerUser {
				tasks += q.Count
			}
		}
		return err == nil && tasks == 6
	})
	for _, q := range waits {
		if q.User != "root" {
			t.Errorf("%s waits for user %q", q.Task, q.User)
		}
	}
	if placed, _ := count(); placed != 2 {
		t.Errorf("%d tasks of root are on nodes, where 2 of each user may be", placed)
	}
	var rows struct{ Items []*api.ReportRow }
	lead.Must(http.MethodGet, "/v1/report?by=user", nil, &rows)
	if len(rows.Items) != 1 || rows.Items[0].Name != "root" || rows.Items[0].Running != 2 {
		t.Errorf("the report is %+v", rows.Items)
	}
}

package scheduler

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// failThere has all tasks of a job that are on a node fail to start there.
func failThere(t *testing.T, s *fsm.Store, job, node string, reason api.Reason, at time.Time) (n int) {
	t.Helper()
	var sts []api.TaskStatus
	for task := range s.View().JobTasks(job) {
		if task.Node == node {
			sts = append(sts, api.TaskStatus{Task: task.ID, Attempt: task.Attempt, NodeID: task.NodeID, State: api.TaskFailed, Reason: reason, Message: "no such program", Time: at})
		}
	}
	do(t, s, &fsm.TaskReport{Meta: fsm.Meta{At: at}, Statuses: sts})
	return len(sts)
}

// A job's tasks do not go back to a node where some could not start, though it
// is the emptiest; the same engine learns it from one pass to the next, other
// jobs go there, and after its time the job does too.
func TestJobAvoidsWhereItCannotStart(t *testing.T) {
	s := cluster(t, 3)
	e := NewEngine(begin)
	pass := func(now time.Time) time.Time {
		t.Helper()
		e.Update(s.View(), nil, true)
		cmds, next := e.Decide(now)
		do(t, s, cmds...)
		return next
	}
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-8", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100}}}})
	pass(t0)
	if n := failThere(t, s, j.ID, "n0", api.ReasonStartFailed, t0); n != 3 {
		t.Fatalf("%d tasks on n0", n)
	}
	pass(t0)
	if got := perNode(s, j.ID); got["n0"] != 0 || got["n1"]+got["n2"] != 9 {
		t.Fatalf("%v", got)
	}
	other := submit(t, s, &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100}}}})
	pass(t0)
	if got := perNode(s, other.ID); got["n0"] != 1 {
		t.Fatalf("another job: %v", got)
	}
	late := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-8", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100}}}})
	pass(t0)
	failThere(t, s, late.ID, "n0", api.ReasonStartFailed, t0)
	pass(t0.Add(time.Hour))
	if got := perNode(s, late.ID); got["n0"] == 0 {
		t.Fatalf("an hour later: %v", got)
	}
}

// Where all nodes are avoided none is.
func TestJobThatCanStartNowhereIsTried(t *testing.T) {
	s := cluster(t, 2)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-3", Retries: 5, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100}}}})
	schedule(t, s, t0)
	failThere(t, s, j.ID, "n0", api.ReasonStartFailed, t0)
	failThere(t, s, j.ID, "n1", api.ReasonStartFailed, t0)
	schedule(t, s, t0.Add(2*time.Minute))
	if got := perNode(s, j.ID); !maps.Equal(got, map[string]int{"n0": 2, "n1": 2}) {
		t.Fatalf("%v", got)
	}
}

// A job that waits since the only node with room is avoided says so, and when
// it is looked at again.
func TestWhyANodeIsAvoided(t *testing.T) {
	s := cluster(t, 2)
	submit(t, s, &api.JobSpec{Name: "full", Kind: api.KindService, Count: new(1), TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 2000}}}})
	schedule(t, s, t0)
	full := ""
	for n := range perNode(s, "full") {
		full = n
	}
	free := map[string]string{"n0": "n1", "n1": "n0"}[full]
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 500}}}})
	schedule(t, s, t0)
	failThere(t, s, j.ID, free, api.ReasonStartFailed, t0)
	if next := schedule(t, s, t0); next.Sub(t0) != 10*time.Minute {
		t.Errorf("looked at again after %s", next.Sub(t0))
	}
	why, err := planner.Explain(s.View(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range why.Nodes {
		if n.Node == free && !strings.Contains(n.Reason, "could not start one") {
			t.Errorf("%+v", n)
		}
	}
}

// A node that starts nothing gets nothing, and is named with the reason.
func TestWhyANodeStartsNothing(t *testing.T) {
	s := cluster(t, 1)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-4", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100}}}})
	schedule(t, s, t0)
	failThere(t, s, j.ID, "n0", api.ReasonInternal, t0)
	later := t0.Add(5 * time.Second)
	schedule(t, s, later)
	if got := perNode(s, j.ID); got["n0"] != 0 {
		t.Fatalf("%v", got)
	}
	why, err := Planner{Now: func() time.Time { return later }, Begin: begin}.Explain(s.View(), j.ID)
	if err != nil || len(why.Nodes) != 1 || why.Nodes[0].Reason != "can start no task: no such program" {
		t.Fatalf("%+v, %v", why, err)
	}
}

// What is on a node that cannot be asked is not said to run, and what may run
// only once says what ends the wait.
func TestWhyOfTasksOnASilentNode(t *testing.T) {
	s := cluster(t, 1)
	once := submit(t, s, &api.JobSpec{Kind: api.KindBatch, AtMostOnce: true, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 100}}}})
	schedule(t, s, t0)
	do(t, s, &fsm.NodeState{Meta: fsm.Meta{At: t0}, ID: "id0", State: api.NodeUnreachable, Reason: "does not answer"})
	for _, id := range []string{once.ID, once.ID + ".0"} {
		why, err := planner.Explain(s.View(), id)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(why.Hints, "\n")
		if !strings.Contains(got, "n0 is unreachable (does not answer)") || !strings.Contains(got, "mesita node rm --force n0") {
			t.Errorf("%s: %+v", id, why)
		}
	}
	do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: "id0", Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 2000, Mem: 1 << 30}}})
	if why, err := planner.Explain(s.View(), once.ID); err != nil || len(why.Hints) > 0 {
		t.Errorf("%+v, %v", why, err)
	}
}

// What never started printed nothing that could be looked at.
func TestWhyOfWhatNeverStarted(t *testing.T) {
	s := cluster(t, 1)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 64000}}}})
	schedule(t, s, t0)
	do(t, s, &fsm.JobStop{Meta: fsm.Meta{At: t0}, ID: j.ID})
	why, err := planner.Explain(s.View(), j.ID+".0")
	if err != nil || len(why.Hints) > 0 || why.State != "TASK_KILLED" {
		t.Errorf("%+v, %v", why, err)
	}
}

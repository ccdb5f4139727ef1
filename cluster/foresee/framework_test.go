package foresee

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// launch has a framework start a task on a node.
func (w *world) launch(id, node string) *api.Task {
	w.do(&fsm.FrameworkPut{Meta: meta(), Connect: true, Framework: &api.Framework{ID: "f", Name: "chronos", Partitions: []string{"default"}, Session: "s"}},
		&fsm.OfferMake{Meta: meta(), Offers: []*api.Offer{{ID: "o-" + id, Framework: "f", Partition: "default", NodeID: node, Resources: api.Resources{CPUs: 500, Mem: 64 << 20}}}},
		&fsm.FrameworkAccept{Meta: meta(), Framework: "f", Session: "s", Offers: []string{"o-" + id}, Tasks: []fsm.FrameworkLaunch{{Resources: api.Resources{CPUs: 500, Mem: 64 << 20},
			Task: &api.FrameworkTask{ID: id, Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"x"}, User: "www"}}}}}})
	t := w.View().FrameworkTask("f", id)
	w.do(&fsm.TaskReport{Meta: meta(), Statuses: []api.TaskStatus{{Task: t.ID, Attempt: 1, NodeID: node, State: api.TaskRunning, PID: 1, Time: now}}})
	return w.View().TaskOf(t.Job, t.Index)
}

// A framework's task ends with the drain of its node, and nothing of its job waits, moves
// or is made up: what follows is the framework's to decide, and plans and whys say so.
func TestWhatIsPlannedOfFrameworks(t *testing.T) {
	w := newWorld(t, 2)
	task := w.launch("t1", "id0")
	w.settle()
	v := w.View()
	if all := slices.Collect(v.JobTasks(task.Job)); len(all) != 1 || all[0].ID != task.ID {
		t.Errorf("%d tasks of its job, and one was started", len(all))
	}
	for j, r := range v.TaskRuns("", 0) {
		if j.Framework != "" && (r.Row == nil || r.N != 1) {
			t.Errorf("a task of a framework is made up: %+v", r)
		}
	}
	if j := v.Job(task.Job); j.Unmade() != 0 || j.Spec.Tasks() != 0 || j.Counts.Pending != 0 {
		t.Errorf("%d unmade, of %d tasks, %d wait", j.Unmade(), j.Spec.Tasks(), j.Counts.Pending)
	}
	plan, err := w.jobs().Drain(context.Background(), v, "id0", false)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Moves) != 1 || !plan.Moves[0].Ends || plan.Moves[0].Stays || plan.Moves[0].To != "" || plan.Nowhere != 0 || !strings.Contains(plan.Moves[0].Why, "framework") {
		t.Errorf("%+v", plan)
	}
	for id, want := range map[string]struct{ as, says string }{task.ID: {"www", "id0"}, task.Job: {"", "framework f decides"}} {
		why, err := w.jobs().Explain(v, id)
		if err != nil || why.RunAs != want.as || want.as == "" && !strings.Contains(strings.Join(why.Hints, " "), want.says) {
			t.Errorf("why %s: %+v %v", id, why, err)
		}
	}
	w.do(&fsm.NodeDrain{Meta: meta(), ID: "id0", Drain: true})
	w.settle()
	if now := w.View().TaskOf(task.Job, task.Index); !now.State.Final() || w.View().Job(task.Job).Counts.Live() != 0 {
		t.Errorf("after the drain it is %+v", now)
	}
}

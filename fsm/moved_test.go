package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// A batch task that finished before its node heard that it shall move is
// finished, whyever it was to move: nothing is done twice. A service continues.
func TestFinishedBeforeItMoved(t *testing.T) {
	move := map[string]func(w *world, job string) Command{
		"drained": func(w *world, job string) Command {
			return &TaskStop{Meta: w.at(), IDs: []string{job + ".0"}, Move: true, Reason: api.ReasonDrained}
		},
		"restarted": func(w *world, job string) Command {
			return &TaskStop{Meta: w.at(), IDs: []string{job + ".0"}, Move: true, Reason: api.ReasonStopped}
		},
		"preempted": func(w *world, job string) Command {
			return &TaskPreempt{Meta: w.at(), Victims: []Victim{{job, 0, 1}}, Cause: "test"}
		},
	}
	for name, command := range move {
		w := newWorld(t, Newest, 2)
		id := w.batch(1, 0)
		w.place(id+".0", 0)
		w.report(id+".0", api.TaskRunning, "")
		w.do(command(w, id))
		if got := w.View().Task(id + ".0").Desired; got != api.DesiredMove {
			t.Fatalf("%s: the task is to %s", name, got)
		}
		task := w.report(id+".0", api.TaskFinished, api.ReasonExited)
		if j := w.View().Job(id); task.State != api.TaskFinished || task.Attempt != 1 || j.State != api.JobFinished {
			t.Errorf("%s: attempt %d is %s, the job %s", name, task.Attempt, task.State, j.State)
		}
		id = w.batch(1, 0) // one that its node stopped, whatever its exit code
		w.place(id+".0", 0)
		w.report(id+".0", api.TaskRunning, "")
		w.do(command(w, id))
		if task := w.report(id+".0", api.TaskKilled, api.ReasonDrained); !task.Pending() || task.Attempt != 2 {
			t.Errorf("%s: one that was stopped for it is %s in attempt %d", name, task.State, task.Attempt)
		}
	}
	w := newWorld(t, Newest, 2)
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 1)})
	w.place("web.0", 0)
	w.report("web.0", api.TaskRunning, "")
	w.do(move["drained"](w, "web"))
	if task := w.report("web.0", api.TaskFinished, api.ReasonExited); !task.Pending() || task.Attempt != 2 {
		t.Errorf("a service that ended by itself is %s in attempt %d", task.State, task.Attempt)
	}
}

// Nor does one of a gang wait for the end of the others, to start alone.
func TestOneOfAGangFinishedBeforeItMoved(t *testing.T) {
	w := newWorld(t, Newest, 2)
	s := testSpec(api.KindBatch, "pair", 1)
	s.Array, s.Gang, s.Ports = "", 2, nil
	w.do(&JobCreate{Meta: w.at(), Spec: s})
	w.do(&TaskCreate{Meta: w.at(), Job: "pair", Count: 2})
	p := &TaskPlace{Meta: w.at()}
	for i := range 2 {
		p.Placements = append(p.Placements, Placement{Job: "pair", Index: i, Attempt: 1, NodeID: nodeID(i)})
	}
	w.do(p)
	for i := range 2 {
		w.report(api.TaskID("pair", i), api.TaskRunning, "")
	}
	w.do(&TaskStop{Meta: w.at(), IDs: []string{"pair.0"}, Move: true, Reason: api.ReasonDrained})
	w.report("pair.0", api.TaskFinished, api.ReasonExited)
	if c := w.View().Job("pair").Counts; c.Finished != 1 || c.Running != 1 {
		t.Errorf("%+v", c)
	}
	checkSums(t, w.View())
}

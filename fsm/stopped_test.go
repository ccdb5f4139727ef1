package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// halfRunning is an array of 31 tasks, of which one finished, one failed, five
// run and the others wait.
func (w *world) halfRunning() string {
	w.Helper()
	id := w.batch(31, 0)
	for i := range 7 {
		w.place(api.TaskID(id, i), 0)
		w.report(api.TaskID(id, i), api.TaskRunning, "")
	}
	w.report(api.TaskID(id, 0), api.TaskFinished, api.ReasonExited)
	w.report(api.TaskID(id, 1), api.TaskFailed, api.ReasonExited)
	return id
}

func (w *world) states(job string) map[api.TaskState]int {
	out := map[api.TaskState]int{}
	for t := range w.View().JobTasks(job) {
		out[t.State]++
	}
	return out
}

// Each task of an array that is stopped is in one final state, also those that
// never began, and what was stopped is no failure.
func TestStoppedArray(t *testing.T) {
	w := newWorld(t, 1, 1)
	id := w.halfRunning()
	w.do(&JobStop{Meta: w.at(), ID: id})
	if c := w.View().Job(id).Counts; c.Total() != 31 || c.Stopped != 24 || c.Running != 5 {
		t.Fatalf("stopping: %+v", c)
	}
	for i := 2; i < 7; i++ {
		w.report(api.TaskID(id, i), api.TaskKilled, api.ReasonStopped)
	}
	j := w.View().Job(id)
	if want := (api.JobCounts{Finished: 1, Failed: 1, Stopped: 29}); j.Counts != want || j.State != api.JobStopped {
		t.Fatalf("%s: %+v", j.State, j.Counts)
	}
	if got := w.states(id); got[api.TaskKilled] != 29 || got[api.TaskFinished] != 1 || got[api.TaskFailed] != 1 {
		t.Fatalf("tasks: %v", got)
	}
	last := w.View().Task(api.TaskID(id, 30))
	if last == nil || last.State != api.TaskKilled || last.Reason != api.ReasonStopped || last.Ended.IsZero() || last.Message == "" {
		t.Fatalf("one that never began: %+v", last)
	}
	checkSums(t, w.View())
}

// A task that is stopped alone, one whose node is lost meanwhile, and all of a
// service: stopped says stopped.
func TestStoppedTasks(t *testing.T) {
	w := newWorld(t, 1, 2)
	id := w.batch(2, 0)
	for i := range 2 {
		w.place(api.TaskID(id, i), 1)
		w.report(api.TaskID(id, i), api.TaskRunning, "")
	}
	w.report(api.TaskID(id, 0), api.TaskFinished, api.ReasonExited)
	w.do(&TaskStop{Meta: w.at(), IDs: []string{api.TaskID(id, 1)}, Reason: api.ReasonStopped})
	w.do(&NodeState{Meta: w.at(), ID: nodeID(1), State: api.NodeUnreachable, Since: w.View().Node(nodeID(1)).Since})
	if j := w.View().Job(id); j.State != api.JobStopped || j.Counts != (api.JobCounts{Finished: 1, Stopped: 1}) || j.ExitCode != nil {
		t.Fatalf("%s: %+v, exit code %v", j.State, j.Counts, j.ExitCode)
	}
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)})
	w.do(&TaskStop{Meta: w.at(), IDs: []string{"web.0", "web.1"}, Reason: api.ReasonStopped})
	if j := w.View().Job("web"); j.State != api.JobStopped || j.Counts != (api.JobCounts{Stopped: 2}) {
		t.Fatalf("%s: %+v", j.State, j.Counts)
	}
	checkSums(t, w.View())
}

// What was stopped at level 0 is counted anew when the level is reached; until
// then old voters and new ones count the same.
func TestStoppedAtLevel0(t *testing.T) {
	w := newWorld(t, 0, 1)
	id := w.halfRunning()
	w.do(&JobStop{Meta: w.at(), ID: id})
	for i := 2; i < 7; i++ {
		w.report(api.TaskID(id, i), api.TaskKilled, api.ReasonStopped)
	}
	if c := w.View().Job(id).Counts; c != (api.JobCounts{Finished: 1, Failed: 6}) {
		t.Fatalf("at level 0: %+v", c)
	}
	w.do(&LevelSet{Meta: w.at(), Level: 1})
	if c := w.View().Job(id).Counts; c != (api.JobCounts{Finished: 1, Failed: 1, Stopped: 29}) {
		t.Fatalf("at level 1: %+v", c)
	}
	checkSums(t, w.View())
}

// The end of a stopped job says how many never began.
func TestStoppedIsTold(t *testing.T) {
	w := newWorld(t, 1, 1)
	id := w.halfRunning()
	w.do(&JobStop{Meta: w.at(), ID: id})
	for i := 2; i < 7; i++ {
		w.report(api.TaskID(id, i), api.TaskKilled, api.ReasonStopped)
	}
	var said []string
	events, _ := w.Events(t.Context(), 0, 1000)
	for _, e := range events {
		if e.Object == id && (e.Kind == api.EventJobStopped || e.Kind == api.EventJobEnded) {
			said = append(said, e.Message)
		}
	}
	if got := strings.Join(said, "; "); got != "asked for, 24 tasks never began; stopped: 1 tasks finished, 1 failed, 29 stopped" {
		t.Errorf("events say %q", got)
	}
}

// A service is scaled up again before what it was scaled down by has ended: it
// has all that it wants in the end. Below the level it stays short, as older
// programs have it.
func TestScaledUpWhileItScalesDown(t *testing.T) {
	for level := range Newest + 1 {
		for name, late := range map[string]bool{"while it stops": false, "before the controller told it to stop": true} {
			w := newWorld(t, level, 1)
			w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)})
			w.place("web.1", 0)
			w.report("web.1", api.TaskRunning, "")
			stop := &TaskStop{Meta: w.at(), IDs: []string{"web.1"}, Reason: api.ReasonScaledDown}
			w.do(&JobScale{Meta: w.at(), ID: "web", Count: 1})
			if !late {
				w.do(stop)
			}
			w.do(&JobScale{Meta: w.at(), ID: "web", Count: 2})
			if late {
				w.do(stop)
			}
			w.report("web.1", api.TaskKilled, api.ReasonScaledDown)
			if got := w.View().Task("web.1"); (got == nil) != (level >= features[ScaledAgain].level) {
				t.Errorf("level %d, %s: %+v is in the way of a new one", level, name, got)
			}
			if level < Newest {
				w.do(&LevelSet{Meta: w.at(), Level: Newest})
			}
			w.do(&JobScale{Meta: w.at(), ID: "web", Count: 3})
			if got := w.View().Task("web.1"); got != nil {
				t.Errorf("level %d, %s, scaled at the newest: %+v", level, name, got)
			}
			checkSums(t, w.View())
		}
	}
	w := newWorld(t, Newest, 1)
	w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 2)}, &TaskStop{Meta: w.at(), IDs: []string{"web.1"}, Reason: api.ReasonStopped}, &JobScale{Meta: w.at(), ID: "web", Count: 3})
	if got := w.View().Task("web.1"); got == nil || got.State != api.TaskKilled {
		t.Errorf("one that somebody stopped is not to come back: %+v", got)
	}
}

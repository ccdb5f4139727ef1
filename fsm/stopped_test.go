package fsm

import (
	"bytes"
	"slices"
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

// One task has one id: what only looks like it is none, so that nothing is
// stopped by an id under which it has no logs and no events.
func TestATaskHasOneID(t *testing.T) {
	w := newWorld(t, 1, 1)
	id := w.halfRunning()
	for _, odd := range []string{".007", ".+7", ".-0", ".7 ", ".", ". 7", ".9999999999999999999", ".7.7"} {
		if got := w.View().Task(id + odd); got != nil {
			t.Errorf("%q is %s", id+odd, got.ID)
		}
	}
	if w.View().Task(id+".7") == nil || w.View().Task(id+".30") == nil {
		t.Error("their own ids are not taken")
	}
}

// Each task of an array that is stopped is in one final state, also those that
// never began, and what was stopped is not a failure.
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

// One task that waits is stopped by itself: it has its one end, and the others
// of its array continue around it.
func TestStopOneThatWaits(t *testing.T) {
	w := newWorld(t, Newest, 1)
	id := w.batch(31, 3)
	stop := func(index int) {
		w.do(&TaskStop{Meta: w.at(), IDs: []string{api.TaskID(id, index)}, Reason: api.ReasonStopped})
	}
	stopped := []int{30, 8, 0, 7, 20, 19}
	for _, i := range stopped {
		stop(i)
		checkSums(t, w.View())
	}
	if _, err := w.Do(t.Context(), &TaskStop{Meta: w.at(), IDs: []string{api.TaskID(id, 20)}, Reason: api.ReasonStopped}); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("stopped again: %v", err)
	}
	back := &world{T: t, Store: NewStore(nil), now: w.now}
	if err := back.Restore(bytes.NewReader(snapshotBytes(t, w.Store))); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*world{w, back} {
		if c := w.View().Job(id).Counts; c != (api.JobCounts{Pending: 25, Stopped: 6}) {
			t.Fatalf("%+v", c)
		}
		last, waits := -1, 0
		for task := range w.View().JobTasks(id) {
			if task.Index <= last {
				t.Fatalf("%s comes after %d", task.ID, last)
			}
			if last = task.Index; task.Pending() {
				waits++
			}
		}
		for range w.View().PendingTasks(w.View().Job(id)) {
			waits--
		}
		if waits != 0 || last != 30 {
			t.Fatalf("%d of the tasks that wait are listed once, up to %d", waits, last)
		}
		for i := range 31 {
			if at := api.TaskID(id, i); w.place(at, 0) != !slices.Contains(stopped, i) {
				t.Errorf("%s: %+v", at, w.View().Task(at))
			} else if !slices.Contains(stopped, i) {
				w.report(at, api.TaskFinished, api.ReasonExited)
			}
			checkSums(t, w.View())
		}
		if j := w.View().Job(id); j.State != api.JobStopped || j.Counts != (api.JobCounts{Finished: 25, Stopped: 6}) {
			t.Errorf("%s: %+v", j.State, j.Counts)
		}
		if task := w.View().Task(api.TaskID(id, 30)); task.Reason != api.ReasonStopped || task.Message != api.NeverBegan || task.Ended.IsZero() {
			t.Errorf("%+v", task)
		}
	}
}

// So is one of an array that is stopped as a whole later, of a gang, which ends
// with it, and of a service, which is not made again.
func TestStopOneThatWaitsOfEachKind(t *testing.T) {
	w := newWorld(t, Newest, 1)
	array := w.batch(5, 0)
	gang := testSpec(api.KindBatch, "gang", 1)
	gang.Array, gang.Gang = "", 3
	web := testSpec(api.KindService, "web", maxFirstTasks+3)
	stop := func(id string) { w.do(&TaskStop{Meta: w.at(), IDs: []string{id}, Reason: api.ReasonStopped}) }
	w.do(&JobCreate{Meta: w.at(), Spec: gang}, &JobCreate{Meta: w.at(), Spec: web})
	stop(api.TaskID(array, 3))
	stop("gang.1")
	last := api.TaskID("web", maxFirstTasks+2)
	stop(last)
	w.do(&JobStop{Meta: w.at(), ID: array}, &TaskCreate{Meta: w.at(), Job: "web", First: 0, Count: maxFirstTasks + 3})
	for job, want := range map[string]api.JobCounts{array: {Stopped: 5}, "gang": {Stopped: 3}, "web": {Pending: maxFirstTasks + 2, Stopped: 1}} {
		j := w.View().Job(job)
		if j.Counts != want || (j.State == api.JobStopped) == (job == "web") {
			t.Errorf("%s is %s: %+v", job, j.State, j.Counts)
		}
	}
	if got := w.View().Task(last); got.State != api.TaskKilled || got.Reason != api.ReasonStopped {
		t.Errorf("%+v", got)
	}
	for id, c := range map[string]*TaskStop{"no such job": {IDs: []string{"none.1"}}, "no such task": {IDs: []string{api.TaskID("web", maxFirstTasks+3)}},
		"a restart": {IDs: []string{api.TaskID(w.batch(2, 0), 1)}, Move: true}} {
		c.Meta = w.at()
		if _, err := w.Do(t.Context(), c); api.ErrorCode(err) != api.CodeNotFound {
			t.Errorf("%s: %v", id, err)
		}
	}
	checkSums(t, w.View())
}

// Below the level nothing of it is in the state, as older voters have it.
func TestStopOneThatWaitsBelowTheLevel(t *testing.T) {
	w := newWorld(t, features[StoppedUnmade].level-1, 1)
	id := w.batch(5, 0)
	if _, err := w.Do(t.Context(), &TaskStop{Meta: w.at(), IDs: []string{api.TaskID(id, 3)}, Reason: api.ReasonStopped}); api.ErrorCode(err) != api.CodeNotFound {
		t.Error(err)
	}
	if j := w.View().Job(id); j.Counts != (api.JobCounts{Pending: 5}) || w.View().TaskCount() != 0 {
		t.Errorf("%+v", j)
	}
}

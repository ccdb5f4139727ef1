package controller

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a store with two nodes, the controller's decisions applied until
// there are none, and tasks that do what the test says.
type world struct {
	*testing.T
	*fsm.Store
	now time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t, fsm.NewStore(nil), t0}
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: w.meta(), Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id0", Name: "n0"}},
		&fsm.TokenCreate{Meta: w.meta(), Token: &api.Token{ID: "t", Hash: "h"}},
		&fsm.NodeJoin{Meta: w.meta(), Token: "t", Hash: "h", NodeID: "id1", Name: "n1"})
	for i := range 2 {
		w.do(&fsm.NodeHello{Meta: w.meta(), ID: fmt.Sprint("id", i), Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 640000, Mem: 640 << 30}}})
	}
	return w
}

func (w *world) meta() fsm.Meta { return fsm.Meta{At: w.now} }

func (w *world) do(cmds ...fsm.Command) {
	w.Helper()
	res, err := w.Propose(context.Background(), cmds...)
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			w.Fatal(r.Err)
		}
	}
}

// settle applies decisions until there are none, and returns how many rounds
// that took.
func (w *world) settle() int {
	w.Helper()
	for round := range 50 {
		cmds := Decide(w.View(), w.now, nil, true)
		if len(cmds) == 0 {
			return round
		}
		w.do(cmds...)
	}
	w.Fatal("the decisions never end")
	return 0
}

// run places every pending task on a node and has it run.
func (w *world) run(node string) {
	w.Helper()
	for t := range w.View().Tasks() {
		if t.Pending() {
			w.do(&fsm.TaskPlace{Meta: w.meta(), Placements: []fsm.Placement{{Job: t.Job, Index: t.Index, Attempt: t.Attempt, NodeID: node}}})
			w.report(t.ID, api.TaskRunning, 0)
		}
	}
}

func (w *world) report(id string, state api.TaskState, code int) {
	w.Helper()
	t := w.View().Task(id)
	s := api.TaskStatus{Task: id, Attempt: t.Attempt, NodeID: t.NodeID, State: state, PID: 7, Time: w.now}
	if state.Final() {
		s.ExitCode = &code
	}
	w.do(&fsm.TaskReport{Meta: w.meta(), Statuses: []api.TaskStatus{s}})
}

func (w *world) submit(s *api.JobSpec) string {
	w.Helper()
	s.Command = []string{"x"}
	s.Normalize()
	v, err := w.Do(context.Background(), &fsm.JobCreate{Meta: w.meta(), Spec: s})
	if err != nil {
		w.Fatal(err)
	}
	return v.(*api.Job).ID
}

func TestServiceGrowsAndShrinks(t *testing.T) {
	w := newWorld(t)
	w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(3)})
	w.settle()
	w.run("id0")
	w.do(&fsm.JobScale{Meta: w.meta(), ID: "web", Count: 1})
	w.settle()
	for _, id := range []string{"web.1", "web.2"} {
		if w.View().Task(id).Desired != api.DesiredStop {
			t.Fatalf("%s was not told to stop", id)
		}
		w.report(id, api.TaskKilled, 0)
		if w.View().Task(id) != nil {
			t.Fatalf("%s is still there after its end", id)
		}
	}
	w.do(&fsm.JobScale{Meta: w.meta(), ID: "web", Count: 2})
	w.settle()
	if got := w.View().Task("web.1"); got == nil || got.Attempt != 2 {
		t.Fatalf("web.1 must continue with attempt 2, so that nothing of the first is mixed up: %+v", got)
	}
}

// A service of which a task gave up is not failed once it is scaled to nothing:
// it can grow again.
func TestServiceScaledToNothing(t *testing.T) {
	w := newWorld(t)
	w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(2), TaskSpec: api.TaskSpec{Restart: api.RestartPolicy{Attempts: 1}}})
	w.settle()
	w.run("id0")
	for range 2 {
		w.report("web.0", api.TaskFailed, 3)
		w.settle()
		w.run("id0")
	}
	if c := w.View().Job("web").Counts; c.Failed != 1 || c.Running != 1 {
		t.Fatalf("one should have given up and one run: %+v", c)
	}
	w.do(&fsm.JobScale{Meta: w.meta(), ID: "web", Count: 0})
	w.settle()
	w.report("web.1", api.TaskKilled, 0)
	w.settle()
	if j := w.View().Job("web"); j.State.Ended() {
		t.Fatalf("the service is %s: %+v", j.State, j.Counts)
	}
	w.do(&fsm.JobScale{Meta: w.meta(), ID: "web", Count: 1})
	w.settle()
	w.run("id0")
	if j := w.View().Job("web"); j.Counts.Running != 1 || j.State != api.JobRunning {
		t.Errorf("the service is %s: %+v", j.State, j.Counts)
	}
}

func TestBatchIsMadeOnceAndEnds(t *testing.T) {
	w := newWorld(t)
	id := w.submit(&api.JobSpec{Kind: api.KindBatch, Array: "5-2504"})
	w.settle()
	if w.View().TaskCount() != 0 || w.View().Job(id).Counts.Pending != 2500 {
		t.Fatal("the tasks of a batch should only be counted until they are placed")
	}
	if w.View().TaskOf(id, 5) == nil || w.View().TaskOf(id, 2504) == nil || w.View().TaskOf(id, 4) != nil {
		t.Fatal("the indexes are not 5 to 2504")
	}
	w.run("id0")
	for i := 5; i <= 2504; i++ {
		w.report(api.TaskID(id, i), api.TaskFinished, 0)
	}
	if j := w.View().Job(id); j.State != api.JobFinished || j.ExitCode == nil || *j.ExitCode != 0 {
		t.Fatalf("the job is %s", j.State)
	}
	if rounds := w.settle(); rounds != 0 {
		t.Fatal("an ended job is still being worked on")
	}
}

// A new version replaces one task at a time, and only while the others run.
func TestNewVersionRolls(t *testing.T) {
	w := newWorld(t)
	w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(3)})
	w.settle()
	w.run("id0")
	spec := *w.View().Job("web").Spec
	spec.CPUs = 200
	w.do(&fsm.JobUpdate{Meta: w.meta(), ID: "web", Spec: &spec})
	for range 3 {
		w.settle()
		moving := ""
		for task := range w.View().JobTasks("web") {
			if task.Desired == api.DesiredMove {
				if moving != "" {
					t.Fatalf("%s and %s move at once", moving, task.ID)
				}
				moving = task.ID
			}
		}
		if moving == "" {
			t.Fatal("nothing moves")
		}
		w.report(moving, api.TaskKilled, 0)
		w.settle() // the others wait for it
		w.run("id1")
	}
	w.settle()
	for task := range w.View().JobTasks("web") {
		if task.Version != 2 || task.Resources.CPUs != 200 || task.State != api.TaskRunning {
			t.Fatalf("%s has version %d, %v, %s", task.ID, task.Version, task.Resources, task.State)
		}
	}
}

// A change of how many tasks there are, or of what the job is listed by,
// replaces none; with a change of the tasks themselves it counts too.
func TestTasksStayWhenTheyAreTheSame(t *testing.T) {
	w := newWorld(t)
	w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(1)})
	w.settle()
	w.run("id0")
	update := func(change func(s *api.JobSpec)) *api.Job {
		spec := *w.View().Job("web").Spec
		change(&spec)
		w.do(&fsm.JobUpdate{Meta: w.meta(), ID: "web", Spec: &spec})
		w.settle()
		w.run("id0")
		w.settle()
		return w.View().Job("web")
	}
	j := update(func(s *api.JobSpec) {
		s.Count, s.Priority, s.Labels = new(2), 3, map[string]string{"team": "web"}
	})
	if j.Version != 1 || len(j.History) != 0 || j.Spec.Tasks() != 2 || j.Spec.Priority != 3 || j.Spec.Labels["team"] != "web" || j.Counts.Running != 2 {
		t.Fatalf("version %d, %+v, %+v", j.Version, j.Spec, j.Counts)
	}
	for task := range w.View().JobTasks("web") {
		if task.Attempt != 1 || task.Desired != api.DesiredRun {
			t.Errorf("%s: attempt %d, to %s", task.ID, task.Attempt, task.Desired)
		}
	}
	if j := update(func(s *api.JobSpec) { s.Count = new(0) }); j.Version != 1 || j.Counts.Live() != 2 {
		t.Fatalf("version %d, %+v", j.Version, j.Counts)
	}
	for task := range w.View().JobTasks("web") {
		if task.Desired != api.DesiredStop {
			t.Errorf("%s is to %s", task.ID, task.Desired)
		}
	}
	if j := update(func(s *api.JobSpec) { s.Count, s.Labels, s.Env = new(1), nil, map[string]string{"A": "1"} }); j.Version != 2 || j.Spec.Labels != nil {
		t.Errorf("version %d, %v", j.Version, j.Spec.Labels)
	}
}

func TestDrainMovesServicesAtOnceAndBatchesAtTheDeadline(t *testing.T) {
	w := newWorld(t)
	w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(2)})
	batch := w.submit(&api.JobSpec{Kind: api.KindBatch})
	w.settle()
	w.run("id0")
	w.do(&fsm.NodeDrain{Meta: w.meta(), ID: "id0", Drain: true, By: w.now.Add(time.Minute)})
	w.settle()
	if w.View().Task("web.0").Desired != api.DesiredMove || w.View().Task("web.1").Desired != api.DesiredRun {
		t.Fatal("one task of the service should move, the other wait for it")
	}
	if w.View().Task(batch+".0").Desired != api.DesiredRun {
		t.Fatal("the batch should continue until the deadline")
	}
	w.report("web.0", api.TaskKilled, 0)
	w.run("id1")
	w.settle()
	if w.View().Task("web.1").Desired != api.DesiredMove {
		t.Fatal("web.0 runs elsewhere, so web.1 should move")
	}
	due := drainDeadline(w.View(), w.now)
	if due != w.now.Add(time.Minute-time.Duration(api.DefaultStopGrace)) {
		t.Fatalf("the batch is stopped at %s", due)
	}
	w.now = due.Add(-time.Second)
	w.settle()
	if w.View().Task(batch+".0").Desired != api.DesiredRun {
		t.Fatal("the batch should continue until it just ends by the deadline")
	}
	w.now = due
	w.settle()
	if w.View().Task(batch+".0").Desired != api.DesiredMove {
		t.Fatal("the deadline comes, so the batch should move")
	}
}

// What is frozen on a node that is to be empty cannot end there: it moves at once,
// and the rest may continue.
func TestDrainMovesFrozenTasksFirst(t *testing.T) {
	for _, asked := range []bool{false, true} { // whether its node has said that it is frozen
		w := newWorld(t)
		frozen, runs := w.submit(&api.JobSpec{Kind: api.KindBatch})+".0", w.submit(&api.JobSpec{Kind: api.KindBatch})+".0"
		w.settle()
		w.run("id0")
		task := w.View().Task(frozen)
		w.do(&fsm.TaskPreempt{Meta: w.meta(), Freeze: true, Victims: []fsm.Victim{{Job: task.Job, Index: task.Index, Attempt: task.Attempt}}})
		if asked {
			w.do(&fsm.TaskReport{Meta: w.meta(), Statuses: []api.TaskStatus{{Task: frozen, Attempt: 1, NodeID: "id0", State: api.TaskRunning, PID: 7, Time: w.now, Frozen: true}}})
		}
		w.settle()
		if got := w.View().Task(frozen).Desired; got != api.DesiredFreeze {
			t.Fatalf("before the drain it is to %s", got)
		}
		w.do(&fsm.NodeDrain{Meta: w.meta(), ID: "id0", Drain: true, By: w.now.Add(time.Hour)})
		w.settle()
		if w.View().Task(frozen).Desired != api.DesiredMove || w.View().Task(runs).Desired != api.DesiredRun {
			t.Errorf("the frozen one is to %s, the other to %s", w.View().Task(frozen).Desired, w.View().Task(runs).Desired)
		}
	}
}

func TestReapForgetsTheOldAndTheTooMany(t *testing.T) {
	w := newWorld(t)
	c := New(Config{Store: w.Store, Now: func() time.Time { return w.now }, KeepEnded: time.Hour, KeepJobs: 3})
	for range 5 {
		id := w.submit(&api.JobSpec{Kind: api.KindBatch})
		w.do(&fsm.JobStop{Meta: w.meta(), ID: id})
		w.settle()
		w.now = w.now.Add(time.Minute)
	}
	cmds, _ := c.reap(w.View(), w.now)
	w.do(cmds...)
	if n := w.View().EndedCount(); n != 3 {
		t.Fatalf("%d ended jobs are kept, want 3", n)
	}
	w.now = w.now.Add(2 * time.Hour)
	cmds, _ = c.reap(w.View(), w.now)
	w.do(cmds...)
	if n := w.View().EndedCount(); n != 0 {
		t.Fatalf("%d ended jobs are kept after their time", n)
	}
}

// One command forgets many jobs of few tasks, and few of many.
func TestReapsAPortionAtATime(t *testing.T) {
	w := newWorld(t)
	c := New(Config{Store: w.Store, Now: func() time.Time { return w.now }, KeepEnded: time.Hour, KeepJobs: 100})
	const jobs = 3
	for range jobs {
		id := w.submit(&api.JobSpec{Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", 5*maxReaped)})
		var some []string // that wait, and get a row as they end
		for i := range maxReaped/2 + 1 {
			some = append(some, api.TaskID(id, i))
		}
		w.do(&fsm.TaskStop{Meta: w.meta(), IDs: some, Reason: api.ReasonStopped}, &fsm.JobStop{Meta: w.meta(), ID: id})
	}
	if n := w.View().TaskCount(); n != jobs*(maxReaped/2+1) {
		t.Fatalf("%d tasks have rows", n)
	}
	w.now = w.now.Add(2 * time.Hour)
	for _, left := range []int{2, 1, 0} {
		before := w.View().TaskCount()
		cmds, next := c.reap(w.View(), w.now)
		if soon := next.Sub(w.now) < time.Second; soon != (left > 0) {
			t.Errorf("with %d left it looks again in %s", left, next.Sub(w.now))
		}
		w.do(cmds...)
		if n := w.View().EndedCount(); n != left {
			t.Errorf("%d jobs are left, want %d", n, left)
		}
		if n := before - w.View().TaskCount(); n > maxReaped {
			t.Errorf("%d rows went with one command, at most %d may", n, maxReaped)
		}
	}
}

// What is too old is forgotten while the time is to be trusted, and looked for
// once an hour.
func TestForgetsOnlyByATrustedTime(t *testing.T) {
	w := newWorld(t)
	trusted := false
	c := New(Config{Store: w.Store, Now: func() time.Time { return w.now }, Forgets: func() bool { return trusted }})
	w.do(&fsm.TokenCreate{Meta: w.meta(), Token: &api.Token{ID: "expired", Hash: "h", Expires: w.now.Add(time.Minute)}})
	pass := func(after time.Duration, want time.Duration) {
		t.Helper()
		w.now = w.now.Add(after)
		if next := c.pass(t.Context(), loop.Changes{}); next.Sub(w.now) != want {
			t.Errorf("it looks again in %s, want %s", next.Sub(w.now), want)
		}
	}
	pass(0, time.Hour)
	pass(48*time.Hour, unsure)
	if w.View().Token("expired") == nil {
		t.Error("forgotten by a time that is not to be trusted")
	}
	trusted = true
	pass(unsure, time.Hour)
	if w.View().Token("expired") != nil {
		t.Error("not forgotten")
	}
	pass(time.Minute, 59*time.Minute)
	pass(-47*time.Hour, time.Hour)
}

// What runs of a service on hold continues, whatever version it is given and whether its
// node is drained, until that drain's deadline; what waits takes the new version. Once
// it is released, the rest follows.
func TestWhatRunsOfAServiceOnHoldGoesOn(t *testing.T) {
	for _, tasks := range []int{1, 2} {
		for _, drain := range []bool{false, true} {
			w := newWorld(t)
			w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: &tasks})
			w.settle()
			w.run("id0")
			if !drain {
				w.do(&fsm.JobScale{Meta: w.meta(), ID: "web", Count: tasks + 1})
				w.settle()
			}
			w.do(&fsm.JobHold{Meta: w.meta(), ID: "web"})
			if drain {
				w.do(&fsm.NodeDrain{Meta: w.meta(), ID: "id0", Drain: true, By: w.now.Add(time.Minute)})
			} else {
				spec := *w.View().Job("web").Spec
				spec.CPUs = 200
				w.do(&fsm.JobUpdate{Meta: w.meta(), ID: "web", Spec: &spec})
			}
			w.settle()
			for i := range tasks {
				if got := w.View().TaskOf("web", i).Desired; got != api.DesiredRun {
					t.Errorf("%d tasks, drain %t: %d is to %s", tasks, drain, i, got)
				}
			}
			if !drain {
				if waits := w.View().TaskOf("web", tasks); !waits.Pending() || waits.Version != 2 {
					t.Errorf("%+v waits with another version", waits)
				}
				w.do(&fsm.JobScale{Meta: w.meta(), ID: "web", Count: tasks})
				w.settle()
			} else if n := movedAt(w.View(), drainDeadline(w.View(), w.now)); n != tasks {
				t.Errorf("at the deadline %d of %d tasks end", n, tasks)
			}
			w.do(&fsm.JobHold{Meta: w.meta(), ID: "web", Release: true})
			if n := movedAt(w.View(), w.now); n != 1 {
				t.Errorf("%d tasks, drain %t: %d move once it is released", tasks, drain, n)
			}
		}
	}
}

// movedAt is how many tasks it is decided to move at a time.
func movedAt(v *fsm.View, now time.Time) (n int) {
	for _, c := range Decide(v, now, nil, true) {
		if stop, ok := c.(*fsm.TaskStop); ok && stop.Move {
			n += len(stop.IDs)
		}
	}
	return n
}

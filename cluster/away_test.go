package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/vouch"
	"github.com/mesita/mesita/fsm"
)

var testHello = api.NodeHello{Addr: "b:1", Boot: "boot-1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 1000000, Mem: 1 << 40}}

// ask is the keeper of the node.
func (w *watched) ask(ctx context.Context, p vouch.Probe) (vouch.Answer, error) {
	a := w.keeper.Load()
	if a == nil {
		<-ctx.Done()
		return vouch.Answer{}, context.Cause(ctx)
	}
	r := *a
	for _, id := range p.Attempts {
		f := vouch.Unknown
		if h := w.holds.Load(); h != nil {
			f = (*h)[id]
		}
		r.Fates = append(r.Fates, f)
	}
	return r, nil
}

func (w *watched) do(t *testing.T, c fsm.Command) any {
	t.Helper()
	v, err := w.store.Do(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func metaNow() fsm.Meta { return fsm.Meta{At: time.Now(), Actor: "test"} }

// run has the node run one task of a new job.
func (w *watched) run(t *testing.T, spec *api.JobSpec) *api.Task {
	t.Helper()
	id := w.place(t, spec).ID
	w.do(t, &fsm.TaskReport{Meta: metaNow(), Statuses: []api.TaskStatus{{Task: id, Attempt: 1, NodeID: "b", State: api.TaskRunning, PID: 9, Time: time.Now()}}})
	return w.store.View().Task(id)
}

// place puts one task of a new job on the node, which has not heard of it.
func (w *watched) place(t *testing.T, spec *api.JobSpec) *api.Task {
	t.Helper()
	spec.Command = []string{"/bin/true"}
	spec.Normalize()
	j := w.do(t, &fsm.JobCreate{Meta: metaNow(), Spec: spec}).(*api.Job)
	if spec.Kind == api.KindService {
		w.do(t, &fsm.TaskCreate{Meta: metaNow(), Job: j.ID, Count: 1})
	}
	w.do(t, &fsm.TaskPlace{Meta: metaNow(), Placements: []fsm.Placement{{Job: j.ID, Attempt: 1, NodeID: "b"}}})
	return w.store.View().Task(api.TaskID(j.ID, 0))
}

// attempt is that of a task now, with its state.
func (w *watched) attempt(id string) string {
	t := w.store.View().Task(id)
	if t.Pending() {
		return fmt.Sprint(t.Attempt, " pending")
	}
	return fmt.Sprint(t.Attempt, " ", t.State)
}

func (w *watched) attempts(t *testing.T, when string, want map[*api.Task]string) {
	t.Helper()
	synctest.Wait()
	for task, s := range want {
		if got := w.attempt(task.ID); got != s {
			t.Errorf("%s: %s (%s) is %q, want %q", when, task.ID, w.store.View().Job(task.Job).Spec.Name, got, s)
		}
	}
}

const stays, moved = "1 TASK_RUNNING", "2 pending"

func bubbled(t *testing.T, level fsm.Level, f func(t *testing.T, w *watched)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f(t, watchAt(t, ctx, level))
	})
}

// The daemon is away for as long as an upgrade takes, the keeper answers:
// nothing moves, nothing new comes, and the user sees why.
func TestADaemonAwayMovesNothing(t *testing.T) {
	bubbled(t, fsm.Newest, func(t *testing.T, w *watched) {
		web, job := w.run(t, &api.JobSpec{Name: "web"}), w.run(t, &api.JobSpec{Name: "job", Kind: api.KindBatch})
		w.keeper.Store(&vouch.Answer{Boot: "boot-1"})
		w.set(peerFailed, false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n := w.store.View().Node("b")
		if n.State != api.NodeUnreachable || !n.Away || n.Schedulable() || n.Reason != "its daemon is away; its tasks run on" {
			t.Fatalf("the node is %+v", n)
		}
		time.Sleep(12 * time.Second)
		w.attempts(t, "after 14 s", map[*api.Task]string{web: stays, job: stays})
		w.set(peerAlive, true)
		w.do(t, &fsm.NodeHello{Meta: metaNow(), ID: "b", Hello: testHello})
		time.Sleep(time.Minute)
		w.attempts(t, "back", map[*api.Task]string{web: stays, job: stays})
		if n := w.store.View().Node("b"); n.State != api.NodeReady || n.Away || n.Reason != "" {
			t.Fatalf("the node is %+v", n)
		}
	})
}

// A service waits for 15 s. What ends by itself waits as long as the keeper
// answers, unless the keeper never heard of it; then it moves as after any
// silence.
func TestWhatWaitsForADaemonThatStaysAway(t *testing.T) {
	bubbled(t, fsm.Newest, func(t *testing.T, w *watched) {
		web, job := w.run(t, &api.JobSpec{Name: "web"}), w.run(t, &api.JobSpec{Name: "job", Kind: api.KindBatch})
		ended, never := w.run(t, &api.JobSpec{Name: "ended", Kind: api.KindBatch}), w.run(t, &api.JobSpec{Name: "never", Kind: api.KindBatch})
		once := w.run(t, &api.JobSpec{Name: "once", AtMostOnce: true})
		stop := w.run(t, &api.JobSpec{Name: "stop", Kind: api.KindBatch})
		var many []*api.Task
		holds := map[string]vouch.Fate{job.ID + "/1": vouch.Runs, ended.ID + "/1": vouch.Ended, stop.ID + "/1": vouch.Runs}
		for i := range 2 * vouch.MaxNamed { // more than one probe names
			many = append(many, w.run(t, &api.JobSpec{Name: fmt.Sprint("many-", i), Kind: api.KindBatch}))
			holds[many[i].ID+"/1"] = vouch.Runs
		}
		w.holds.Store(&holds)
		w.keeper.Store(&vouch.Answer{Boot: "boot-1"})
		w.set(peerFailed, false)
		time.Sleep(5 * time.Second)
		w.do(t, &fsm.JobStop{Meta: metaNow(), ID: stop.Job})
		time.Sleep(10 * time.Second)
		w.attempts(t, "after 15 s", map[*api.Task]string{web: stays, job: stays, ended: stays, never: stays})
		time.Sleep(3 * time.Second)
		w.attempts(t, "after 18 s", map[*api.Task]string{web: moved, job: stays, ended: stays, never: moved, once: stays, stop: "1 TASK_LOST"})
		time.Sleep(time.Hour)
		w.attempts(t, "after an hour", map[*api.Task]string{web: moved, job: stays, ended: stays, many[0]: stays, many[len(many)-1]: stays, once: stays})
		w.keeper.Store(nil)
		time.Sleep(3 * time.Second)
		w.attempts(t, "3 s after the machine died", map[*api.Task]string{job: moved, ended: moved, many[0]: moved, once: stays})
		if n := w.store.View().Node("b"); n.State != api.NodeUnreachable || n.Away || n.Reason != "does not answer" {
			t.Fatalf("the node is %+v", n)
		}
		w.do(t, &fsm.NodeRemove{Meta: metaNow(), ID: "b", Force: true})
		w.attempts(t, "removed", map[*api.Task]string{once: moved})
	})
}

// What a daemon that is away never said a word of, and its keeper never heard
// of, starts elsewhere as soon as the node is known to be away: kinds alike, but
// for what may run only once. What the keeper has waits as before.
func TestWhatADaemonNeverBeganMovesAtOnce(t *testing.T) {
	bubbled(t, fsm.Newest, func(t *testing.T, w *watched) {
		runs := w.run(t, &api.JobSpec{Name: "runs", Kind: api.KindBatch})
		job, web := w.place(t, &api.JobSpec{Name: "job", Kind: api.KindBatch}), w.place(t, &api.JobSpec{Name: "web"})
		begun, once := w.place(t, &api.JobSpec{Name: "begun", Kind: api.KindBatch}), w.place(t, &api.JobSpec{Name: "once", AtMostOnce: true})
		w.holds.Store(&map[string]vouch.Fate{begun.ID + "/1": vouch.Runs})
		w.keeper.Store(&vouch.Answer{Boot: "boot-1"})
		w.set(peerFailed, false)
		time.Sleep(4 * time.Second)
		const waits = "1 TASK_STAGING"
		w.attempts(t, "after 4 s", map[*api.Task]string{runs: stays, job: moved, web: moved, begun: waits, once: waits})
		if why := w.store.View().Task(job.ID).Message; why != "node b had not begun it when its daemon went away" {
			t.Errorf("its message is %q", why)
		}
	})
}

// A daemon that was stopped on purpose counts as down after 15 s; what ends by
// itself still runs to its end.
func TestAStoppedDaemonLeavesItsBatchWork(t *testing.T) {
	bubbled(t, fsm.Newest, func(t *testing.T, w *watched) {
		web, job := w.run(t, &api.JobSpec{Name: "web"}), w.run(t, &api.JobSpec{Name: "job", Kind: api.KindBatch})
		w.holds.Store(&map[string]vouch.Fate{job.ID + "/1": vouch.Runs})
		w.keeper.Store(&vouch.Answer{Boot: "boot-1"})
		w.set(peerLeft, false)
		time.Sleep(leaveGrace + 3*time.Second)
		w.attempts(t, "after 18 s", map[*api.Task]string{web: moved, job: stays})
		if n := w.store.View().Node("b"); n.State != api.NodeDown || n.Reason != "was stopped; its tasks run on" {
			t.Fatalf("the node is %+v", n)
		}
		w.keeper.Store(nil)
		time.Sleep(3 * time.Second)
		w.attempts(t, "switched off", map[*api.Task]string{job: moved})
	})
}

// Whose keeper cannot be asked, or who was rebooted, is silent, as before.
func TestNobodyVouches(t *testing.T) {
	for name, c := range map[string]struct {
		level  fsm.Level
		answer *vouch.Answer
	}{"an old keeper": {fsm.Newest, nil}, "another boot": {fsm.Newest, &vouch.Answer{Boot: "boot-2"}}, "a cluster of level 0": {0, &vouch.Answer{Boot: "boot-1"}}} {
		t.Run(name, func(t *testing.T) {
			bubbled(t, c.level, func(t *testing.T, w *watched) {
				web, job := w.run(t, &api.JobSpec{Name: "web"}), w.run(t, &api.JobSpec{Name: "job", Kind: api.KindBatch})
				w.keeper.Store(c.answer)
				w.set(peerFailed, false)
				time.Sleep(DefaultGrace + 2*answerTime + 10*time.Millisecond)
				w.attempts(t, "after the grace time", map[*api.Task]string{web: moved, job: moved})
			})
		})
	}
}

// What may run only once never starts elsewhere while its node may run it, and
// a cluster that cannot promise that refuses it.
func TestAtMostOnceNeedsALevel(t *testing.T) {
	bubbled(t, 0, func(t *testing.T, w *watched) {
		spec := &api.JobSpec{Name: "once", AtMostOnce: true, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
		spec.Normalize()
		if err := w.store.View().Allows(&fsm.JobCreate{Meta: metaNow(), Spec: spec}); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("at level 0: %v", err)
		}
	})
}

// An answer that is lost, and one that comes late, do no harm: the node is away
// or back, never both.
func TestALostProbeLosesNoNode(t *testing.T) {
	bubbled(t, fsm.Newest, func(t *testing.T, w *watched) {
		job := w.run(t, &api.JobSpec{Name: "job", Kind: api.KindBatch})
		w.holds.Store(&map[string]vouch.Fate{job.ID + "/1": vouch.Runs})
		answers := &vouch.Answer{Boot: "boot-1"}
		w.keeper.Store(answers)
		w.set(peerFailed, false)
		for range 100 {
			w.keeper.Store(nil)
			time.Sleep(answerTime)
			w.keeper.Store(answers)
			time.Sleep(3 * time.Second)
			w.attempts(t, "under loss", map[*api.Task]string{job: stays})
		}
	})
}

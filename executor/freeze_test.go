package executor_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

func frozen(tk *api.Task, _ *api.JobSpec) {
	tk.Desired, tk.Reason, tk.State = api.DesiredFreeze, api.ReasonPreempted, api.TaskRunning
}

// known is a task that the cluster knows to be frozen.
func known(tk *api.Task, _ *api.JobSpec) { tk.Frozen = true }

func moved(tk *api.Task, _ *api.JobSpec) {
	tk.Desired, tk.Reason = api.DesiredMove, api.ReasonPreempted
}

func hour(_ *api.Task, s *api.JobSpec) { s.Time = api.Duration(time.Hour) }

// frozen is how often the task was reported so.
func (s *sink) frozen(task string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.all {
		if st.Task == task && st.Frozen {
			n++
		}
	}
	return n
}

func TestFreezeAndThaw(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Run: time.Hour} }
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		pid := n.sink.last("b.0").PID
		pass(30 * time.Minute)
		n.Assign(set(assignment("b", 0, 1, batch, frozen)))
		settle()
		equal(t, "frozen", n.rt.Frozen(), []string{"b.0/1"})
		st := n.sink.last("b.0")
		if !st.Frozen || st.State != api.TaskRunning || st.PID != pid || st.Attempt != 1 || st.NodeID != "n1" || st.Time.IsZero() || st.Reason != api.ReasonPreempted {
			t.Fatalf("status %+v", st)
		}
		if _, err := n.Exec(t.Context(), executor.ExecRequest{Task: "b.0", Command: []string{"true"}}); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "is frozen") {
			t.Fatalf("exec: %v", err)
		}
		if got := n.Stats(t.Context(), api.StatsAll); len(got) != 1 || got[0].Began <= 0 {
			t.Fatalf("stats %+v", got)
		}
		n.Assign(set(assignment("b", 0, 1, batch, frozen, known)))
		pass(100 * time.Hour)
		if got := n.sink.frozen("b.0"); got != 1 {
			t.Fatalf("reported frozen %d times, want once", got)
		}
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		equal(t, "frozen", n.rt.Frozen(), []string{})
		if _, err := n.Exec(t.Context(), executor.ExecRequest{Task: "b.0", Command: []string{"true"}}); err != nil {
			t.Fatalf("exec: %v", err)
		}
		pass(29 * time.Minute)
		equal(t, "alive", n.rt.Alive(), []string{"b.0/1"})
		pass(2 * time.Minute)
		settle()
		if st := n.sink.last("b.0"); st.State != api.TaskFinished || st.PID != pid {
			t.Fatalf("status %+v", st)
		}
	})
}

// A task that was told to freeze before it ran is reported frozen when the
// cluster knows that it runs.
func TestFreezeReportedUntilKnown(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		staging := func(tk *api.Task, _ *api.JobSpec) { tk.State = api.TaskStaging }
		n.Assign(set(assignment("b", 0, 1, batch, frozen, staging)))
		settle()
		equal(t, "frozen", n.rt.Frozen(), []string{"b.0/1"})
		equal(t, "reported", n.sink.states("b.0"), []string{"1 TASK_RUNNING"})
		if st := n.sink.last("b.0"); st.Frozen {
			t.Fatalf("status %+v", st)
		}
		n.Assign(set(assignment("b", 0, 1, batch, frozen)))
		settle()
		if got := n.sink.frozen("b.0"); got != 1 {
			t.Fatalf("reported frozen %d times, want once", got)
		}
		// Wanted to run for a moment that was not seen here.
		n.Assign(set(assignment("b", 0, 1, batch, frozen, known)))
		n.Assign(set(assignment("b", 0, 1, batch)))
		n.Assign(set(assignment("b", 0, 1, batch, frozen)))
		settle()
		if got := n.sink.frozen("b.0"); got != 2 {
			t.Fatalf("reported frozen %d times, want twice", got)
		}
	})
}

func TestFreezeTimeLimit(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		run, ice := set(assignment("b", 0, 1, batch, hour)), set(assignment("b", 0, 1, batch, hour, frozen))
		n.Assign(run)
		settle()
		for range 3 { // three times 19 minutes, and once with a restart in between
			pass(19 * time.Minute)
			n.Assign(ice)
			settle()
			pass(10 * time.Hour)
			n.stop()
			pass(10 * time.Hour)
			n.start()
			n.Assign(ice)
			pass(10 * time.Hour)
			equal(t, "frozen", n.rt.Frozen(), []string{"b.0/1"})
			n.Assign(run)
			settle()
		}
		pass(2 * time.Minute)
		equal(t, "alive", n.rt.Alive(), []string{"b.0/1"})
		pass(2 * time.Minute)
		settle()
		if st := n.sink.last("b.0"); st.State != api.TaskFailed || st.Reason != api.ReasonTimeLimit {
			t.Fatalf("status %+v", st)
		}
	})
}

func TestFreezeThenStop(t *testing.T) {
	for name, want := range map[string]func(*api.Task, *api.JobSpec){"stop": stopped, "move": moved} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *node) {
				n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: r.ID == "deaf.0/1"} }
				rude := func(_ *api.Task, s *api.JobSpec) { s.StopGrace = 0 }
				all := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
					return set(assignment("web", 0, 1, change...), assignment("deaf", 0, 1, change...), assignment("rude", 0, 1, append(slices.Clone(change), rude)...))
				}
				n.Assign(all())
				settle()
				n.Assign(all(frozen))
				settle()
				equal(t, "frozen", n.rt.Frozen(), []string{"deaf.0/1", "rude.0/1", "web.0/1"})
				n.Assign(all(want))
				settle()
				equal(t, "alive within the grace time", n.rt.Alive(), []string{"deaf.0/1"})
				if st := n.sink.last("web.0"); st.State != api.TaskKilled || st.Signal != "SIGTERM" {
					t.Fatalf("status %+v", st)
				}
				if st := n.sink.last("rude.0"); st.State != api.TaskKilled {
					t.Fatalf("status %+v", st)
				}
				var got []string
				for _, s := range n.rt.Signals() {
					if strings.HasPrefix(s, "web") {
						got = append(got, s)
					}
				}
				equal(t, "signals", got, []string{"web.0/1 freeze", "web.0/1 thaw", "web.0/1 terminated"})
				pass(11 * time.Second)
				settle()
				equal(t, "alive", n.rt.Alive(), []string{})
			})
		})
	}
}

// What a restarted daemon finds agrees with what it was told last, and then
// with what it is told now.
func TestFreezeOverRestart(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		run, ice := set(assignment("b", 0, 1, batch)), set(assignment("b", 0, 1, batch, frozen, known))
		n.Assign(run)
		settle()
		n.Assign(ice)
		settle()
		pid := n.sink.last("b.0").PID
		n.stop()
		n.start()
		settle() // with no set yet
		equal(t, "frozen", n.rt.Frozen(), []string{"b.0/1"})
		if _, err := n.rt.Thaw(t.Context(), "b.0/1"); err != nil { // by a daemon of the past, say
			t.Fatal(err)
		}
		n.stop()
		n.start()
		settle()
		equal(t, "frozen", n.rt.Frozen(), []string{"b.0/1"})
		n.Assign(run)
		settle()
		equal(t, "frozen", n.rt.Frozen(), []string{})
		n.stop()
		if _, err := n.rt.Freeze(t.Context(), "b.0/1"); err != nil {
			t.Fatal(err)
		}
		n.start()
		settle()
		equal(t, "frozen", n.rt.Frozen(), []string{})
		if st := n.sink.last("b.0"); st.State != api.TaskRunning || st.PID != pid || len(n.rt.Started()) != 1 {
			t.Fatalf("status %+v, %d starts", st, len(n.rt.Started()))
		}
		n.Assign(ice)
		settle()
		n.rt.KillKeeper()
		settle()
		if st := n.sink.last("b.0"); st.State != api.TaskFailed || st.Reason != api.ReasonKeeperLost {
			t.Fatalf("status %+v", st)
		}
	})
}

func TestFreezeFails(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			if r.ID == "none.0/1" {
				return runtimetest.Plan{Freeze: keeper.ErrUnfreezable}
			}
			return runtimetest.Plan{Freeze: errors.New("a process waits for its disk")}
		}
		n.Assign(set(assignment("none", 0, 1), assignment("slow", 0, 1), assignment("oom", 0, 1)))
		settle()
		n.Assign(set(assignment("none", 0, 1, frozen), assignment("slow", 0, 1, frozen), assignment("oom", 0, 1, frozen)))
		settle()
		n.rt.Exit("oom.0/1", 0, syscall.SIGKILL)
		pass(time.Minute)
		for _, task := range []string{"none.0", "slow.0", "oom.0"} {
			if n.sink.frozen(task) != 0 {
				t.Errorf("%s was reported frozen", task)
			}
		}
		tries := map[string]int{}
		for _, s := range n.rt.Signals() {
			tries[s]++
		}
		if tries["none.0/1 freeze"] != 1 || tries["slow.0/1 freeze"] < 10 || tries["slow.0/1 freeze"] > 60 || tries["oom.0/1 freeze"] != 1 {
			t.Errorf("requests %v", tries)
		}
		if _, err := n.Exec(t.Context(), executor.ExecRequest{Task: "none.0", Command: []string{"true"}}); err != nil {
			t.Errorf("exec beside a task that was not frozen: %v", err)
		}
		if st := n.sink.last("oom.0"); st.State != api.TaskFailed || st.Reason != api.ReasonSignaled {
			t.Errorf("status %+v", st)
		}
		// The half frozen one is thawed, whether to run on or to end.
		n.Assign(set(assignment("none", 0, 1), assignment("slow", 0, 1)))
		settle()
		if !slices.Contains(n.rt.Signals(), "slow.0/1 thaw") {
			t.Error("the half frozen task was not thawed")
		}
		n.Assign(set(assignment("none", 0, 1, stopped), assignment("slow", 0, 1, stopped)))
		settle()
		for _, task := range []string{"none.0", "slow.0"} {
			if st := n.sink.last(task); st.State != api.TaskKilled || st.Signal != "SIGTERM" {
				t.Errorf("status %+v", st)
			}
		}
	})
}

// A freeze under way does not hold up what is wanted next.
func TestFreezeOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Freezing: time.Hour} }
		n.Assign(set(assignment("a", 0, 1), assignment("b", 0, 1)))
		settle()
		n.Assign(set(assignment("a", 0, 1, frozen), assignment("b", 0, 1, frozen)))
		settle()
		n.Assign(set(assignment("a", 0, 1), assignment("b", 0, 1, stopped)))
		settle()
		got := n.rt.Signals()
		slices.Sort(got)
		equal(t, "signals", got, []string{"a.0/1 freeze", "a.0/1 thaw", "b.0/1 freeze", "b.0/1 terminated", "b.0/1 thaw"})
		if all, _ := n.rt.Running(t.Context()); len(all) != 1 || all[0].Freezer {
			t.Fatalf("the keeper has %+v", all)
		}
		if st := n.sink.last("b.0"); st.State != api.TaskKilled || st.Signal != "SIGTERM" {
			t.Fatalf("status %+v", st)
		}
		if n.sink.frozen("a.0")+n.sink.frozen("b.0") != 0 {
			t.Fatal("a task was reported frozen while some of it ran")
		}
	})
}

// A task that is to move before this node ever saw it does not start.
func TestMovedBeforeItStarted(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("b", 0, 1, batch, moved)))
		settle()
		if st := n.sink.last("b.0"); st.State != api.TaskKilled || st.Reason != api.ReasonPreempted || len(n.rt.Started()) != 0 {
			t.Fatalf("status %+v, %d starts", st, len(n.rt.Started()))
		}
	})
}

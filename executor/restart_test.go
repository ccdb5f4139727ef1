package executor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

func TestDaemonRestart(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		as := set(assignment("web", 0, 1), assignment("b", 0, 1, batch))
		n.Assign(as)
		settle()
		pid := n.sink.last("web.0").PID
		n.stop()
		n.rt.Exit("b.0/1", 7, 0) // while nobody listens
		n.start()
		n.Assign(as)
		settle()
		<-n.Synced()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1"})
		if got := n.sink.last("web.0"); got.PID != pid || got.State != api.TaskRunning {
			t.Fatalf("status %+v, want pid %d", got, pid)
		}
		if got := n.sink.last("b.0"); got.State != api.TaskFailed || *got.ExitCode != 7 {
			t.Fatalf("status %+v", got)
		}
		if got := len(n.rt.Started()); got != 2 {
			t.Fatalf("%d starts, want 2", got)
		}
	})
}

func TestJournaledButNotStarted(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Slow: time.Hour} }
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		n.stop() // the request never reached the keeper
		n.rt.Plan = nil
		n.start()
		pass(9 * time.Second)
		equal(t, "alive before the cluster was heard", n.rt.Alive(), nil)
		pass(2 * time.Second) // no set comes: it was told to run it
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"b.0/1"})
	})
}

// What was about to start when the daemon died may have been started elsewhere
// since: the node first hears what it is to run.
func TestJournaledAndMovedMeanwhile(t *testing.T) {
	for _, stays := range []bool{true, false} {
		bubble(t, func(t *testing.T, n *node) {
			n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Slow: time.Hour} }
			as := set(assignment("b", 0, 1, batch))
			n.Assign(as)
			settle()
			n.stop()
			n.rt.Plan = nil
			n.start()
			settle()
			equal(t, "started before the cluster was heard", n.rt.Alive(), nil)
			if !stays {
				as = nil
			}
			n.Assign(as)
			pass(time.Minute)
			settle()
			want := map[bool]int{true: 1}[stays]
			if got := len(n.rt.Alive()); got != want {
				t.Errorf("assigned still %v: %d run, want %d", stays, got, want)
			}
			if got := len(n.rt.Started()); got != want {
				t.Errorf("assigned still %v: %d were started, want %d", stays, got, want)
			}
		})
	}
}

// The cluster may give up what did not start while it thinks the node away: that
// starts only by a set of a cluster that thinks so no more. What runs goes on.
func TestNothingStartsWhileTheNodeIsAway(t *testing.T) {
	for when, want := range map[string]int{"new": 1, "journaled": 1, "superseded": 2} {
		bubble(t, func(t *testing.T, n *node) {
			runs := assignment("runs", 0, 1, batch)
			as := set(runs)
			if when == "journaled" {
				n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
					return map[string]runtimetest.Plan{"b.0/1": {Slow: time.Hour}}[r.ID]
				}
			}
			if when != "new" {
				as = append(as, assignment("b", 0, 1, batch))
			}
			n.Assign(as)
			settle()
			if when == "superseded" {
				n.rt.Exit("b.0/1", 1, 0)
				settle()
			}
			n.stop()
			n.rt.Plan = nil
			n.start()
			settle()
			as = set(runs, assignment("b", 0, want, batch))
			n.AssignAway(as)
			pass(time.Minute)
			equal(t, when+", away", n.rt.Alive(), []string{"runs.0/1"})
			n.Assign(as)
			settle()
			equal(t, when+", back", n.rt.Alive(), []string{fmt.Sprint("b.0/", want), "runs.0/1"})
			n.AssignAway(nil)
			settle()
			equal(t, when+", given up", n.rt.Alive(), nil)
		})
	}
}

// The keeper can tell of an end until the cluster knows of it.
func TestTheKeeperKeepsAnEndUntilItIsAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("b", 0, 1, batch)))
		settle()
		n.sink.mu.Lock()
		n.sink.fail = 1000
		n.sink.mu.Unlock()
		n.rt.Exit("b.0/1", 0, 0)
		pass(time.Second)
		settle()
		n.stop()
		n.start()
		settle()
		all, err := n.rt.Running(t.Context())
		if err != nil || len(all) != 1 || all[0].State != keeper.Ended {
			t.Fatalf("the keeper knows %+v (%v), want the end that nobody was told of", all, err)
		}
		n.sink.mu.Lock()
		n.sink.fail = 0
		n.sink.mu.Unlock()
		pass(time.Minute)
		settle()
		if all, err := n.rt.Running(t.Context()); err != nil || len(all) != 0 {
			t.Fatalf("the keeper still knows %+v (%v)", all, err)
		}
	})
}

func TestKeeperLost(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("web", 0, 1), assignment("b", 0, 1, batch)))
		settle()
		n.rt.KillKeeper()
		settle()
		for _, task := range []string{"web.0", "b.0"} {
			equal(t, task, n.sink.states(task), []string{"1 TASK_RUNNING", "1 TASK_FAILED keeper_lost"})
		}
		n.Assign(set(assignment("web", 0, 2)))
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/2"})
	})
}

func TestReboot(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("web", 0, 1), assignment("web", 1, 1), assignment("b", 0, 1, batch)))
		settle()
		n.stop()
		n.rt.Reboot()
		n.boot = "boot-2"
		n.start()
		settle()
		equal(t, "b.0", n.sink.states("b.0"), []string{"1 TASK_RUNNING", "1 TASK_FAILED reboot"})
		equal(t, "alive at once", n.rt.Alive(), []string{})
		pass(11 * time.Second) // no cluster to be heard of
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1", "web.1/1"})
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1"})
	})
}

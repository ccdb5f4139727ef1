package executor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
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
// starts only by a set of a cluster that thinks so no more. What runs continues.
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

// TestTemporaryFoldersAfterARestart: what runs keeps its /tmp; whoever starts again,
// under the same number, has a new one, also after a reboot, and nothing stays of the
// one before.
func TestTemporaryFoldersAfterARestart(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		only := func() string {
			t.Helper()
			dirs, err := filepath.Glob(filepath.Join(n.dir, "tmp", "web.0.1*"))
			if err != nil || len(dirs) != 1 {
				t.Fatalf("%q, %v", dirs, err)
			}
			return dirs[0]
		}
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		first := only()
		if err := os.WriteFile(filepath.Join(first, "rest"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		n.stop()
		n.start()
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		if now := only(); now != first {
			t.Errorf("what runs had %s and has %s", first, now)
		}
		n.stop()
		n.rt.Reboot()
		n.boot = "boot-2"
		n.start()
		pass(11 * time.Second)
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1"})
		if names, err := os.ReadDir(only()); err != nil || len(names) > 0 {
			t.Errorf("after a reboot it finds %v, %v", names, err)
		}
		n.Assign(set())
		settle()
		if dirs, _ := filepath.Glob(filepath.Join(n.dir, "tmp", "web.*")); len(dirs) > 0 {
			t.Errorf("left: %q", dirs)
		}
	})
}

// TestUsersAfterARestart: what ended under an earlier daemon holds no user of tasks
// against a task that needs one, and the oldest goes first; what runs keeps its own.
func TestUsersAfterARestart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a folder away needs root")
	}
	own := func(_ *api.Task, s *api.JobSpec) { s.User = api.TaskUser }
	bubble(t, func(t *testing.T, n *node) {
		runs := assignment("runs", 0, 1, own)
		n.Assign(set(runs))
		settle()
		n.stop()
		dir := filepath.Join(n.dir, "tasks")
		fi, err := os.Stat(filepath.Join(dir, "runs.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		const first, last, oldest = 61184, 65519, 64000
		for uid := first; uid <= last; uid++ {
			old := filepath.Join(dir, fmt.Sprintf("old.%d.1", uid))
			if uid == int(fi.Sys().(*syscall.Stat_t).Uid) {
				continue
			}
			at := fi.ModTime()
			if uid == oldest {
				at = at.Add(-time.Minute)
			}
			if err := errors.Join(os.Mkdir(old, 0o700), os.WriteFile(filepath.Join(old, "result"), nil, 0o600), os.Chown(old, uid, uid), os.Chtimes(old, at, at)); err != nil {
				t.Fatal(err)
			}
		}
		n.start()
		n.Assign(set(runs))
		settle()
		n.Assign(set(runs, assignment("new", 0, 1, own)))
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"new.0/1", "runs.0/1"})
		if got := n.sink.last("new.0"); got.State != api.TaskRunning {
			t.Errorf("status %+v", got)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*.*")) // those that are attempts'
		if err != nil || len(left) != last-first+1 {
			t.Errorf("%d folders are left, %v", len(left), err)
		}
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("old.%d.1", oldest))); fi.Sys().(*syscall.Stat_t).Uid != oldest && err == nil {
			t.Error("another than the oldest made room")
		}
	})
}

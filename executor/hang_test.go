package executor_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

// No time that a task was given runs out before what it counts from has happened:
// a task has its grace time from the moment at which it is sent its signal,
// however long that takes, as over a keeper of an earlier version whose disk hangs.
func TestGraceCountsFromTheSignal(t *testing.T) {
	for name, before := range map[string]func(*api.Task, *api.JobSpec){"running": func(*api.Task, *api.JobSpec) {}, "frozen": frozen} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *node) {
				n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: r.ID == "deaf.0/1"} }
				both := func(change func(*api.Task, *api.JobSpec)) []api.Assignment {
					return set(assignment("web", 0, 1, change), assignment("deaf", 0, 1, change))
				}
				n.Assign(both(func(*api.Task, *api.JobSpec) {}))
				settle()
				n.Assign(both(before))
				settle()
				answer := n.rt.Hang(runtimetest.Asks)
				n.Assign(both(stopped))
				pass(time.Minute)
				answer()
				settle()
				if st := n.sink.last("web.0"); st.State != api.TaskKilled || st.Signal != "SIGTERM" {
					t.Fatalf("status %+v", st)
				}
				pass(9 * time.Second)
				equal(t, "alive within the grace time", n.rt.Alive(), []string{"deaf.0/1"})
				pass(2 * time.Second)
				settle()
				equal(t, "alive after it", n.rt.Alive(), []string{})
				if st := n.sink.last("deaf.0"); st.State != api.TaskKilled || st.Signal != "SIGKILL" {
					t.Fatalf("status %+v", st)
				}
			})
		})
	}
}

// A stop waits for nothing that waits for a disk.
func TestAStopWaitsForNoDisk(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		answer := n.rt.Hang(runtimetest.Notes)
		defer answer()
		for i := range 20 { // each end is to be forgotten
			id := fmt.Sprintf("b%d", i)
			n.Assign(set(assignment("web", 0, 1), assignment(id, 0, 1, batch)))
			settle()
			n.rt.Exit(id+".0/1", 0, 0)
			settle()
		}
		n.Assign(set(assignment("web", 0, 1, stopped)))
		settle()
		if st := n.sink.last("web.0"); st.State != api.TaskKilled || st.Signal != "SIGTERM" {
			t.Fatalf("status %+v", st)
		}
	})
}

// A task that cannot be thawed, so that it is never sent its signal, is killed
// once its grace time has passed since the first try.
func TestAStopOfWhatCannotBeThawed(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan {
			return runtimetest.Plan{Thaw: errors.New("a process waits for its disk")}
		}
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		n.Assign(set(assignment("web", 0, 1, frozen)))
		settle()
		n.Assign(set(assignment("web", 0, 1, stopped)))
		settle()
		pass(9 * time.Second)
		equal(t, "alive within the grace time", n.rt.Alive(), []string{"web.0/1"})
		pass(2 * time.Second)
		settle()
		if st := n.sink.last("web.0"); st.State != api.TaskKilled || st.Signal != "SIGKILL" {
			t.Fatalf("status %+v", st)
		}
	})
}

// What ended within its time limit is told as it ended, however late that is
// heard; also by a daemon that starts in between.
func TestAnEndWithinTheTimeLimitIsHeardLate(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, n *node) {
			n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan {
				return runtimetest.Plan{Run: 30 * time.Second, Late: 2 * time.Minute}
			}
			as := set(assignment("b", 0, 1, batch, func(_ *api.Task, s *api.JobSpec) { s.Time = api.Duration(time.Minute) }))
			n.Assign(as)
			settle()
			if pass(50 * time.Second); restart {
				n.stop()
				n.start()
				n.Assign(as)
			}
			pass(3 * time.Minute)
			settle()
			if st := n.sink.last("b.0"); st.State != api.TaskFinished || *st.ExitCode != 0 {
				t.Fatalf("status %+v", st)
			}
		})
	}
}

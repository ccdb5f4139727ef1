package executor_test

import (
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// running is a task that the cluster says runs.
func running(tk *api.Task, _ *api.JobSpec) { tk.State = api.TaskRunning }

// A node that was part of a cluster's former age continues in another, in which
// nobody heard of what happened meanwhile: what ended there is told again, and
// what has a higher number than this age gave is ended for what it wants.
func TestWhatHappenedInAFormerAge(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("done", 0, 1, batch), assignment("ran", 0, 2, batch), assignment("late", 0, 2), assignment("stays", 0, 1)))
		settle()
		n.rt.Exit("done.0/1", 3, 0)
		n.rt.Exit("ran.0/2", 0, 0)
		settle()
		n.stop()
		n.sink.all = nil
		n.cfg = func(c *executor.Config) { c.Age = "after a recovery" }
		n.start()
		n.Assign(set(assignment("done", 0, 1, batch, running), assignment("ran", 0, 1, batch, running), assignment("late", 0, 1, running), assignment("stays", 0, 1, running)))
		settle()
		if got := n.sink.last("done.0"); got.State != api.TaskFailed || got.ExitCode == nil || *got.ExitCode != 3 {
			t.Errorf("an end that the former age was told: %+v", got)
		}
		for _, task := range []string{"ran.0", "late.0"} {
			if got := n.sink.last(task); got.Attempt != 1 || got.State != api.TaskLost {
				t.Errorf("%s, of which the former age began another attempt: %+v", task, got)
			}
		}
		equal(t, "alive", n.rt.Alive(), []string{"stays.0/1"})
		n.Assign(set(assignment("ran", 0, 2, batch), assignment("late", 0, 2), assignment("stays", 0, 1, running)))
		settle()
		equal(t, "alive, under numbers that are given again", n.rt.Alive(), []string{"late.0/2", "ran.0/2", "stays.0/1"})

		n.stop() // and the age is no longer a new one
		n.start()
		n.Assign(set(assignment("ran", 0, 1, batch), assignment("late", 0, 2), assignment("stays", 0, 1, running)))
		settle()
		equal(t, "alive, whatever a view that lags behind says", n.rt.Alive(), []string{"late.0/2", "ran.0/2", "stays.0/1"})
	})
}

// An attempt that only a former age knew leaves no trace: the present one may give
// its number to another.
func TestANumberOfAFormerAgeIsGivenAgain(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("gone", 0, 1, batch)))
		settle()
		n.rt.Exit("gone.0/1", 0, 0)
		settle()
		n.stop()
		n.cfg = func(c *executor.Config) { c.Age = "after a recovery" }
		n.start()
		for range 2 { // it is told again, and then forgotten
			n.Assign(set())
			settle()
		}
		n.Assign(set(assignment("gone", 0, 1, batch)))
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"gone.0/1"})
	})
}

package executor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

// What is wrong with the machine is told apart from what a task needs and is
// missing there: the cluster leaves a machine alone, and a job a node.
func TestFaultsOfTheMachineAndOfTheTask(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		errs := map[string]error{
			"io":      fmt.Errorf("make the slice: %w", unix.EIO),
			"cgroup":  errors.New("make the slice: no such file or directory"),
			"full":    fmt.Errorf("make the log: %w", unix.ENOSPC),
			"program": fmt.Errorf("exec /x: %w", keeper.ErrProgram),
		}
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			return runtimetest.Plan{Err: errs[filepath.Dir(r.ID)[:len(filepath.Dir(r.ID))-2]]}
		}
		var as []api.Assignment
		for job := range errs {
			as = append(as, assignment(job, 0, 1))
		}
		n.Assign(as)
		settle()
		n.check(t, map[string]api.Reason{"io": api.ReasonInternal, "cgroup": api.ReasonInternal, "full": api.ReasonDiskFull, "program": api.ReasonStartFailed})
	})
}

// check compares the reasons for which tasks never ran.
func (n *node) check(t *testing.T, want map[string]api.Reason) {
	t.Helper()
	for job, reason := range want {
		if st := n.sink.last(job + ".0"); st.State != api.TaskFailed || st.Reason != reason || st.PID != 0 || st.Message == "" {
			t.Errorf("%s: %+v", job, st)
		}
	}
}

// The folder of the tasks is gone, as on a disk that died: none of them is told
// that its program is missing.
func TestFolderOfTheTasksIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		settle() // folders are made in it for future starts
		if err := os.RemoveAll(filepath.Join(n.dir, "tasks")); err != nil {
			t.Fatal(err)
		}
		n.Assign(set(assignment("web", 0, 1)))
		settle()
		n.check(t, map[string]api.Reason{"web": api.ReasonInternal})
	})
}

// A journal that cannot be written holds no task back: its failure is told.
func TestJournalCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.Assign(set(assignment("old", 0, 1)))
		settle()
		defer limit(t)()
		var as []api.Assignment
		large := strings.Repeat("x", 2*journalRoom)
		for i := range 4 { // of which the journal has room for none, whichever are written together
			as = append(as, assignment("new", i, 1, func(_ *api.Task, s *api.JobSpec) { s.Env = map[string]string{"A": large} }))
			as[i].Task.Job = fmt.Sprint("new", i)
			as[i].Task.ID = api.TaskID(as[i].Task.Job, 0)
		}
		n.Assign(append(as, assignment("old", 0, 1)))
		pass(5 * time.Second) // some may wait for the next try to write
		settle()
		for i := range as {
			if st := n.sink.last(as[i].Task.ID); st.State != api.TaskFailed || st.Reason != api.ReasonInternal {
				t.Fatalf("%s: %+v", as[i].Task.ID, st)
			}
		}
		equal(t, "old", n.sink.states("old.0"), []string{"1 TASK_RUNNING"})
	})
}

// journalRoom is more than the go command's own log of what a test opens, which
// the limit holds for too.
const journalRoom = 4 << 20

// limit has writes fail that would make a file large, until it is lifted.
func limit(t *testing.T) (lift func()) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: journalRoom, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	}
}

package executor_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// Whoever holds all folders open that tasks of a job had, as one of them may have sent
// them to a task of another job, sees nothing of what tasks of other jobs put into
// theirs, though the job itself uses them again.
func TestRealFoldersOfAnotherJob(t *testing.T) {
	t.Setenv("TMPDIR", "/var/tmp") // or what a task reaches of the node's /tmp is in its own
	r := newReal(t)
	attempt := func(job string, index int, n uint64, script string) api.Assignment {
		as := assignment(job, index, 1, batch, command("/bin/sh", "-c", script))
		as.Submission = n
		return as
	}
	held := map[string]*os.File{} // by inode
	defer func() {
		for _, f := range held {
			f.Close()
		}
	}()
	hold := func(task string) {
		t.Helper()
		dirs, err := filepath.Glob(filepath.Join(r.dir, "executor", "*", task+".1*"))
		if err != nil || len(dirs) != 2 {
			t.Fatalf("folders of %s: %q, %v", task, dirs, err)
		}
		for _, dir := range dirs {
			f, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			fi, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			ino := fmt.Sprint(inodeOf(fi))
			if old := held[ino]; old != nil {
				old.Close()
			}
			held[ino] = f
		}
	}
	const tells = "stat -c %i . /tmp; ls -A . /tmp"
	// One after the other, until one has what an earlier one had: what is kept is known
	// a moment after an end.
	again := false
	for i := 1; i < 200 && !again; i++ {
		task := fmt.Sprintf("mine.%d", i)
		as := attempt("mine", i, 5, tells+"; exec sleep 1000")
		r.Assign(set(as))
		r.state(task, api.TaskRunning)
		var lines []string
		r.until("it told which it has", func() bool {
			lines = strings.Split(r.log(task, executor.LogOptions{}), "\n")
			return len(lines) >= 6
		})
		if got := strings.Join(lines[2:], ","); got != ".:,,/tmp:," {
			t.Errorf("%s finds %q", task, got)
		}
		again = held[lines[0]] != nil || held[lines[1]] != nil
		hold(task)
		stop := attempt("mine", i, 5, tells+"; exec sleep 1000")
		stop.Task.Desired = api.DesiredStop
		r.Assign(set(stop))
		r.state(task, api.TaskKilled)
	}
	if !again {
		t.Error("nothing was used again")
	}
	for i := 1; i <= 20; i++ {
		task := fmt.Sprintf("theirs.%d", i)
		r.Assign(set(attempt("theirs", i, 6, "echo secret >./secret; echo secret >/tmp/secret; stat -c %i . /tmp; exec sleep 1000")))
		r.state(task, api.TaskRunning)
		r.until("it wrote", func() bool { return strings.Count(r.log(task, executor.LogOptions{}), "\n") == 2 })
		for _, ino := range strings.Fields(r.log(task, executor.LogOptions{})) {
			if held[ino] != nil {
				t.Errorf("%s has a folder that somebody holds", task)
			}
		}
		for ino, f := range held {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if names, err := f.Readdirnames(-1); len(names) > 0 && err == nil {
				t.Errorf("whoever holds %s sees %q", ino, names)
			}
		}
	}
}

package executor_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// TestRealTaskUsers: who runs as nobody in particular is a user of its own, which
// reads nothing of another task's, is the same beside it and after a restart of the
// daemon, and leaves nothing if it wrote nothing.
func TestRealTaskUsers(t *testing.T) {
	r := newReal(t)
	as := func(c ...string) func(*api.Task, *api.JobSpec) {
		return func(_ *api.Task, s *api.JobSpec) { s.User, s.Command, s.HostPIDs = api.TaskUser, c, true }
	}
	const who = "id -u; id -g; echo $USER $HOME"
	first := assignment("first", 0, 1, as("sh", "-c", "echo deep > secret; "+who+"; while :; do sleep 1; done"))
	r.Assign(set(first))
	pid := r.state("first.0", api.TaskRunning).PID
	folder := func(task string) string { return filepath.Join(r.dir, "executor", "tasks", task+".1") }
	uid := func(task string) uint32 {
		t.Helper()
		fi, err := os.Stat(folder(task))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Sys().(*syscall.Stat_t).Uid
	}
	is := func(task string, uid uint32) string {
		return fmt.Sprintf("%d\n%[1]d\nmesita-task %s\n", uid, folder(task))
	}
	mine := uid("first.0")
	r.until("the task says who it is", func() bool { return r.log("first.0", executor.LogOptions{}) == is("first.0", mine) })

	tries := who
	for _, way := range []string{
		"cat " + folder("first.0") + "/secret", "ls " + folder("first.0"), "cd " + folder("first.0"), "echo x > " + folder("first.0") + "/new",
		"ls " + filepath.Join(r.dir, "executor", "logs", "first.0"), fmt.Sprintf("cat /proc/%d/environ", pid), fmt.Sprintf("kill -0 %d", pid),
		"ls " + filepath.Join(r.dir, "executor", "tasks"), "cat " + filepath.Join(r.dir, "executor", "journal.db"),
	} {
		tries += fmt.Sprintf("; (%s) 2>/dev/null && echo 'open: %[1]s'", way)
	}
	second := assignment("second", 0, 1, as("sh", "-c", tries+"; echo done; while :; do sleep 1; done"))
	r.Assign(set(first, second))
	r.state("second.0", api.TaskRunning)
	r.until("the other has tried all", func() bool { return strings.HasSuffix(r.log("second.0", executor.LogOptions{}), "done\n") })
	if got, want := r.log("second.0", executor.LogOptions{}), is("second.0", uid("second.0"))+"done\n"; got != want {
		t.Errorf("the other says %q, want %q", got, want)
	}
	if uid("second.0") == mine {
		t.Errorf("both are %d", mine)
	}

	beside := func(when string) {
		t.Helper()
		var out bytes.Buffer
		code, err := r.Exec(t.Context(), executor.ExecRequest{Task: "first.0", Command: []string{"sh", "-c", who + "; cat secret"}, Stdout: &out})
		if want := is("first.0", mine) + "deep\n"; err != nil || code != 0 || out.String() != want {
			t.Errorf("beside it %s: %d, %v: %q, want %q", when, code, err, out.String(), want)
		}
	}
	beside("at first")
	r.stop()
	r.start()
	third := assignment("third", 0, 1, batch, as("sh", "-c", "id -u; : >/dev/stdout && : >/dev/stderr && : </dev/stdin && echo opens its output and input by name"))
	inTmp := assignment("tmp", 0, 1, batch, func(_ *api.Task, s *api.JobSpec) {
		s.User, s.Dir, s.Command = api.TaskUser, "/", []string{"sh", "-c", "id -u; pwd"}
	})
	r.Assign(set(first, second, third, inTmp))
	r.state("third.0", api.TaskFinished)
	r.state("tmp.0", api.TaskFinished)
	beside("after a restart of the daemon")
	if got := r.log("third.0", executor.LogOptions{Follow: true}); !strings.HasSuffix(got, "opens its output and input by name\n") {
		t.Errorf("it says %q", got)
	}
	seen := map[string]bool{fmt.Sprint(mine): true, fmt.Sprint(uid("second.0")): true}
	for _, task := range []string{"third.0", "tmp.0"} {
		got, _, _ := strings.Cut(r.log(task, executor.LogOptions{Follow: true}), "\n")
		if got == "" || seen[got] {
			t.Errorf("%s is %q, which another has", task, got)
		}
		seen[got] = true
		r.until("what "+task+" did not use is gone", func() bool {
			_, err := os.Stat(folder(task))
			return os.IsNotExist(err)
		})
	}
}

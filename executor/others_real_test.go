package executor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// spy tries to get at what is not its own and names what it got at. $1 is the
// node's data folder, $2 the process of another task,
// $3 the keeper's.
const spy = `
got() { echo "got $1"; }
listed() { [ -n "$(ls -A "$1" 2>/dev/null)" ] && got "the names in $2"; }
read1() { for f in $1; do cat "$f" >/dev/null 2>&1 && { got "$2"; break; }; done; }
listed "$1/executor" "the data folder"
listed "$1/executor/tasks" "the folder of all tasks"
listed "$1/executor/logs" "the folder of all logs"
listed "$1/executor/blobs" "the folder of all programs"
listed "$1/keeper" "the keeper's folder"
for s in keeper.sock sock socket; do [ -w "$1/keeper/$s" ] && got "the keeper's socket"; done
read1 "$1/executor/journal.db" "the journal"
read1 "$1/executor/tasks/victim.0.1/own" "a file of another task"
[ -w "$1/executor/tasks/victim.0.1" ] && got "another task's folder"
(: >"$1/executor/tasks/planted") 2>/dev/null && got "the folder of all tasks to write"
(: >"$1/executor/planted") 2>/dev/null && got "the data folder to write"
for f in $1/executor/logs/victim.0/1/*; do read1 "$f" "another task's log"; done
[ -n "$(ls -A "$1/executor/logs/victim.0/1" 2>/dev/null)" ] && got "the names of another task's log"
read1 "/proc/$2/environ" "another task's environment"
ls "/proc/$2/root/" >/dev/null 2>&1 && got "another task's root"
ls "/proc/$2/fd/" >/dev/null 2>&1 && got "another task's open files"
kill -0 "$2" 2>/dev/null && got "another task by signals"
for g in $(cut -d: -f3 "/proc/$2/cgroup" 2>/dev/null | sort -u); do
  for f in /sys/fs/cgroup$g/cgroup.procs /sys/fs/cgroup/*$g/cgroup.procs /sys/fs/cgroup/*$g/memory.limit_in_bytes /sys/fs/cgroup$g/memory.max; do
    [ "$g" != / ] && [ -w "$f" ] && got "another task's group"
  done
done
read1 "/proc/$3/environ" "the keeper's environment"
kill -0 "$3" 2>/dev/null && got "the keeper by signals"
echo done
`

// A task that is not root reaches nothing of the node's and of other tasks', even
// where it sees their processes. That the attempts are in earnest is shown by
// root that is privileged, which gets at all of it; other root gets at no file of
// the node.
func TestATaskReachesOnlyItsOwn(t *testing.T) {
	r := newReal(t)
	r.Assign(set(assignment("victim", 0, 1, command("/bin/sh", "-c", "echo written; echo x >own; exec sleep 600"), func(_ *api.Task, s *api.JobSpec) { s.Env = map[string]string{"SECRET": "s"} })))
	pid := r.state("victim.0", api.TaskRunning).PID
	own := filepath.Join(r.dir, "executor", "tasks", "victim.0.1", "own")
	r.until("the other task has its file", func() bool { _, err := os.Stat(own); return err == nil })
	keeper, err := os.ReadFile(filepath.Join(r.dir, "keeper", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutBlob("sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", -1, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	tries := func(job, user string, seesAll, privileged bool) map[string]bool {
		r.Assign(append(set(assignment("victim", 0, 1)), assignment(job, 0, 1, batch, command("/bin/sh", "-c", spy, "sh", r.dir, fmt.Sprint(pid), strings.TrimSpace(string(keeper))),
			func(_ *api.Task, s *api.JobSpec) { s.User, s.HostPIDs, s.Privileged = user, seesAll, privileged })))
		r.state(job+".0", api.TaskFinished)
		out := r.log(job+".0", executor.LogOptions{Follow: true})
		if !strings.HasSuffix(out, "done\n") {
			t.Fatalf("%s: %q", job, out)
		}
		all := map[string]bool{}
		for _, line := range strings.Split(strings.TrimSuffix(out, "done\n"), "\n") {
			if strings.HasPrefix(line, "got ") {
				all[line] = true
			}
		}
		return all
	}
	if got := tries("nobody", "65534", true, false); len(got) > 0 {
		t.Errorf("a task of another user: %v", got)
	}
	if got := tries("hidden", "65534", false, false); len(got) > 0 {
		t.Errorf("a task that sees its own processes only: %v", got)
	}
	usual := tries("usual", "", true, false)
	for _, what := range []string{"the keeper's environment", "the keeper's socket", "the journal", "a file of another task", "another task's folder", "another task's log",
		"the folder of all tasks to write", "the data folder to write", "another task's group"} {
		if usual["got "+what] {
			t.Errorf("root gets at %s", what)
		}
	}
	if len(usual) == 0 {
		t.Error("root gets at nothing")
	}
	got := tries("root", "", true, true)
	for line := range strings.Lines(spy) {
		for _, part := range strings.Split(line, `"`) {
			what := !strings.Contains(part, "$") && (strings.HasPrefix(part, "another ") || strings.HasPrefix(part, "the ") || strings.HasPrefix(part, "a file "))
			if what && !got["got "+part] && !got["got the names in "+part] {
				t.Errorf("root does not get at %s: the attempt is none", part)
			}
		}
	}
}

// A folder, made ahead or not, is empty, its owner's, and closed to others.
func TestAWorkingFolderIsItsOwners(t *testing.T) {
	r := newReal(t)
	var as []api.Assignment
	for i, user := range []string{"", "65534", "", "65534:1", "", "65533"} {
		job := fmt.Sprint("f", i)
		as = append(as, assignment(job, 0, 1, batch, command("/bin/sh", "-c", "stat -c %u:%g:%a .; ls -A"), func(_ *api.Task, s *api.JobSpec) { s.User = user }))
		r.Assign(as)
		r.state(job+".0", api.TaskFinished)
		want := map[string]string{"": "0:0:700", "65534": "65534:65534:700", "65534:1": "65534:1:700", "65533": "65533:65533:700"}[user]
		if got := r.log(job+".0", executor.LogOptions{Follow: true}); got != want+"\n" {
			t.Errorf("%s, as %q: %q, want %q", job, user, got, want)
		}
	}
}

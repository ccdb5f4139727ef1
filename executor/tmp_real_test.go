package executor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// An attempt's /tmp is its own, and that of what runs beside it, also after a restart
// of the daemon; nothing is left of it once the attempt ended, with a daemon there or
// not. Who is let out has the machine's.
func TestRealTemporaryFolders(t *testing.T) {
	r := newReal(t)
	marker, err := os.CreateTemp("/tmp", "mesita-marker-")
	if err != nil {
		t.Fatal(err)
	}
	marker.Close()
	defer os.Remove(marker.Name())
	name := filepath.Base(marker.Name())
	lasts := command("sh", "-c", "mkdir -p /tmp/mine/deep; ls /tmp /dev/shm; echo done; exec sleep 1000")
	first, second := assignment("first", 0, 1, lasts), assignment("second", 0, 1, lasts)
	out := assignment("out", 0, 1, batch, command("ls", marker.Name()), func(_ *api.Task, s *api.JobSpec) { s.Unconfined = []string{api.PartTmp} })
	r.Assign(set(first, second, out))
	r.state("out.0", api.TaskFinished)
	if got := r.log("out.0", executor.LogOptions{Follow: true}); got != marker.Name()+"\n" {
		t.Errorf("who is let out finds %q", got)
	}
	beside := func(when, task string, command string, want string) {
		t.Helper()
		var out bytes.Buffer
		code, err := r.Exec(t.Context(), executor.ExecRequest{Task: task, Command: []string{"sh", "-c", command}, Stdout: &out})
		if err != nil || code != 0 || out.String() != want {
			t.Errorf("beside %s %s: %d, %v: %q, want %q", task, when, code, err, out.String(), want)
		}
	}
	known := func(task string) {
		t.Helper()
		r.until("the daemon knows what runs", func() bool {
			_, err := r.Exec(t.Context(), executor.ExecRequest{Task: task, Command: []string{"true"}})
			return err == nil
		})
	}
	for _, task := range []string{"first.0", "second.0"} {
		r.state(task, api.TaskRunning)
		r.until("it made its own", func() bool { return len(r.log(task, executor.LogOptions{})) > 0 })
	}
	beside("at first", "first.0", "ls /tmp | grep -v '^mine$' | grep -c "+name+"; echo x > /tmp/mine/x; [ -d /dev/shm ] && echo y > /dev/shm/y", "0\n")
	beside("at first", "second.0", "find /tmp/mine /dev/shm -type f", "")
	r.stop()
	r.start()
	r.Assign(set(first, second))
	known("first.0")
	beside("after a restart", "first.0", "cat /tmp/mine/x /dev/shm/y", "x\ny\n")
	temps := func() []string {
		all, err := filepath.Glob(filepath.Join(r.dir, "executor", "tmp", "*.*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	// One ends below this daemon, one while none is there, and one is another's for whom
	// no daemon knows any more.
	r.Assign(set(second, assignment("first", 0, 1, lasts, stopped)))
	r.state("first.0", api.TaskKilled)
	r.until("the first one's is gone", func() bool { return len(temps()) == 1 })
	beside("after the other's end", "second.0", "find /tmp/mine", "/tmp/mine\n/tmp/mine/deep\n")
	if err := os.MkdirAll(filepath.Join(r.dir, "executor", "tmp", "nobodys.0.7", "rest"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.start()
	r.Assign(set(second))
	r.until("what is nobody's is gone", func() bool { return len(temps()) == 1 })
	known("second.0")
	beside("at last", "second.0", "find /tmp/mine", "/tmp/mine\n/tmp/mine/deep\n")
}

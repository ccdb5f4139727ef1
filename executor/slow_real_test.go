//go:build (amd64 || arm64) && !startbythread

package executor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// byThread reports whether a task is started without a script: who starts it waits for
// its exec then, and the limits of another user's are set from outside.
const byThread = false

// stuckProgram is one that hangs in its exec until the test is over, as on a file
// server that is gone: whoever opens it waits for a lease.
func stuckProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sleep")
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skip("this file system has no leases: " + err.Error())
	}
	return path
}

// TestRealStuckStarts: programs that hang in their exec, more of them than
// start at once, hold up no other start, and are stopped like any task.
func TestRealStuckStarts(t *testing.T) {
	path := stuckProgram(t)
	r := newReal(t)
	const stuck = 40
	hangs := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
		change = append(change, command(path, "1000"), func(_ *api.Task, s *api.JobSpec) { s.StopGrace = api.Duration(50 * time.Millisecond) })
		var as []api.Assignment
		for i := range stuck {
			as = append(as, assignment("stuck", i, 1, change...))
		}
		return as
	}
	others := func() []api.Assignment {
		var as []api.Assignment
		for i := range 20 {
			as = append(as, assignment("other", i, 1, batch, command("true")))
		}
		return as
	}
	r.Assign(hangs())
	r.Assign(append(hangs(), others()...))
	for i := range 20 {
		r.state(api.TaskID("other", i), api.TaskFinished)
	}
	r.Assign(append(hangs(stopped), others()...))
	for i := range stuck {
		r.state(api.TaskID("stuck", i), api.TaskKilled)
	}
}

// TestRealHungSinceTheDaemonLeft: a task whose program hangs in its exec is
// stopped though the daemon that is back cannot even find the program any more.
func TestRealHungSinceTheDaemonLeft(t *testing.T) {
	path := stuckProgram(t)
	r := newReal(t)
	as := []api.Assignment{assignment("stuck", 0, 1, command(path, "1000"))}
	r.Assign(as)
	r.until("the keeper starts it", func() bool {
		all, err := r.rt.Running(t.Context())
		return err == nil && len(all) == 1
	})
	r.stop()
	hang(t, filepath.Dir(path))
	r.start()
	r.Assign(as)
	r.Assign([]api.Assignment{assignment("stuck", 0, 1, command(path, "1000"), stopped)})
	r.state(api.TaskID("stuck", 0), api.TaskKilled)
	r.until("the keeper has no process of it", func() bool {
		all, err := r.rt.Running(t.Context())
		return err == nil && len(all) == 0
	})
}

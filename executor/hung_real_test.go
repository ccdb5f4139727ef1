package executor_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// hang makes dir a file system that answers nothing until the test is over, as
// that of a file server that is gone: looking for a file there takes as long.
func hang(t *testing.T, dir string) {
	t.Helper()
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no file system can be made that hangs: %v", err)
	}
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server)); err != nil {
		unix.Close(server)
		t.Skipf("no file system can be made that hangs: %v", err)
	}
	t.Cleanup(func() {
		unix.Close(server) // whoever waits fails
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestRealHungFileSystem: tasks whose program or folder is on a file system that
// hangs, more of them than start at once, hold up no other start, and are
// stopped like any task.
func TestRealHungFileSystem(t *testing.T) {
	hung := t.TempDir()
	hang(t, hung)
	r := newReal(t)
	const stuck = 40
	quick := func(_ *api.Task, s *api.JobSpec) { s.StopGrace = api.Duration(50 * time.Millisecond) }
	hangs := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
		var as []api.Assignment
		for i := range stuck {
			as = append(as, assignment("program", i, 1, append(change, quick, command(filepath.Join(hung, "sleep"), "1000"))...),
				assignment("folder", i, 1, append(change, quick, command("/bin/sleep", "1000"), func(_ *api.Task, s *api.JobSpec) { s.Dir = filepath.Join(hung, "folder") })...))
		}
		return as
	}
	var others []api.Assignment
	for i := range 20 {
		others = append(others, assignment("other", i, 1, batch, command("true")))
	}
	r.Assign(hangs())
	r.Assign(append(hangs(), others...))
	for i := range 20 {
		r.state(api.TaskID("other", i), api.TaskFinished)
	}
	r.Assign(append(hangs(stopped), others...))
	for i := range stuck {
		r.state(api.TaskID("program", i), api.TaskKilled)
		r.state(api.TaskID("folder", i), api.TaskKilled)
	}
}

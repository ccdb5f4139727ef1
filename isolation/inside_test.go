package isolation

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Whoever is in a task is told apart, however it was started there, and nobody
// else is; one that was let out is nobody else's business.
func TestWhoIsConfined(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := start(t, s, confined(program("/bin/sleep", "sleep", "1000")))
	free := start(t, create(t, h, "job/free", Limits{}), program("/bin/sleep", "sleep", "1000"))
	gone := exec.Command("/bin/true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pid  int
		want bool
	}{"a task": {p.Pid, true}, "a privileged one": {free.Pid, false}, "this program": {os.Getpid(), false}, "one that is gone": {gone.Process.Pid, true}} {
		if got := h.Confines(c.pid); got != c.want {
			t.Errorf("%s is confined: %v", name, got)
		}
	}
	for _, x := range []*Process{p, free} {
		if err := x.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		wait(t, x)
	}
}

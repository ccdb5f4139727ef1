package keeper_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

// What is asked of a keeper that does not answer is refused as that, in time, and
// a start among it is not begun as the keeper wakes; what ran goes on. One of the
// version before is asked as well.
func TestAKeeperThatDoesNotAnswer(t *testing.T) {
	for name, rigOf := range map[string]func(*testing.T) (*rig, *client){
		"ours": func(t *testing.T) (*rig, *client) {
			r := newRig(t)
			c := r.client()
			c.start("a.0/1", "/bin/sleep", "1000")
			return r, c
		},
		"before": func(t *testing.T) (*rig, *client) { return upgraded(t, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it waits
			r, c := rigOf(t)
			b, err := os.ReadFile(filepath.Join(r.dir, "pid"))
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			signal := func(sig syscall.Signal) {
				t.Helper()
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			}
			signal(syscall.SIGSTOP)
			wake := sync.OnceFunc(func() { signal(syscall.SIGCONT) })
			t.Cleanup(wake) // before the rig's
			r.until("that it is silent is known", func() bool { return errors.Is(c.Check(t.Context()), keeper.ErrSilent) })
			var asked sync.WaitGroup
			asked.Go(func() {
				if _, err := c.Start(t.Context(), r.request("b.0/1", "/bin/sleep", "1000")); !errors.Is(err, keeper.ErrSilent) || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
					t.Errorf("a start: %v", err)
				}
			})
			asked.Go(func() {
				_, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: program("/bin/true")}})
				if !errors.Is(err, keeper.ErrSilent) {
					t.Errorf("a command: %v", err)
				}
			})
			asked.Wait()
			wake()
			r.until("it answers", func() bool { return c.Check(t.Context()) == nil })
			if got := c.states(); len(got) != 1 || got["a.0/1"] != keeper.Running {
				t.Errorf("it has %v", got)
			}
			c.start("b.0/1", "/bin/sleep", "1000")
		})
	}
}

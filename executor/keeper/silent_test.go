package keeper_test

import (
	"errors"
	"fmt"
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

// A start that was sent as the keeper stopped is told to be none in time, and is
// none once the keeper wakes, so that it can be moved meanwhile. The next one
// starts.
func TestAStartOfASleepingKeeper(t *testing.T) {
	t.Parallel() // most of it waits
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	pid := r.keeperPID()
	signal := func(sig syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // before the rig's
	mark := filepath.Join(t.TempDir(), "ran")
	sent := false
	for try := 0; !sent; try++ { // a start a second after the last answer is not sent
		if try == 5 {
			t.Fatal("no start was sent to the keeper that sleeps, so the test shows nothing")
		}
		if err := c.Signal(t.Context(), "a.0/1", syscall.SIGCONT); err != nil { // it answers
			t.Fatal(err)
		}
		signal(syscall.SIGSTOP)
		r.until("each thread is stopped: one that runs on may note the start", func() bool { return stopped(t, pid) })
		_, err := c.Start(t.Context(), r.request("b.0/1", "/bin/touch", mark))
		if !errors.Is(err, keeper.ErrSilent) {
			t.Fatalf("a start: %v", err)
		}
		sent = strings.Contains(err.Error(), "did not begin this start")
		signal(syscall.SIGCONT)
	}
	c.start("c.0/1", "/bin/true")
	c.exit("c.0/1")
	r.until("the keeper has done all that it was asked", func() bool { _, has := c.states()["b.0/1"]; return !has })
	if _, err := os.Stat(mark); err == nil {
		t.Error("a start that was given up was begun as the keeper woke")
	}
	if ledger, err := os.ReadFile(filepath.Join(r.dir, "ledger")); err != nil || !strings.Contains(string(ledger), "b.0/1") {
		t.Errorf("the keeper never came to that start, and the test shows nothing: %v", err)
	}
}

// stopped reports whether all threads of a process are.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("the threads of %d: %d, %v", pid, len(threads), err)
	}
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it ended
		}
		if _, state, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// What is asked of a keeper that does not answer is refused as that, in time, and
// a start among it is not begun as the keeper wakes; what ran continues. One of the
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

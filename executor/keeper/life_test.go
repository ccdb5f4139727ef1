package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mesita/mesita/executor/keeper"
)

// TestKeeperKilled: the next keeper kills what was left, keeps the exits that
// were not taken note of, and says what is lost.
func TestKeeperKilled(t *testing.T) {
	r := newRig(t)
	c := r.client()
	pid := c.start("a.0/1", "/bin/sleep", "1000").PID
	c.start("a.1/1", "/bin/sh", "-c", "exit 4")
	c.exit("a.1/1")
	if err := syscall.Kill(r.keeperPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.until("the loss is told", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.events) > 0 && c.events[len(c.events)-1].State == keeper.Reset
	})
	all, err := c.Running(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("running %+v %v", all, err)
	}
	for _, st := range all {
		switch {
		case st.ID == "a.0/1" && st.State == keeper.Lost:
		case st.ID == "a.1/1" && st.State == keeper.Ended && st.Code == 4:
		default:
			t.Errorf("status %+v", st)
		}
	}
	r.until("the orphan dies", func() bool { return !alive(pid) })
	if _, err := c.Start(t.Context(), r.request("a.0/1", "/bin/true")); !errors.Is(err, keeper.ErrLost) {
		t.Fatalf("error %v", err)
	}
	c.start("a.0/2", "/bin/true")
	c.exit("a.0/2")
}

func TestKeeperEndsWhenIdle(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/true")
	c.exit("a.0/1")
	gone := func() bool {
		_, err := os.Stat(filepath.Join(r.dir, "pid"))
		return errors.Is(err, os.ErrNotExist)
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.until("the keeper ends as it is told to", gone)
	d := r.client()
	all, err := d.Running(t.Context())
	if err != nil || len(all) != 1 || all[0].State != keeper.Ended {
		t.Fatalf("the exit was lost with the keeper: %+v %v", all, err)
	}
	if err := d.Forget(t.Context(), "a.0/1"); err != nil {
		t.Fatal(err)
	}
	d.leave()
	r.until("the keeper ends when nobody is left who could ask", gone)
}

// A keeper that ends because it is told to, or has nothing to do, says so before
// its connections close: a daemon would take it for dead and start another one.
func TestKeeperSaysGoodbye(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		c := r.client()
		id := fmt.Sprintf("a.%d/1", i)
		c.start(id, "/bin/true")
		c.exit(id)
		if err := c.Quit(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.until("the keeper ends", func() bool {
			_, err := os.Stat(filepath.Join(r.dir, "pid"))
			return errors.Is(err, os.ErrNotExist)
		})
		c.start(id+"0", "/bin/true") // by a new keeper: the old connection was read to its end
		c.exit(id + "0")
		c.mu.Lock()
		for _, st := range c.events {
			if st.State == keeper.Reset {
				t.Fatalf("round %d: the daemon took the keeper for dead", i)
			}
		}
		c.mu.Unlock()
		c.leave()
	}
}

package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
	"golang.org/x/sys/unix"
)

// hangingLedger makes a pipe of the rig's ledger: once hang was called whoever
// writes to it waits, and hears of no error, until answer is.
func hangingLedger(r *rig) (hang, answer func()) {
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		r.Fatal(err)
	}
	path := filepath.Join(r.dir, "ledger.new") // that becomes the ledger
	if err := unix.Mkfifo(path, 0o600); err != nil {
		r.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	hang = func() {
		for _, n := range []int{4096, 1} {
			for b := make([]byte, n); ; {
				_, err := unix.Write(fd, b)
				if errors.Is(err, unix.EAGAIN) {
					break
				} else if err != nil {
					r.Fatal(err)
				}
			}
		}
	}
	var reading sync.WaitGroup
	answer = sync.OnceFunc(func() {
		reading.Go(func() {
			for b := make([]byte, 64<<10); ; {
				if _, err := f.Read(b); err != nil {
					return // the test is over
				}
			}
		})
	})
	ended := r.TB
	r.Cleanup(func() {
		if err := f.Close(); err != nil {
			ended.Error(err)
		}
		reading.Wait()
	})
	return hang, answer
}

// While the ledger cannot be written, more starts than begin at once, ends and
// what is forgotten wait for it, and nothing else does: a task that is to stop is
// told so at once, others are killed, frozen, looked at, and have commands run
// beside them. Nobody hears of an end before it is noted.
func TestOnlyWhatIsNotedWaitsForTheLedger(t *testing.T) {
	r := newRig(t)
	hang, answer := hangingLedger(r)
	c := r.client()
	polite := c.start("polite.0/1", "/bin/sleep", "1000").PID
	killed := c.start("killed.0/1", "/bin/sleep", "1000").PID
	c.start("other.0/1", "/bin/sleep", "1000")
	c.start("ended.0/1", "/bin/true")
	c.exit("ended.0/1")
	hang()
	defer answer()
	ctx := t.Context()
	var work sync.WaitGroup
	results := make(chan error, 100)
	for i := range 50 {
		work.Go(func() {
			_, err := c.Start(ctx, r.request(fmt.Sprintf("late.%d/1", i), "/bin/true"))
			results <- err
		})
	}
	work.Go(func() { results <- c.Forget(ctx, "ended.0/1") })
	r.until("all starts are in hand", func() bool {
		all, err := c.Running(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(all) == 53 // the ended one is forgotten
	})
	if err := errors.Join(c.Signal(ctx, "polite.0/1", syscall.SIGTERM), c.Kill(ctx, "killed.0/1"), c.Kill(ctx, "late.0/1")); err != nil {
		t.Fatal(err)
	}
	r.until("the tasks end", func() bool { return !alive(polite) && !alive(killed) })
	if _, err := c.Stats(ctx, "other.0/1"); err != nil {
		t.Error(err)
	}
	if _, err := c.Freeze(ctx, "other.0/1"); err != nil && !errors.Is(err, keeper.ErrUnfreezable) {
		t.Error(err)
	}
	if _, err := c.Thaw(ctx, "other.0/1"); err != nil {
		t.Error(err)
	}
	if res, err := c.Exec(ctx, keeper.ExecRequest{ID: "other.0/1", Spec: isolation.Spec{Program: program("/bin/sh", "-c", "exit 3")}}); err != nil || res.Code != 3 {
		t.Errorf("a command beside a task: %+v, %v", res, err)
	}
	all, err := c.Running(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range all {
		if st.State == keeper.Ended {
			t.Errorf("the end of %s is told, and not noted", st.ID)
		}
	}
	if _, told := c.event("polite.0/1"); told {
		t.Error("an end was told before it was noted")
	}
	if len(results) > 0 {
		t.Errorf("%d starts, or the rest, did not wait for the ledger, and the test shows nothing: %v", len(results), <-results)
	}
	answer()
	if st := c.exit("polite.0/1"); st.Signal != syscall.SIGTERM {
		t.Errorf("it ended with %+v", st)
	}
	if st := c.exit("killed.0/1"); st.Signal != syscall.SIGKILL {
		t.Errorf("it ended with %+v", st)
	}
	work.Wait()
	failed := 0
	for len(results) > 0 {
		if err := <-results; err != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d of what waited failed; only what was killed before it began should", failed)
	}
}

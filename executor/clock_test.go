package executor_test

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

var jumps = []time.Duration{time.Hour, -time.Hour, 200 * 24 * time.Hour, -200 * 24 * time.Hour}

func twoMinutes(_ *api.Task, s *api.JobSpec) { s.Time = api.Duration(2 * time.Minute) }

// eachJump runs a test with each jump of the clock, with and without a restart
// of the daemon after it.
func eachJump(t *testing.T, f func(t *testing.T, n *node, jump func())) {
	t.Helper()
	for _, by := range jumps {
		for _, restart := range []bool{false, true} {
			bubble(t, func(t *testing.T, n *node) {
				f(t, n, func() {
					n.rt.Jump(by)
					if restart {
						n.stop()
						n.start()
						settle()
					}
				})
			})
		}
	}
}

// A time limit is neither shorter nor longer for a clock that jumps, and what
// is reported of the attempt says how long it really ran.
func TestTimeLimitWhenTheClockJumps(t *testing.T) {
	eachJump(t, func(t *testing.T, n *node, jump func()) {
		as := set(assignment("b", 0, 1, batch, twoMinutes))
		n.Assign(as)
		settle()
		pass(time.Minute)
		jump()
		n.Assign(as)
		pass(58 * time.Second)
		equal(t, "alive", n.rt.Alive(), []string{"b.0/1"})
		pass(3 * time.Second)
		settle()
		st := n.sink.last("b.0")
		if st.State != api.TaskFailed || st.Reason != api.ReasonTimeLimit {
			t.Fatalf("status %+v", st)
		}
		n.sink.ran(t, "b.0", 2*time.Minute)
	})
}

// ran checks how long the attempt ran by what was reported.
func (s *sink) ran(t *testing.T, task string, want time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var began time.Time
	for _, st := range s.all {
		if st.Task == task && st.State == api.TaskRunning && began.IsZero() {
			began = st.Time
		}
		if st.Task == task && st.State.Final() {
			if got := st.Time.Sub(began); (got - want).Abs() > time.Second {
				t.Fatalf("it ran for %s by its report, want %s", got, want)
			}
			return
		}
	}
	t.Fatal("no end was reported")
}

// A task that is asked to stop has its whole grace time.
func TestGraceWhenTheClockJumps(t *testing.T) {
	for _, by := range jumps {
		bubble(t, func(t *testing.T, n *node) {
			n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: true} }
			n.Assign(set(assignment("deaf", 0, 1)))
			settle()
			n.Assign(set(assignment("deaf", 0, 1, stopped)))
			settle()
			pass(5 * time.Second)
			n.rt.Jump(by)
			pass(4 * time.Second)
			equal(t, "alive within the grace time", n.rt.Alive(), []string{"deaf.0/1"})
			pass(2 * time.Second)
			settle()
			equal(t, "states", n.sink.states("deaf.0"), []string{"1 TASK_RUNNING", "1 TASK_KILLED stopped"})
		})
	}
}

// An attempt whose keeper died ran for as long as it did.
func TestKeeperLostWhenTheClockJumps(t *testing.T) {
	eachJump(t, func(t *testing.T, n *node, jump func()) {
		as := set(assignment("b", 0, 1, batch))
		n.Assign(as)
		settle()
		pass(time.Minute)
		jump()
		n.Assign(as)
		settle()
		n.rt.KillKeeper()
		settle()
		n.sink.ran(t, "b.0", time.Minute)
	})
}

// A disk that was looked at before the clock went back is looked at again.
func TestDiskWhenTheClockJumps(t *testing.T) {
	eachJump(t, func(t *testing.T, n *node, jump func()) {
		looked := 0
		n.stop()
		n.cfg = func(c *executor.Config) {
			c.DiskFree = func(string) (int64, int64, error) { looked++; return 100 << 30, 200 << 30, nil }
		}
		n.start()
		n.DiskFull()
		jump()
		pass(time.Second)
		before := looked
		n.DiskFull()
		if looked == before {
			t.Fatal("it was not looked at again")
		}
	})
}

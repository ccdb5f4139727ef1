package keeper_test

import (
	"testing"

	"github.com/mesita/mesita/executor/clock"
	"github.com/mesita/mesita/executor/logs"
)

// The timers of a task are as exact as outside, though those of the daemon that
// started its keeper are not.
func TestTasksDoNotInheritTheDaemonsSlack(t *testing.T) {
	r := newRig(t)
	if err := clock.SetSlack(clock.IdleSlack); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := clock.SetSlack(clock.UsualSlack); err != nil {
			t.Error(err)
		}
	}()
	c := r.client()
	c.start("a.0/1", "/bin/cat", "/proc/self/timerslack_ns")
	c.exit("a.0/1")
	if got := r.output("a.0/1", logs.Options{Follow: true}); got != "50000\n" {
		t.Errorf("a task's slack is %q ns", got)
	}
}

package api

import (
	"strings"
	"testing"
	"time"
)

// What holds a task up is named: its own limit, that of an older version, and
// those of the partitions above it.
func TestHeldUp(t *testing.T) {
	ms := func(n int64) Throttle { return Throttle{Throttled: time.Duration(n) * time.Millisecond} }
	for _, c := range []struct {
		want string
		s    TaskStats
	}{
		{"", TaskStats{CPULimit: 500, Bounds: []BoundStats{{Partition: "ml", Limit: 4000, Here: 2000}}}},
		{"20ms by its CPU limit of 0.5", TaskStats{Throttle: ms(20), CPULimit: 500}},
		{"20ms by the quota that an earlier mesita gave it, until it is replaced", TaskStats{Throttle: ms(20)}},
		{"1.5s (in 70 of 75 periods) by its CPU limit of 0.5; and 3ms, with all of partition ml on this node, by its hard limit of 4 CPUs, 1.3 here",
			TaskStats{Throttle: Throttle{1500 * time.Millisecond, 75, 70}, CPULimit: 500,
				Bounds: []BoundStats{{Partition: "ml/x", Limit: 1000, Here: 300}, {Partition: "ml", Limit: 4000, Here: 1300, Throttle: ms(3)}}}},
	} {
		if got := c.s.HeldUp(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestExecutorUpdatesAreBounded(t *testing.T) {
	for _, c := range []struct {
		u    ExecutorUpdate
		want string
	}{
		{ExecutorUpdate{ID: make([]byte, 16), Status: []byte("s")}, ""},
		{ExecutorUpdate{ID: make([]byte, 15), Status: []byte("s")}, "update.id"},
		{ExecutorUpdate{ID: make([]byte, 16)}, "update.status"},
		{ExecutorUpdate{ID: make([]byte, 16), Status: make([]byte, MaxExecutorUpdate+1)}, "update.status"},
	} {
		if err := c.u.Validate(); (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%d and %d bytes: %v, want %q", len(c.u.ID), len(c.u.Status), err, c.want)
		}
	}
}

// A task that an executor runs has no program of its own; all else is checked as before.
func TestHostedSpecsHaveNoCommand(t *testing.T) {
	spec := func(command ...string) *JobSpec {
		s := &JobSpec{Kind: KindBatch, TaskSpec: TaskSpec{Command: command}}
		s.Normalize()
		return s
	}
	if err := spec().ValidateHosted(); err != nil {
		t.Error(err)
	}
	if spec().Validate() == nil || spec("sleep").ValidateHosted() == nil {
		t.Error("only what an executor runs has no command, and it has none")
	}
	s := spec()
	s.CPUs = -1
	if s.ValidateHosted() == nil {
		t.Error("the rest of a spec is not checked")
	}
}

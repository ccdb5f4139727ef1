package isolation

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// quotaOf is what the files of a group are to hold.
func quotaOf(h *Host, group string, us int64) quota {
	if l, ok := h.limiter.(*v1); ok {
		return l.quota(group, us)
	}
	return h.limiter.(*unified).quota(group, us)
}

// A group above tasks is bounded with all that is in it, whichever of two groups
// is bounded first and whichever has less: what counts is the lesser.
func TestGroupsAreBounded(t *testing.T) {
	h := needController(t, "cpu")
	s := create(t, h, "part/job/task", Limits{CPUWeight: 10})
	other := create(t, h, "other/job/task", Limits{CPUWeight: 10})
	ready(t, s, sh("for i in 1 2 3; do while :; do :; done & done; echo ready; wait"))
	ready(t, other, sh("while :; do :; done & echo ready; wait"))
	bound := func(group string, milli int64) {
		t.Helper()
		if err := h.LimitCPU(group, milli); err != nil {
			t.Fatalf("%s to %d: %v", group, milli, err)
		}
	}
	_, nested := h.limiter.(*v1)
	holds := func(group string, milli, under int64) {
		t.Helper()
		if nested && under > 0 { // the kernel wants the least of all above in the file itself
			milli = min(milli, under)
		}
		if err := readBack([]setting{quotaOf(h, group, cpuQuota(Limits{MilliCPU: milli})).quota}); err != nil {
			t.Error(err)
		}
	}
	bound("part/job/task", 900)
	bound("part", 200) // below that of the task
	holds("part", 200, 0)
	holds("part/job/task", 900, 200)
	bound("part/job/task", 500) // above that of the partition
	holds("part/job/task", 500, 200)
	bound("part", 700)
	bound("part/job/task", 500) // whoever raises the one says the other again
	holds("part/job/task", 500, 700)
	bound("part/job/task", 0)
	holds("part/job/task", 0, 0)
	bound("part/job", 100)
	got, err := h.Limited()
	if slices.Sort(got); err != nil || strings.Join(got, " ") != "part part/job" {
		t.Errorf("bounded are %q: %v", got, err)
	}
	was := stats(t, s).CPU
	eventually(t, "it is held up", func() bool {
		th, err := h.Throttling("part/job")
		return err == nil && th.Exhausted > 3 && th.Periods >= th.Exhausted && th.Throttled > 300*time.Millisecond
	})
	if th, err := h.Throttling("other"); err != nil || th != (Throttling{}) {
		t.Errorf("another was held up: %+v, %v", th, err)
	}
	if used := stats(t, s).CPU - was; used == 0 {
		t.Error("it ran no more")
	}
	bound("part", 0)
	bound("part/job", 0)
	if got, err := h.Limited(); err != nil || len(got) > 0 {
		t.Errorf("bounded are %q: %v", got, err)
	}
	for _, s := range []*Slice{s, other} {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	}
}

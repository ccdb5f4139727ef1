package isolation

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWeight(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		want        uint64
	}{
		{100, 2000, 500}, {1, 2000, 5}, {2000, 2000, 10_000}, {3000, 2000, 10_000}, {1, 1 << 40, 1}, {0, 2000, 1}, {5, 0, 1}, {1, 3, 3333}, {2, 3, 6667},
		{1 << 49, 1 << 50, 5000},
	} {
		if got := Weight(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d weighs %d, and not %d", c.part, c.whole, got, c.want)
		}
	}
}

// weighs is what the kernel has for a group.
func weighs(t *testing.T, h *Host, group string, want uint64) bool {
	t.Helper()
	s, ok := h.limiter.weight(group, want)
	if !ok {
		t.Fatal("there are no weights here")
	}
	now, err := readFile(s.dir, s.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(now)) == s.value
}

// The groups above the first slice in them weigh as much as it does, until they
// are told otherwise; a group that is not there is not made.
func TestWeigh(t *testing.T) {
	h := needController(t, "cpu")
	create(t, h, "part/sub/job/1", Limits{CPUWeight: 4321})
	create(t, h, "part/sub/job/2", Limits{CPUWeight: 17})
	for group, want := range map[string]uint64{"part": 4321, "part/sub": 4321, "part/sub/job": 4321, "part/sub/job/1": 4321, "part/sub/job/2": 17} {
		if !weighs(t, h, group, want) {
			t.Errorf("%s does not weigh %d", group, want)
		}
	}
	for _, group := range []string{"", "part", "part/sub/job/2"} {
		for _, w := range []uint64{1, 10_000} {
			if err := h.Weigh(group, w); err != nil || !weighs(t, h, group, w) {
				t.Errorf("%q was to weigh %d: %v", group, w, err)
			}
		}
	}
	if err := h.Weigh("part/other", 5); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group that is not there was weighed: %v", err)
	}
	if err := h.Weigh("../x", 5); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group beside the top slice: %v", err)
	}
}

// onOneCPU starts something in the slice that never rests, on the first CPU that
// we may use, so that what else runs on the machine does not count.
func onOneCPU(t *testing.T, s *Slice) {
	t.Helper()
	p := start(t, s, sh("while :; do :; done"))
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		wait(t, p)
	})
	var ours, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if ours.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(p.Pid, &one); err != nil {
		t.Fatal(err)
	}
}

// A busy CPU is divided by weight at each level, and an idle one is whoever's
// wants it: no weight holds anything up.
func TestWeightDividesABusyCPU(t *testing.T) {
	h := needController(t, "cpu")
	one, three := create(t, h, "p/a/1", Limits{CPUWeight: 100}), create(t, h, "q/b/1", Limits{CPUWeight: 300})
	onOneCPU(t, one)
	onOneCPU(t, three)
	used := func() (a, b time.Duration) { return stats(t, one).CPU, stats(t, three).CPU }
	var a0, b0 time.Duration
	eventually(t, "both run", func() bool { a0, b0 = used(); return a0 > 50*time.Millisecond && b0 > 50*time.Millisecond })
	var a, b time.Duration
	// A machine that is emulated beside others counts what is taken from it as used:
	// over the longer the less.
	within := false
	eventually(t, "they used a second, shared by weight, or ten", func() bool {
		a, b = used()
		a, b = a-a0, b-b0
		within = a+b > time.Second && b >= a*27/10 && b <= a*33/10
		return within || a+b > 10*time.Second
	})
	if !within {
		t.Errorf("weights of 1 and 3 got %s and %s: 1 : %.2f", a, b, float64(b)/float64(a))
	}
	if d := stats(t, one).Throttled + stats(t, three).Throttled; d != 0 {
		t.Errorf("they were held up for %s", d)
	}
}

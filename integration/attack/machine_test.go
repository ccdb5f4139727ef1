package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// What an onlooker says arrives as it was said.
func TestLatenessArrives(t *testing.T) {
	for _, l := range []lateness{
		{by: byTimer, from: time.Unix(0, 5), to: time.Unix(7, 8), late: 9},
		{by: byDisk, from: time.Unix(1, 5), to: time.Unix(7, 8), late: time.Hour, unexcusing: true},
		{by: bySteal + " (cpu12)", from: time.Unix(1, 5), to: time.Unix(7, 8)},
	} {
		if got, ok := parseLateness(l.String()); !ok || got != l {
			t.Errorf("%v arrives as %v", l, got)
		}
	}
	for _, s := range []string{"", "1 2 3 true", "1 2 x true a timer"} {
		if l, ok := parseLateness(s); ok {
			t.Errorf("%q is %v", s, l)
		}
	}
}

// A late answer is excused by what was late while it was waited for, by no more than
// it lasted, not twice by what two things were late by at once, and never by the
// disk, for which no answer should wait.
func TestWhatExcuses(t *testing.T) {
	draw.Check(t, func(d *rapid.T) {
		n := func(least, most int, what string) int { return rapid.IntRange(least, most).Draw(d, what) }
		at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
		from, length := n(0, 1000, "from"), n(1, 500, "length")
		to := from + length
		var m machine
		sums := map[string]int{}
		for range n(0, 5, "count") {
			l := lateness{by: rapid.SampledFrom([]string{byTimer, bySteal, byDisk}).Draw(d, "by")}
			b, took := n(0, 1500, "begin"), n(1, 300, "took")
			l.from, l.to, l.late, l.unexcusing = at(b), at(b+took), time.Duration(n(1, took, "late"))*time.Millisecond, l.by == byDisk
			if both := min(to, b+took) - max(from, b); both > 0 && !l.unexcusing {
				sums[l.by] += min(both, int(l.late/time.Millisecond))
			}
			m.add(l)
		}
		want := min(max(sums[byTimer], sums[bySteal]), length)
		if got, what := m.lateBy(at(from), at(to)); got != time.Duration(want)*time.Millisecond {
			d.Fatalf("an answer from %d to %d is excused by %v, not %d ms: %s, %v", from, to, got, want, what, m.all)
		}
	})
}

// The disk is named although it excuses nothing.
func TestTheDiskIsNamed(t *testing.T) {
	var m machine
	m.add(lateness{by: byDisk, from: time.Unix(1, 0), to: time.Unix(3, 0), late: 2 * time.Second, unexcusing: true})
	excused, what := m.lateBy(time.Unix(2, 0), time.Unix(3, 0))
	if excused != 0 || !strings.Contains(what, byDisk) {
		t.Errorf("excused by %v: %q", excused, what)
	}
	if _, what := m.lateBy(time.Unix(4, 0), time.Unix(5, 0)); what != "" {
		t.Errorf("nothing was late then: %q", what)
	}
}

// What is old is let go of.
func TestTheMachineForgets(t *testing.T) {
	var m machine
	for i := range 1000 {
		m.add(lateness{by: byTimer, from: time.Unix(int64(i), 0), to: time.Unix(int64(i), 1), late: 1})
	}
	if len(m.all) > 61 {
		t.Errorf("%d are kept", len(m.all))
	}
}

func TestStealIn(t *testing.T) {
	const stat = "cpu  1 2 3 4 5 6 7 30 9 10\ncpu0 1 2 3 4 5 6 7 10 9 10\ncpu1 1 2 3 4 5 6 7 20 9 10\nintr 5 0 0 0 0 0 0 7 8\ncpu9 1 2\n"
	if got := stealIn([]byte(stat)); !slices.Equal(got, []int64{10, 20}) {
		t.Errorf("%v", got)
	}
}

// Who runs is told by where the name ends, whatever is in it.
func TestParseStat(t *testing.T) {
	p, ok := parseStat([]byte("42 (a) b (c) S 7 8 9 0 -1 4194304 100 0 0 0 3 4 99 98 20 0 1 0 5 6 7"))
	if want := (process{pid: 42, parent: 7, session: 9, cpu: 7 * tick}); !ok || p != want {
		t.Errorf("%+v", p)
	}
	for _, s := range []string{"", "42", "42 (a) S 7 8", "x (a) S 7 8 9 0 -1 4194304 100 0 0 0 3 4 99 98"} {
		if p, ok := parseStat([]byte(s)); ok {
			t.Errorf("%q: %+v", s, p)
		}
	}
}

// The machine does something else once others have a quarter of it, those that began
// meanwhile and not those that have ended.
func TestOthersKeepItBusy(t *testing.T) {
	was := map[int]time.Duration{1: time.Hour, 2: time.Minute}
	if had := grown(was, map[int]time.Duration{1: time.Hour + time.Second, 3: time.Second}); had != 2*time.Second {
		t.Errorf("they had %v", had)
	}
	quarter := lately * time.Duration(runtime.NumCPU()) / otherPart
	var b busyness
	second := func(n int, had time.Duration) (lateness, bool) {
		from := time.Unix(1, 0).Add(time.Duration(n) * lately)
		return b.busy(from, from.Add(lately), had)
	}
	if _, ok := second(0, quarter-1); ok {
		t.Error("busy by less than a quarter")
	}
	if l, ok := second(1, quarter); !ok || l.late != lately || l.unexcusing {
		t.Errorf("%v, %t", l, ok)
	}
	if _, ok := second(2, 0); ok {
		t.Error("busy by what was longer ago")
	}
	half := time.Unix(9, 0).Add(lately / 2)
	b.busy(half, half.Add(lately/2), quarter)
	if l, ok := b.busy(half.Add(lately/2), half.Add(lately), 0); !ok || l.from != half.Add(lately/2) {
		t.Errorf("not busy right after others were: %v", l)
	}
}

// This process is one of its session, and of no other.
func TestKnownAreOfTheSession(t *testing.T) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	me, ok := parseStat(b)
	if !ok || me.pid != os.Getpid() {
		t.Fatalf("%+v of %s", me, b)
	}
	if _, ours := known(me.session)[me.pid]; !ours {
		t.Error("a process of this session is another's")
	}
	if _, ours := known(-1)[me.pid]; ours {
		t.Error("a process of another session is ours")
	}
}

// What the CPUs ran is what users, those with a nice value and the kernel had.
func TestRanIn(t *testing.T) {
	if got := ranIn([]byte("cpu  1 20 300 4000 5 6 7 8 9 10\ncpu0 1 1 1 1\n")); got != 321*tick {
		t.Errorf("%v", got)
	}
}

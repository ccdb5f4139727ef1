package isolation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const eatVariable = "MESITA_TEST_EAT"

// The tests' own program is one that needs as much memory as it is told, and no
// more, which no shell can.
func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(eatVariable)); err == nil {
		fault(make([]byte, n<<20))
		fmt.Println("ready")
		for {
			_ = unix.Pause() // until it is killed
		}
	}
	if kind := os.Getenv(tries); kind != "" {
		tried(kind)
		return
	}
	os.Exit(m.Run())
}

// fault has each page of b in memory, and no shadow of it where races are looked for.
//
//go:norace
func fault(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// eats is some processes that need so many MiB each.
func eats(t *testing.T, processes, mib int) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := sh(fmt.Sprintf("for i in $(seq %d); do %s & done; wait", processes, self))
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%d", eatVariable, mib), "GOGC=off")
	return c
}

// Who may use more than its guarantee always looks worse to the kernel than who
// may not, as long as the guarantees together are no more than there is.
func TestOOMScorePointsAtBorrowers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	badness := func(used, whole int64, score int) int64 { return used + int64(score)*whole/1000 } // as the kernel counts, in pages
	for range 100_000 {
		whole := 1000 + rnd.Int64N(1<<24)
		lender := 1 + rnd.Int64N(whole-1)
		borrower := 1 + rnd.Int64N(whole-lender)
		score := OOMScore(borrower, whole)
		if score < 1 || score > 1000 {
			t.Fatalf("a score of %d", score)
		}
		if a, b := badness(lender, whole, 0), badness(1, whole, score); a > b {
			t.Fatalf("of %d, who uses all of its %d looks worse (%d) than a process of one page of who is guaranteed %d and may use more (%d)", whole, lender, a, borrower, b)
		}
	}
	for _, c := range []struct {
		guaranteed, whole int64
		want              int
	}{{0, 100, 1000}, {25, 100, 750}, {100, 100, 1}, {300, 100, 1}, {1, 0, 1000}} {
		if got := OOMScore(c.guaranteed, c.whole); got != c.want {
			t.Errorf("%d of %d: %d, and not %d", c.guaranteed, c.whole, got, c.want)
		}
	}
}

// A program has its score from its first instruction on, and so has all that it
// starts, or is started beside it, whatever namespaces it has and user it is.
func TestOOMScore(t *testing.T) {
	h := newHost(t)
	for i, private := range []bool{true, false} {
		s := create(t, h, fmt.Sprintf("job/task%d", i), Limits{})
		c := sh("echo ready; sleep 1000")
		c.PrivatePIDs, c.PrivateMounts, c.OOMScore = private, private, 321
		if os.Geteuid() == 0 {
			c.UID, c.GID = 65534, 65534
		}
		p := ready(t, s, c)
		c.Args = sh("cat /proc/self/oom_score_adj").Args
		for where, run := range map[string]func(Files) (*Process, error){
			"its own": func(f Files) (*Process, error) { return s.Start(c, f) },
			"beside":  func(f Files) (*Process, error) { return s.StartBeside(p, c, f) },
		} {
			if out, e := outputOf(t, run); e != (Exit{}) || out != "321" {
				t.Errorf("%s, private %v: %+v: %q", where, private, e, out)
			}
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		wait(t, p)
	}
}

// Groups are protected and bounded as they are told, where that is possible.
func TestProtectAndLimitMemory(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "part/job/1", Limits{})
	for _, m := range []int64{8 << 20, 16<<20 + 5, 0} {
		for _, group := range []string{"", "part", "part/job", s.name} {
			if err := h.Protect(group, m); err != nil {
				t.Fatalf("%q, %d: %v", group, m, err)
			}
			if set, ok := h.limiter.protection(group, m); ok {
				if err := readBack([]setting{set}); err != nil {
					t.Error(err)
				}
			}
		}
		if err := h.LimitMemory(m); err != nil {
			t.Fatal(err)
		}
		if set, ok := h.limiter.memoryLimit(m); ok {
			if err := readBack([]setting{set}); err != nil {
				t.Error(err)
			}
		}
	}
	if err := h.Protect("part/other", 5); h.LendsMemory() != errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group that is not there was protected: %v", err)
	}
	if err := h.Protect("../x", 5); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group beside the top slice: %v", err)
	}
}

// A slice is let have more memory, and less unless it needs what it was given.
func TestSetMemory(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "part/job/1", Limits{Memory: 8 << 20, PIDs: 77})
	set := func(memory, want int64, fits bool) {
		t.Helper()
		got, err := h.SetMemory(s.name, memory)
		if err != nil || got != fits {
			t.Fatalf("%d: %v, %v", memory, got, err)
		}
		if err := readBack(h.limiter.settings(s.name, Limits{Memory: want, PIDs: 77})); err != nil {
			t.Errorf("%d: %v", memory, err)
		}
	}
	set(16<<20, 16<<20, true)
	set(128<<20+5, 128<<20, true)
	set(96<<20, 96<<20, true)
	if h.limiter.enforces("memory") {
		p := ready(t, s, eats(t, 1, 48))
		set(32<<20, 96<<20, false)
		set(50<<20, 96<<20, false) // nearly all of it is needed
		set(80<<20, 80<<20, true)
		if !alive(p.Pid) {
			t.Error("it was killed for what it was given")
		}
	}
	if _, err := h.SetMemory("part/job/2", 1<<20); h.limiter.enforces("memory") && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a slice that is not there: %v", err)
	}
	if _, err := h.SetMemory("../x", 5); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group beside the top slice: %v", err)
	}
}

// When all that there is for tasks is used, all of the slice dies that uses more
// than it was guaranteed, and nothing of the one that does not, though that one's
// process is the largest.
func TestTheBorrowerDies(t *testing.T) {
	h := needUnified(t)
	if !h.LendsMemory() {
		t.Fatal("cgroup v2 lends no memory")
	}
	const whole, lent, honest = 160 << 20, 16 << 20, 80 << 20
	if err := h.LimitMemory(whole); err != nil {
		t.Fatal(err)
	}
	lender, borrower := create(t, h, "a/lender/1", Limits{Memory: honest}), create(t, h, "a/borrower/1", Limits{Memory: whole})
	for group, m := range map[string]int64{"": lent + honest, "a": lent + honest, "a/lender": honest, lender.name: honest, "a/borrower": lent, borrower.name: lent} {
		if err := h.Protect(group, m); err != nil {
			t.Fatal(err)
		}
	}
	holds := ready(t, lender, eats(t, 1, 48))
	c := eats(t, 8, 24)
	c.OOMScore = OOMScore(lent, whole)
	p := start(t, borrower, c)
	if e := wait(t, p); e.Signal == 0 {
		t.Errorf("the borrower's first process ended with %+v", e)
	}
	eventually(t, "all of the borrower is dead", func() bool { left, err := borrower.Populated(); return err == nil && !left })
	if st := stats(t, borrower); st.OOMKills == 0 || !st.OOMOutside || st.MemoryPeak <= lent {
		t.Errorf("the borrower: %+v", st)
	}
	if st := stats(t, lender); st.OOMKills != 0 || st.OOMOutside || !alive(holds.Pid) {
		t.Errorf("who borrowed nothing: %+v", st)
	}
	if err := lender.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, holds)
	own := create(t, h, "a/own/1", Limits{Memory: 24 << 20})
	wait(t, start(t, own, eats(t, 1, 48)))
	if st := stats(t, own); st.OOMKills == 0 || st.OOMOutside {
		t.Errorf("for its own limit: %+v", st)
	}
}

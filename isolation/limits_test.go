package isolation

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eat is a script that takes about n MiB of memory.
const eat = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo done"

func TestMemoryLimitKills(t *testing.T) {
	h := needController(t, "memory")
	s := create(t, h, "job/task", Limits{Memory: 24 << 20})
	out, e := output(t, s, sh(eat))
	if strings.Contains(out, "done") || e == (Exit{}) {
		t.Errorf("64 MiB fitted into 24: %q, %+v", out, e)
	}
	st := stats(t, s)
	if st.OOMKills == 0 {
		t.Errorf("no kill was counted: %+v", st)
	}
	if st.OOMOutside {
		t.Errorf("its own limit passes for want of memory around it: %+v", st)
	}
	if st.MemoryPeak > 24<<20 {
		t.Errorf("the peak was %d", st.MemoryPeak)
	}
}

func TestPIDsLimitRefuses(t *testing.T) {
	h := needController(t, "pids")
	s := create(t, h, "job/task", Limits{PIDs: 4})
	p := ready(t, s, sh("(for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done) 2>/dev/null; echo ready; exec sleep 1000"))
	if n := stats(t, s).PIDs; n < 2 || n > 4 {
		t.Errorf("%d processes under a limit of 4", n)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
}

func TestCPULimitThrottles(t *testing.T) {
	h := needController(t, "cpu")
	s := create(t, h, "job/task", Limits{MilliCPU: 100, CPUWeight: 10})
	p := start(t, s, sh("while :; do :; done"))
	eventually(t, "it is held up", func() bool { return stats(t, s).Throttled > 100*time.Millisecond })
	if err := s.Update(Limits{}); err != nil {
		t.Fatal(err)
	}
	// Without the limit it is not held up any more.
	eventually(t, "it runs freely", func() bool {
		a := stats(t, s)
		<-time.After(300 * time.Millisecond)
		b := stats(t, s)
		return b.Throttled == a.Throttled && b.CPU > a.CPU
	})
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
}

// A program is bounded once it runs, however small the bound is: its start is
// not. The bound can be raised, lowered and lifted.
func TestLimitCPU(t *testing.T) {
	h := needController(t, "cpu")
	s := create(t, h, "job/task", Limits{CPUWeight: 10})
	p := start(t, s, sh("while :; do :; done"))
	for _, milli := range []int64{100, 1, 500, 50, 1500, 20} {
		if err := s.LimitCPU(milli); err != nil {
			t.Fatalf("%d: %v", milli, err)
		}
		q := quotaOf(h, s.name, cpuQuota(Limits{MilliCPU: milli}))
		if err := readBack([]setting{q.quota}); err != nil {
			t.Error(err)
		}
		if err := readBack([]setting{q.burst}); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	was := stats(t, s).Throttled
	eventually(t, "it is held up", func() bool { return stats(t, s).Throttled > was+100*time.Millisecond })
	if err := s.LimitCPU(0); err != nil {
		t.Fatal(err)
	}
	if err := readBack([]setting{quotaOf(h, s.name, 0).quota}); err != nil {
		t.Error(err)
	}
	if err := s.LimitCPU(-1); err == nil {
		t.Error("a negative limit was taken")
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	remove(t, s)
	if err := s.LimitCPU(100); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a slice that is gone was given a limit: %v", err)
	}
}

// TestUpdate raises, lowers and lifts limits, each way round.
func TestUpdate(t *testing.T) {
	h := needController(t, "memory")
	s := create(t, h, "job/task", Limits{Memory: 32 << 20, PIDs: 8, MilliCPU: 500})
	for _, l := range []Limits{
		{Memory: 64 << 20, PIDs: 16, MilliCPU: 1500, CPUWeight: 10_000},
		{Memory: 16 << 20, PIDs: 4, MilliCPU: 1, CPUWeight: 1},
		{},
		{Memory: 48 << 20, MemoryHigh: 40 << 20, PIDs: 5},
	} {
		if err := s.Update(l); err != nil {
			t.Fatalf("%+v: %v", l, err)
		}
		file, dir := "memory.max", s.dir
		if v, ok := h.limiter.(*v1); ok {
			file, dir = "memory.limit_in_bytes", v.controllers["memory"].Path(v.group(s.name))
		}
		got, err := readInt(dir, file)
		if err != nil || l.Memory > 0 && got != l.Memory || l.Memory == 0 && got < 1<<60 {
			t.Errorf("%+v: the limit is %d, %v", l, got, err)
		}
	}
}

func TestCreateSetsAllLimits(t *testing.T) {
	h := needController(t, "memory")
	l := Limits{Memory: 48<<20 + 123, MemoryHigh: 40<<20 + 1, PIDs: 7, MilliCPU: 333, CPUWeight: 77}
	s := create(t, h, "job/task", l)
	if err := readBack(h.limiter.settings(s.name, l)); err != nil {
		t.Error(err)
	}
}

func TestUpdateIsReadBack(t *testing.T) {
	h := needController(t, "memory")
	s := create(t, h, "job/task", Limits{Memory: 32 << 20})
	odd := Limits{Memory: 48<<20 + 123, MemoryHigh: 40<<20 + 1, PIDs: 7, MilliCPU: 333, CPUWeight: 77}
	if err := s.Update(odd); err != nil {
		t.Fatal(err) // the kernel keeps whole pages, which is not a failure
	}
	want := h.limiter.settings(s.name, odd)
	if err := readBack(want); err != nil {
		t.Error(err)
	}
	for i := range want {
		wrong := slices.Clone(want)
		wrong[i].value = "1234567"
		if err := readBack(wrong); err == nil || !strings.Contains(err.Error(), wrong[i].file) {
			t.Errorf("%s is not compared: %v", wrong[i].file, err)
		}
	}
}

// TestRefusedUpdateChangesNothing: neither a limit that makes no sense nor one
// that the kernel refuses leaves some of the others changed.
func TestRefusedUpdateChangesNothing(t *testing.T) {
	h := needController(t, "memory")
	was := Limits{Memory: 96 << 20, PIDs: 50, MilliCPU: 500}
	s := create(t, h, "job/task", was)
	refused := map[string]Limits{
		"negative memory": {Memory: -1}, "negative high": {MemoryHigh: -1}, "negative PIDs": {PIDs: -1}, "negative CPU": {MilliCPU: -1},
		"absurd CPU": {MilliCPU: 1 << 60, Memory: 64 << 20},
	}
	if h.Mode() == Unified {
		refused["more PIDs than the kernel has"] = Limits{PIDs: 1 << 40, MilliCPU: 900, Memory: 64 << 20}
	} else { // v1 does not kill to make a limit true
		p := ready(t, s, sh("x=$(head -c 41943040 /dev/zero | tr '\\0' x); echo ready; sleep 1000; echo $x"))
		defer func() {
			if err := s.Kill(); err != nil {
				t.Error(err)
			}
			wait(t, p)
		}()
		refused["memory below what is in use"] = Limits{Memory: 8 << 20, PIDs: 60, MilliCPU: 900}
	}
	for what, l := range refused {
		for range 4 { // v1 sets its controllers in no order
			if err := s.Update(l); err == nil {
				t.Errorf("%s: %+v was taken", what, l)
			}
			if err := readBack(h.limiter.settings(s.name, was)); err != nil {
				t.Fatalf("%s: refused, but %v", what, err)
			}
		}
	}
	remaining := create(t, h, "job/other", Limits{})
	remove(t, remaining)
	if err := remaining.Update(was); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a slice that is gone was given limits: %v", err)
	}
}

func TestUnifiedFiles(t *testing.T) {
	h := needUnified(t)
	s := create(t, h, "part/job/task", Limits{MilliCPU: 250, CPUWeight: 300, Memory: 64 << 20, MemoryHigh: 48 << 20, PIDs: 9})
	for file, want := range map[string]string{
		"cpu.max": "25000 100000", "cpu.weight": "300", "memory.max": "67108864", "memory.high": "50331648",
		"memory.oom.group": "1", "pids.max": "9", "memory.swap.max": "0",
	} {
		got, err := os.ReadFile(filepath.Join(s.dir, file))
		if os.IsNotExist(err) && file == "memory.swap.max" {
			continue
		}
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, not %q: %v", file, got, want, err)
		}
	}
	if err := s.Update(Limits{}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"cpu.max": "max 100000", "cpu.weight": "100", "memory.max": "max", "memory.high": "max", "memory.oom.group": "0", "pids.max": "max"} {
		if got, err := os.ReadFile(filepath.Join(s.dir, file)); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, not %q: %v", file, got, want, err)
		}
	}
}

// TestOOMKillsTheWholeSlice: a task that lost one process of several is worse
// than one that ended.
func TestOOMKillsTheWholeSlice(t *testing.T) {
	h := needUnified(t)
	s := create(t, h, "job/task", Limits{Memory: 24 << 20})
	p := start(t, s, sh("sleep 1000 & "+eat+"; sleep 1000"))
	if e := wait(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("it ended by %+v", e)
	}
	eventually(t, "nothing is left", func() bool { left, err := s.Populated(); return err == nil && !left })
	if st := stats(t, s); st.OOMKills == 0 {
		t.Errorf("no kill was counted: %+v", st)
	}
}

func TestPressure(t *testing.T) {
	h := needUnified(t)
	s := create(t, h, "job/task", Limits{MilliCPU: 100})
	if st := stats(t, s); st.CPUPressure != 0 || st.MemPressure != 0 || st.IOPressure != 0 {
		t.Errorf("an empty slice has %+v", st)
	}
	p := start(t, s, sh("while :; do :; done & while :; do :; done"))
	eventually(t, "there is pressure", func() bool { return stats(t, s).CPUPressure > 1 })
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
}

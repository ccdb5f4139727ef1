package isolation

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const hybridTable = `22 1 0:20 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/me\040mory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids ro,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime master:1 - cgroup2 cgroup2 rw,nsdelegate
42 31 0:38 / /elsewhere rw,relatime - cgroup2 cgroup2 rw
broken line
`

// procRoot makes a /proc with a mount table.
func procRoot(t *testing.T, table string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "self/mountinfo"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMountTable(t *testing.T) {
	m, err := readMounts(filepath.Join(procRoot(t, hybridTable), "self"))
	if err != nil {
		t.Fatal(err)
	}
	if m.unified != "/sys/fs/cgroup/unified" || m.v1["cpu"] != "/sys/fs/cgroup/cpu,cpuacct" || m.v1["memory"] != "/sys/fs/cgroup/me mory" {
		t.Errorf("%+v", m)
	}
	if p, ok := m.v1["pids"]; ok {
		t.Errorf("a read-only hierarchy is used: %s", p)
	}
}

// TestNothingToWorkWith: without any cgroup tasks still run, are killed as far
// as they can be found, and who asks is told what is missing, the log not as well.
func TestNothingToWorkWith(t *testing.T) {
	var told strings.Builder
	h, err := Detect(Config{ProcRoot: procRoot(t, ""), Log: slog.New(slog.NewTextHandler(&told, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h.cfg.ProcRoot, h.starter.ProcRoot = "/proc", "/proc" // what runs is real
	if h.Mode() != None || h.Attributes()["isolation.mode"] != "none" || h.Attributes()["isolation.kill"] != "no" {
		t.Errorf("%s: %v", h.Mode(), h.Attributes())
	}
	if w := h.Warnings(); len(w) < 5 || told.Len() > 0 {
		t.Errorf("told of %q by %s", w, told.String())
	}
	s := create(t, h, "job/task", Limits{Memory: 1 << 20})
	killIfFailed(t, s)
	if _, err := h.Create("job/task", Limits{}); err == nil {
		t.Error("a slice that exists was made again")
	}
	p := ready(t, s, sh("sleep 1000 & echo ready; sleep 1000"))
	pids, err := s.Procs()
	if err != nil || len(pids) < 2 || !slices.Contains(pids, p.Pid) {
		t.Errorf("%v, %v", pids, err)
	}
	if again, err := h.Open("job/task"); err != nil || stats(t, again).PIDs < 2 {
		t.Errorf("%v", err)
	}
	if err := s.Freeze(t.Context()); err != nil {
		t.Error(err)
	}
	if pids, err = s.Procs(); err != nil || len(pids) < 2 {
		t.Errorf("%v, %v", pids, err)
	}
	for _, pid := range pids {
		if runs("/proc", pid) {
			t.Errorf("process %d runs in a frozen slice: %s", pid, status(t, pid, "State"))
		}
	}
	done := make(chan Exit)
	go func() { done <- wait(t, p) }()
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
	if e := <-done; e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	remove(t, s)
	if names, err := h.List(); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestFreezeByForce: without cgroup.freeze those that are being forked stop too.
func TestFreezeByForce(t *testing.T) {
	h, err := Detect(Config{ProcRoot: procRoot(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	h.cfg.ProcRoot, h.starter.ProcRoot = "/proc", "/proc" // what runs is real
	s := create(t, h, "job/task", Limits{})
	killIfFailed(t, s)
	p := ready(t, s, sh("echo ready; while :; do (:) & (:); done"))
	for range 10 {
		if err := s.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, err := s.Procs()
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			<-time.After(time.Millisecond)
			after, err := s.Procs()
			if err != nil || !slices.Equal(before, after) {
				t.Fatalf("a frozen slice had %v and has %v, %v", before, after, err)
			}
		}
		if err := s.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan Exit)
	go func() { done <- wait(t, p) }()
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
	if e := <-done; e.Signal != syscall.SIGKILL {
		t.Errorf("%+v", e)
	}
	remove(t, s)
}

// TestWarningsSayWhatV1Lacks: whoever reads no warning may rely on all of it.
func TestWarningsSayWhatV1Lacks(t *testing.T) {
	h := newHost(t)
	told := strings.Join(h.Warnings(), "\n")
	switch h.Mode() {
	case Unified:
		if told != "" {
			t.Errorf("everything is enforced, and yet: %s", told)
		}
	case Hybrid:
		if h.limiter.enforces("memory") && (!strings.Contains(told, "memory.oom.group") || !strings.Contains(told, "memory.high")) {
			t.Errorf("not told of what v1 lacks: %q", told)
		}
	default:
		if !strings.Contains(told, "memory limits are NOT enforced") {
			t.Errorf("not told that nothing is enforced: %q", told)
		}
	}
}

// TestTreeOfFiles uses plain files as a cgroup tree: what is written is what
// the kernel would get.
func TestTreeOfFiles(t *testing.T) {
	root := t.TempDir()
	put := func(dir, name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"", "top"} {
		put(dir, "cgroup.procs", "")
		put(dir, "cgroup.controllers", "cpu memory pids hugetlb\n")
		put(dir, "cgroup.subtree_control", "")
	}
	put("top", "cgroup.kill", "")
	h, err := Detect(Config{Root: root, Slice: "top", ProcRoot: procRoot(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	a := h.Attributes()
	if h.Mode() != Unified || a["isolation.memory"] != "yes" || a["isolation.kill"] != "yes" || a["isolation.freeze"] != "no" || a["isolation.psi"] != "no" {
		t.Errorf("%s: %v", h.Mode(), a)
	}
	warnings := 1
	for _, what := range []string{"syscalls", "devices"} { // which files cannot have
		if a["isolation."+what] != "yes" {
			warnings++
		}
	}
	if len(h.Warnings()) != warnings {
		t.Errorf("warnings: %q", h.Warnings())
	}
	s := create(t, h, "task", Limits{MilliCPU: 1, Memory: 4096})
	for file, want := range map[string]string{"cpu.max": "1000 100000", "memory.max": "4096", "memory.oom.group": "1"} {
		if b, err := readFile(s.dir, file); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", file, b, err)
		}
	}
	for _, file := range []string{"pids.max", "memory.high", "memory.swap.max", "cpu.weight"} {
		if _, err := readFile(s.dir, file); err == nil {
			t.Errorf("%s was written, though there is no such limit", file)
		}
	}
	put("top/task", "cpu.stat", "usage_usec 1500\nthrottled_usec 20\n")
	put("top/task", "memory.current", "4000\n")
	put("top/task", "memory.peak", "4096\n")
	put("top/task", "memory.events", "oom 2\noom_kill 1\n")
	put("top/task", "pids.current", "3\n")
	put("top/task", "memory.pressure", "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n")
	want := Stats{CPU: 1500e3, Memory: 4000, MemoryPeak: 4096, PIDs: 3, OOMKills: 1, Throttling: Throttling{Throttled: 20e3}, CPUPressure: -1, MemPressure: 12.5, IOPressure: -1}
	if got := stats(t, s); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	want.MemPressure, want.OOMKills = -1, 0
	if got, err := s.Stats(Use); err != nil || got != want {
		t.Errorf("use: %+v, %v, not %+v", got, err, want)
	}
	if got, err := s.Stats(Time); err != nil || got != (Stats{CPU: want.CPU, CPUPressure: -1, MemPressure: -1, IOPressure: -1}) {
		t.Errorf("time: %+v, %v", got, err)
	}
}

// killIfFailed ends what a failed test leaves: without a group nothing finds it
// later. Not after one that passed: its PIDs may be others' by then.
func killIfFailed(t *testing.T, s *Slice) {
	t.Cleanup(func() {
		if t.Failed() {
			_ = s.Kill()
		}
	})
}

package isolation

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A process is made to die later, and never sooner than it would have.
func TestSpare(t *testing.T) {
	proc := t.TempDir()
	file := filepath.Join(proc, "self/oom_score_adj")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	h := &Host{cfg: Config{ProcRoot: proc}}
	if h.Spare(KeeperScore) == nil {
		t.Error("spared by a kernel that has no such thing")
	}
	for was, want := range map[string]string{"0\n": "-999", "300\n": "-999", "-500\n": "-999", "-999\n": "-999\n", "-1000\n": "-1000\n"} {
		if err := os.WriteFile(file, []byte(was), 0o600); err != nil {
			t.Fatal(err)
		}
		err := h.Spare(KeeperScore)
		if b, rerr := os.ReadFile(file); err != nil || rerr != nil || string(b) != want {
			t.Errorf("%q: %q and not %q, %v, %v", was, b, want, err, rerr)
		}
	}
}

// What a spared process starts is not spared, and cannot spare itself.
func TestTasksAreNotSpared(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	own, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	was, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Spare(was - 1); err != nil {
		if was, err = 0, os.WriteFile(file, []byte("1"), 0); err != nil { // to be killed sooner is for everybody
			t.Fatal(err)
		}
	}
	defer func() {
		if err := os.WriteFile(file, own, 0); err != nil {
			t.Error(err)
		}
	}()
	s := create(t, h, "job/task", Limits{})
	for _, uid := range []uint32{0, 65534} {
		c := confined(sh("cat " + file + "; echo -1 2>/dev/null >" + file + " && echo spared; cat " + file))
		c.UID, c.GID = uid, uid
		if out, e := output(t, s, c); e != (Exit{}) || out != "0\n0" {
			t.Errorf("user %d: %q, %+v", uid, out, e)
		}
	}
}

// However much tasks fork, others still can.
func TestProcessesAreReserved(t *testing.T) {
	h := needController(t, "pids")
	number := func(file string) int {
		b, err := os.ReadFile("/proc/sys/kernel/" + file)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	limit := func() string {
		for _, s := range h.limiter.settings("", Limits{}) {
			if s.file == "pids.max" {
				b, err := readFile(s.dir, s.file)
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(string(b))
			}
		}
		return ""
	}
	all := min(number("pid_max"), number("threads-max"))
	if got := limit(); got != strconv.Itoa(all-all/8) {
		t.Errorf("all slices may have %s of %d", got, all)
	}
	h.cfg.ProcRoot = t.TempDir()
	if err := os.MkdirAll(filepath.Join(h.cfg.ProcRoot, "sys/kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, n := range map[string]string{"pid_max": "40\n", "threads-max": "32\n"} {
		if err := os.WriteFile(filepath.Join(h.cfg.ProcRoot, "sys/kernel", file), []byte(n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.reservePIDs(); err != nil || limit() != "28" {
		t.Fatalf("%s, %v", limit(), err)
	}
	s := create(t, h, "job/task", Limits{})
	out, e := output(t, s, sh("i=0; while [ $i -lt 64 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done; echo all"))
	if e == (Exit{}) || strings.Contains(out, "all") {
		t.Errorf("64 processes where 28 may be: %+v, %s", e, out)
	}
	if err := s.Kill(); err != nil {
		t.Error(err)
	}
}

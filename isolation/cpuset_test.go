package isolation

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// allowed is what a process may run on, as the kernel says.
func allowed(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	t.Fatalf("process %d does not say where it may run", pid)
	return ""
}

func TestCPUListsAreReadAsWritten(t *testing.T) {
	for list, cpus := range map[string][]int{"": nil, "0": {0}, "0-1": {0, 1}, "0-3,8": {0, 1, 2, 3, 8}, "1,3,5-6": {1, 3, 5, 6}} {
		got, err := ParseCPUs(list + "\n")
		if err != nil || !slices.Equal(got, cpus) {
			t.Errorf("%q was read as %v (%v)", list, got, err)
		}
		if back := CPUList(cpus); back != list {
			t.Errorf("%v was written as %q, and not %q", cpus, back, list)
		}
	}
	for _, bad := range []string{"x", "1-", "3-1", "-1", "0-99999999", "1,,2"} {
		if got, err := ParseCPUs(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

// A slice with CPUs of its own runs there and nowhere else, whatever is started
// in it; all others run elsewhere: those that were there before, those that come
// later, by this process or another; and have all back in the end.
func TestOwnCPUsAreNobodyElses(t *testing.T) {
	h := newHost(t)
	cpus := h.Cores()
	if len(cpus) < 2 {
		skip(t, "no CPU can be given away here")
	}
	start := func(name string, l Limits) (*Slice, *Process) {
		t.Helper()
		s, err := h.Create(name, l)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Start(sh("sleep 1000 & wait"), Files{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = s.Kill()
			p.Wait()
		})
		eventually(t, "the shell has a child", func() bool { pids, _ := s.Procs(); return len(pids) == 2 })
		return s, p
	}
	want := func(when string, s *Slice, list string) {
		t.Helper()
		pids, err := s.Procs()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			if got := allowed(t, pid); got != list {
				t.Errorf("%s, process %d of %s may run on %s, and not on %s", when, pid, s.Name(), got, list)
			}
		}
	}
	last := cpus[len(cpus)-1]
	all, pool, own := CPUList(cpus), CPUList(cpus[:len(cpus)-1]), CPUList([]int{last})

	before, _ := start("p/job/before", Limits{})
	want("at first", before, all)
	if err := h.Share(cpus[:len(cpus)-1], map[string]bool{"p/job/own": true}); err != nil {
		t.Fatal(err)
	}
	want("as one has its own", before, pool)
	mine, p := start("p/job/own", Limits{CPUs: own})
	want("as it has its own", mine, own)
	if got, err := h.CPUsOf("p/job/own"); err != nil || !slices.Equal(got, []int{last}) {
		t.Errorf("its own are %v (%v)", got, err)
	}
	beside, err := mine.StartBeside(p, sh("sleep 1000"), Files{})
	if err != nil {
		t.Fatal(err)
	}
	if got := allowed(t, beside.Pid); got != own {
		t.Errorf("what is started beside it may run on %s", got)
	}
	after, _ := start("p/job/after", Limits{})
	want("as it came later", after, pool)
	elsewhere, _ := start("q/job/elsewhere", Limits{})
	want("as it came later", elsewhere, pool)
	other, err := Detect(h.cfg) // as the keeper and the daemon are two
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Share(cpus[:len(cpus)-1], map[string]bool{"p/job/own": true}); err != nil {
		t.Fatal(err)
	}
	want("as another says so once more", mine, own)

	if err := mine.Kill(); err != nil {
		t.Fatal(err)
	}
	beside.Wait()
	p.Wait()
	if err := mine.Delete(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := other.Share(nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Slice{before, after, elsewhere} {
		want("once it was given back", s, all)
	}
	again, _ := start("p/job/again", Limits{})
	want("as nobody has any", again, all)
}

// What cannot be had is refused, and leaves nothing.
func TestCPUsThatAreNotThereAreRefused(t *testing.T) {
	h := newHost(t)
	cpus := h.Cores()
	if len(cpus) == 0 {
		skip(t, "no CPU can be given away here")
	}
	for _, list := range []string{CPUList([]int{cpus[len(cpus)-1] + 1000}), "x"} {
		if s, err := h.Create("p/job/own", Limits{CPUs: list}); err == nil {
			remove(t, s)
			t.Errorf("a slice was made with CPUs %s", list)
		}
		if names, _ := h.List(); len(names) > 0 {
			t.Errorf("%v is left", names)
		}
	}
}

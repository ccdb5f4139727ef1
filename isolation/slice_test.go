package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "default/web/0-a1": true, "p.q/r_s/t": true, "cpu/io": true,
		"": false, "/a": false, "a/": false, "a//b": false, "..": false, "a/../b": false, "./a": false, "a\nb": false, "a\x00": false,
		"cgroup.procs": false, "a/cpu.max": false, "a/memory.x/b": false,
		strings.Repeat("x", 256): false, strings.Repeat("x/", 600) + "x": false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%.40q: %v", name, err)
		}
	}
}

func TestCreateOpenListDelete(t *testing.T) {
	h := newHost(t)
	a := create(t, h, "part/job/0-a1", Limits{})
	b := create(t, h, "part/job/1-a1", Limits{PIDs: 10})
	if _, err := h.Create("part/job/0-a1", Limits{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a slice that exists was made again: %v", err)
	}
	if _, err := h.Create("x", Limits{Memory: -1}); err == nil {
		t.Error("a negative limit was accepted")
	}
	if _, err := h.Open("part/job/2-a1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a slice that is not there was opened: %v", err)
	}
	names, err := h.List()
	slices.Sort(names)
	if want := []string{"part/job/0-a1", "part/job/1-a1"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("the list is %v, %v", names, err)
	}
	again, err := h.Open("part/job/0-a1")
	if err != nil || again.Name() != a.Name() {
		t.Errorf("opened %v, %v", again, err)
	}
	remove(t, a)
	remove(t, a) // gone is as good
	if _, err := os.Stat(filepath.Join(h.top, "part/job")); err != nil {
		t.Errorf("a parent in use is gone: %v", err)
	}
	remove(t, b)
	for _, top := range tops(h) {
		left, err := subgroups(top)
		if err != nil || len(left) != 0 {
			t.Errorf("%s still has %v, %v", top, left, err)
		}
	}
}

// tops are the directories of the top slice in each hierarchy.
func tops(h *Host) []string {
	dirs := []string{h.top}
	if l, ok := h.limiter.(*v1); ok {
		for _, c := range l.controllers {
			dirs = append(dirs, c.Path(l.top))
		}
	}
	return dirs
}

func TestDeleteWaitsForTheProcesses(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := start(t, s, sh("exec sleep 1000"))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Delete(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a slice in use was removed: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Delete(t.Context()) }()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("it ended by %+v", e)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDeleteEmpty: with siblings the groups above stay, and go with the last.
func TestDeleteEmpty(t *testing.T) {
	h := newHost(t)
	s, sibling := create(t, h, "part/job/1", Limits{}), create(t, h, "part/job/2", Limits{})
	p := start(t, s, sh("exec sleep 1000"))
	if deleted, err := s.DeleteEmpty(); deleted || err != nil {
		t.Errorf("a slice in use was removed: %v, %v", deleted, err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	deleteEmpty := func(s *Slice) {
		t.Helper()
		// The kernel may count a process for a moment after it was waited for.
		eventually(t, "the empty slice is removed", func() bool {
			deleted, err := s.DeleteEmpty()
			if err != nil {
				t.Fatal(err)
			}
			return deleted
		})
	}
	deleteEmpty(s)
	remove(t, s) // gone already: no error
	for _, top := range tops(h) {
		if got, err := subgroups(filepath.Join(top, "part/job")); err != nil || !slices.Equal(got, []string{"2"}) {
			t.Errorf("%s has %v, %v", top, got, err)
		}
	}
	deleteEmpty(sibling)
	for _, top := range tops(h) {
		if left, err := subgroups(top); err != nil || len(left) != 0 {
			t.Errorf("%s still has %v, %v", top, left, err)
		}
	}
}

func TestKillTakesTheWholeTree(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	// One leaves the session, one the parent, one ignores what it can.
	p := ready(t, s, sh("setsid sleep 1000 & (sleep 1000 &) & trap '' TERM HUP INT; sleep 1000 & echo ready; wait; sleep 1000"))
	eventually(t, "the processes are there", func() bool { pids, err := s.Procs(); return err == nil && len(pids) >= 4 })
	pids, err := s.Procs()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	eventually(t, "nothing is left", func() bool { left, err := s.Populated(); return err == nil && !left })
	for _, pid := range pids {
		eventually(t, "each process is gone", func() bool { return !alive(pid) || zombie("/proc", pid) })
	}
}

func TestFreezeStopsAndKillEndsTheFrozen(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := ready(t, s, sh("echo ready; while :; do :; done"))
	if err := s.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	var before time.Duration
	eventually(t, "a frozen slice uses no more than a millisecond of 50", func() bool { // what it used before may be counted later
		before = stats(t, s).CPU
		<-time.After(50 * time.Millisecond)
		return stats(t, s).CPU-before <= time.Millisecond
	})
	if err := s.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it uses the CPU again", func() bool { return stats(t, s).CPU-before > 10*time.Millisecond })
	if err := s.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e.Signal != syscall.SIGKILL {
		t.Errorf("it ended by %+v", e)
	}
}

func TestSignalReachesAll(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := ready(t, s, sh("sleep 1000 & sleep 1000 & trap 'exit 7' USR1; echo ready; wait"))
	if err := s.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e.Code != 7 {
		t.Errorf("it ended by %+v", e)
	}
	eventually(t, "nothing is left", func() bool { left, err := s.Populated(); return err == nil && !left })
}

func TestFiftyAtOnce(t *testing.T) {
	h := newHost(t)
	ours := readlink(t, "/proc/self/ns/mnt")
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			s, err := h.Create(fmt.Sprintf("part/job-%d/%d", i%5, i), Limits{MilliCPU: 500, CPUWeight: 50, Memory: 64 << 20, PIDs: 10})
			if err != nil {
				t.Error(err)
				return
			}
			c := program("/bin/true")
			c.PrivatePIDs, c.PrivateMounts = i%2 == 0, i%4 == 0
			p, err := s.Start(c, Files{})
			if err != nil {
				t.Error(err)
				return
			}
			if e, err := p.Wait(); err != nil || e != (Exit{}) {
				t.Errorf("%d: %+v, %v", i, e, err)
			}
			remove(t, s)
		})
	}
	wg.Wait()
	for _, top := range tops(h) {
		if left, err := subgroups(top); err != nil || len(left) != 0 {
			t.Errorf("%s still has %v, %v", top, left, err)
		}
	}
	if got := readlink(t, "/proc/self/ns/mnt"); got != ours {
		t.Errorf("our mount namespace was %s and is %s", ours, got)
	}
}

func readlink(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

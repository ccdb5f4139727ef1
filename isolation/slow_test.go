//go:build (amd64 || arm64) && !startbythread

package isolation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stuck is a program that cannot be executed until the test is over, as if it
// were on a file server that is gone: opening it waits for a lease to end.
func stuck(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sleep")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		skip(t, "this file system has no leases: "+err.Error())
	}
	return path
}

// TestASlowStartHoldsUpNoOther: neither a program that hangs in its exec, nor a
// slice that is frozen or has next to no CPU; and each can be killed.
func TestASlowStartHoldsUpNoOther(t *testing.T) {
	h := newHost(t)
	hangs := Spec{Program: Program{Path: stuck(t), Args: []string{"sleep", "1000"}, Dir: "/"}}
	var births []*Birth
	var slices []*Slice
	begin := func(name string, l Limits, c Spec, freeze bool) {
		t.Helper()
		s := create(t, h, name, l)
		if freeze {
			if err := s.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b, err := s.Begin(c, Files{})
		if err != nil {
			t.Fatal(err)
		}
		births, slices = append(births, b), append(slices, s)
	}
	task, plain := private("exec sleep 1000"), sh("exec sleep 1000")
	for i := range 8 {
		hangs.PrivatePIDs, hangs.PrivateMounts = i%2 == 0, i%2 == 0
		begin(fmt.Sprint("hangs/", i), Limits{}, hangs, false)
		begin(fmt.Sprint("frozen/", i), Limits{}, task, true)
		begin(fmt.Sprint("frozen/plain", i), Limits{}, plain, true)
		begin(fmt.Sprint("slow/", i), Limits{MilliCPU: 1}, task, false)
	}
	s := create(t, h, "job/task", Limits{})
	for i := range 20 {
		if out, e := output(t, s, private("echo hello")); e != (Exit{}) || out != "hello" {
			t.Errorf("%d: %+v: %s", i, e, out)
		}
	}
	for i, b := range births {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
		p, err := b.Wait()
		if err != nil {
			continue // it ended before its program began
		}
		if e := wait(t, p); e != (Exit{Signal: syscall.SIGKILL}) {
			t.Errorf("%s: %+v", slices[i].Name(), e)
		}
	}
	for _, s := range slices {
		remove(t, s)
	}
}

// TestASlowStartHoldsNoFileOfAnother: the end of what a task writes, and of its
// start, is that of a pipe, which any process may keep open that has it.
func TestASlowStartHoldsNoFileOfAnother(t *testing.T) {
	h := newHost(t)
	for i, c := range []Spec{private("exit 0"), sh("exit 0")} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		s := create(t, h, fmt.Sprint("frozen/", i), Limits{})
		if err := s.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		b, err := s.Begin(c, Files{})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("private %v: a process that is frozen as it starts keeps a pipe of another open: %v", c.PrivatePIDs, err)
		}
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
		if p, err := b.Wait(); err == nil {
			wait(t, p)
		}
		remove(t, s)
	}
}

// TestAKilledBirthBeside: a command that hangs beside a task is killed, and the
// task continues.
func TestAKilledBirthBeside(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := ready(t, s, private("echo ready; exec sleep 1000"))
	c := Spec{Program: Program{Path: stuck(t), Dir: "/"}}
	for i := range 10 {
		if i == 5 { // from then on it cannot say who it is
			if err := s.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b, err := s.BeginBeside(p, c, Files{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if q, err := b.Wait(); err == nil {
				if e, err := q.Wait(); err != nil || e.Signal != syscall.SIGKILL {
					t.Errorf("%+v, %v", e, err)
				}
			}
		}()
		select {
		case <-ended:
			continue
		case <-time.After(10 * time.Second):
		}
		// What was made and had not said so when its maker was killed is not known yet, and
		// stands still with the task: it is killed when that continues, and says so then.
		if err := s.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ended
		if err := s.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if pids, err := s.Procs(); err != nil || len(pids) != 1 || pids[0] != p.Pid {
		t.Errorf("the slice has %v, %v", pids, err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
}

// TestNothingIsLeft: of a thousand starts no group, mount, file, namespace or
// process.
func TestNothingIsLeft(t *testing.T) {
	h := newHost(t)
	count := func(what string) int {
		t.Helper()
		switch what {
		case "files":
			fds, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(fds) - len(zygotes(t))
		case "mounts":
			b, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(string(b), "\n")
		default:
			b, err := os.ReadFile("/proc/self/maps")
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(string(b), "memfd:start") - len(zygotes(t))
		}
	}
	run := func(i int) {
		s, err := h.Create(fmt.Sprintf("part/job/%d", i), Limits{Memory: 64 << 20, PIDs: 10})
		if err != nil {
			t.Error(err)
			return
		}
		c := private("exit 3")
		if i%10 == 0 {
			c.Path = "/nonexistent/program"
		}
		p, err := s.Start(c, Files{})
		if (err != nil) != (i%10 == 0) {
			t.Errorf("%d: %v", i, err)
		}
		if err == nil {
			if e := wait(t, p); e != (Exit{Code: 3}) {
				t.Errorf("%d: %+v", i, e)
			}
		}
		remove(t, s)
	}
	known := len(zygotes(t)) // other tests'
	run(1)
	before, others := map[string]int{}, children(t)
	for _, what := range []string{"files", "mounts", "memory"} {
		before[what] = count(what)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 125 {
				run(n*125 + i)
			}
		})
	}
	wg.Wait()
	for what, n := range before {
		if now := count(what); now > n {
			t.Errorf("%s: %d before, %d now", what, n, now)
		}
	}
	if n := len(zygotes(t)); n > known+runtime.NumCPU() {
		t.Errorf("%d processes are there to be cloned, and %d were before", n, known)
	}
	for _, top := range tops(h) {
		if left, err := subgroups(top); err != nil || len(left) != 0 {
			t.Errorf("%s still has %v, %v", top, left, err)
		}
	}
	// No child is left, dead or alive, and so no namespace of one, but what all are
	// clones of. Other tests' that were killed and not waited for are not this one's.
	made := zygotes(t)
	for pid := range children(t) {
		if !others[pid] && !made[pid] {
			t.Errorf("process %d is left", pid)
		}
	}
}

// zygotes are those of our children which newborns are clones of.
func zygotes(t *testing.T) map[int]bool {
	t.Helper()
	out := map[int]bool{}
	for pid := range children(t) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(b)) == "mesita-zygote" {
			out[pid] = true
		}
	}
	return out
}

// children are our child processes, dead or alive.
func children(t *testing.T) map[int]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	pids := map[int]bool{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := statFields("/proc", pid); len(f) > 1 && string(f[1]) == strconv.Itoa(os.Getpid()) {
			pids[pid] = true
		}
	}
	return pids
}

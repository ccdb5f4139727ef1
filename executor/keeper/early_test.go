package keeper_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

// groups are those of a slice, in all hierarchies.
func (r *rig) groups(slice string) []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + r.slice + "/" + slice)
	more, _ := filepath.Glob("/sys/fs/cgroup/" + r.slice + "/" + slice)
	return append(roots, more...)
}

// TestASliceIsMadeAhead: a start takes the slice that was made for it, with the
// limits that it asks for itself, and what was made for a start that never comes
// is removed with the daemon that asked.
func TestASliceIsMadeAhead(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("first.0/1", "/bin/true")
	c.exit("first.0/1")
	ahead := func(id string) string {
		t.Helper()
		req := r.request(id, "/bin/true")
		c.Prepare(req)
		r.until("the slice of "+id, func() bool { return len(r.groups(req.Slice)) > 0 })
		return req.Slice
	}
	ahead("same.0/1")
	c.start("same.0/1", "/bin/true")
	if st := c.exit("same.0/1"); st.Code != 0 || st.Signal != 0 {
		t.Errorf("%+v", st)
	}
	slice := ahead("other.0/1")
	req := r.request("other.0/1", "/bin/sleep", "1000")
	req.Limits.PIDs = 33
	if _, err := c.Start(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for _, g := range r.groups(slice) {
		if b, err := os.ReadFile(filepath.Join(g, "pids.max")); err == nil && strings.TrimSpace(string(b)) != "33" {
			t.Errorf("%s has a limit of %s processes", g, b)
		}
	}
	slice = ahead("never.0/1")
	c.Prepare(r.request("other.0/1", "/bin/true")) // it runs: nothing is made, or removed
	c.leave()
	c = r.client()
	r.until("the slice of a start that never came is removed", func() bool { return len(r.groups(slice)) == 0 })
	if all, err := c.Running(t.Context()); err != nil || len(all) == 0 {
		t.Errorf("%v, %v", all, err)
	}
	c.start("never.0/1", "/bin/true")
	c.exit("never.0/1")
}

// members are the processes in a slice.
func (r *rig) members(slice string) []string {
	seen := map[string]bool{}
	for _, g := range r.groups(slice) {
		b, _ := os.ReadFile(filepath.Join(g, "cgroup.procs")) // it may be gone
		for _, pid := range strings.Fields(string(b)) {
			seen[pid] = true
		}
	}
	return slices.Collect(maps.Keys(seen))
}

// waiting is the process that waits in the slice of a start that was prepared.
func (r *rig) waiting(c *client, req keeper.StartRequest) int {
	r.Helper()
	c.Prepare(req)
	var all []string
	r.until("a process waits for its start", func() bool { all = r.members(req.Slice); return len(all) == 1 })
	pid, err := strconv.Atoi(all[0])
	if err != nil {
		r.Fatal(err)
	}
	return pid
}

// TestAProcessWaitsForItsStart: a process that was made ahead does nothing of its
// program before the start is asked for, and then it is the one that runs, with
// the output, the user and the end of any. One that was made for another program
// is not used, and one whose start never comes ends: with the daemon that asked,
// and with the keeper, which is not there to end it.
func TestAProcessWaitsForItsStart(t *testing.T) {
	if !isolation.Holds {
		t.Skip("no process can be held on this architecture")
	}
	r := newRig(t)
	c := r.client()
	c.start("first.0/1", "/bin/true")
	c.exit("first.0/1")
	mark := filepath.Join(t.TempDir(), "ran")
	script := "touch " + mark + "; echo said; sleep 1000"

	req := r.request("held.0/1", "/bin/sh", "-c", script)
	pid := r.waiting(c, req)
	if _, err := os.Stat(mark); err == nil {
		t.Error("its program ran before it was asked to")
	}
	res, err := c.Start(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if pid != res.PID {
		t.Errorf("process %d runs, and %d was waiting", res.PID, pid)
	}
	r.until("its program runs", func() bool { _, err := os.Stat(mark); return err == nil })
	r.until("its output is there", func() bool { return r.read("held.0/1") == "said\n" })
	if err := c.Kill(t.Context(), "held.0/1"); err != nil {
		t.Fatal(err)
	}
	if st := c.exit("held.0/1"); st.Signal != syscall.SIGKILL {
		t.Errorf("%+v", st)
	}

	former := r.waiting(c, r.request("changed.0/1", "/bin/sh", "-c", "exit 3"))
	if _, err := c.Start(t.Context(), r.request("changed.0/1", "/bin/sh", "-c", "exit 4")); err != nil {
		t.Fatal(err)
	}
	if st := c.exit("changed.0/1"); st.Code != 4 {
		t.Errorf("%+v", st)
	}
	r.until("who waited for another program is gone", func() bool { return !alive(former) })

	failing := r.request("failing.0/1", "/bin/no-such-program")
	r.waiting(c, failing)
	if _, err := c.Start(t.Context(), failing); !errors.Is(err, keeper.ErrProgram) {
		t.Errorf("a program that is not there: %v", err)
	}

	req = r.request("left.0/1", "/bin/sh", "-c", script)
	pid = r.waiting(c, req)
	c.leave()
	r.until("who waited ends with the daemon", func() bool { return !alive(pid) && len(r.groups(req.Slice)) == 0 })

	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	c = r.client()
	c.start("next.0/1", "/bin/true")
	c.exit("next.0/1")
	pid = r.waiting(c, r.request("orphan.0/1", "/bin/sh", "-c", script))
	if err := syscall.Kill(r.keeperPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.until("who waited ends with the keeper", func() bool { return !alive(pid) })
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program of one that waited ran")
	}
}

// Whatever kills a process that waits for its start, the start does not fail for
// that, nor is the kill taken for an end of its program.
func TestAKilledProcessThatWaitedIsMadeAnew(t *testing.T) {
	if !isolation.Holds {
		t.Skip("no process can be held on this architecture")
	}
	r := newRig(t)
	c := r.client()
	c.start("first.0/1", "/bin/true")
	c.exit("first.0/1")
	req := r.request("killed.0/1", "/bin/sh", "-c", "echo said; exit 3")
	pid := r.waiting(c, req)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	res, err := c.Start(t.Context(), req)
	if err != nil || res.PID == pid {
		t.Fatalf("%+v, %v", res, err)
	}
	if st := c.exit("killed.0/1"); st.Code != 3 || r.read("killed.0/1") != "said\n" {
		t.Errorf("%+v", st)
	}
	r.until("its slice is gone", func() bool { return len(r.groups(req.Slice)) == 0 })
}

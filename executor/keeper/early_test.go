package keeper_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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

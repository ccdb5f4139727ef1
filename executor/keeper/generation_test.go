package keeper_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
)

// pinned is the commit whose keepers say nothing of what they know.
const pinned = "1abf776"

// old is where mesita as it was at some commits is built, each once.
var old struct {
	sync.Mutex
	folder string
	built  map[string]error
}

// oldProgram is mesita as it was at a commit.
func oldProgram(commit string) (string, error) {
	old.Lock()
	defer old.Unlock()
	if old.folder == "" {
		dir, err := os.MkdirTemp("", "mesita-old-")
		if err != nil {
			return "", err
		}
		old.folder, old.built = dir, map[string]error{}
	}
	dir := filepath.Join(old.folder, commit)
	if err, ok := old.built[commit]; ok {
		return filepath.Join(dir, "mesita"), err
	}
	out, err := exec.Command("sh", "-ec", `
top=$(git rev-parse --show-toplevel)
mkdir -p "$0/src"
git -C "$top" archive "$1" | tar -x -C "$0/src"
cd "$0/src" && CGO_ENABLED=0 go build -trimpath -o "$0/mesita" .
rm -r "$0/src"`, dir, commit).CombinedOutput()
	if err != nil {
		err = &exec.Error{Name: string(out), Err: err}
	}
	old.built[commit] = err
	return filepath.Join(dir, "mesita"), err
}

// What an upgrade mends in keepers is there for what starts after it, though an
// old keeper has tasks for as long as they like: starts go to one of this
// generation, once no daemon comes back that would look for one keeper only.
func TestWhatIsMendedStartsBelowANewKeeper(t *testing.T) {
	for _, commit := range []string{"64a1907", pinned, "5335be4", "a0d3447"} {
		t.Run(commit, func(t *testing.T) {
			r, c := upgradedFrom(t, commit, nil)
			c.start("b.0/1", "/bin/sleep", "1000")
			if got := r.keepers(); !slices.Equal(got, []string{"keeper"}) {
				t.Fatalf("keepers %v, though the upgrade may be taken back", got)
			}
			c.leave()
			r.cfg.OneKeeper = func() bool { return false }
			c = r.client()
			c.states()
			var starts sync.WaitGroup
			for _, id := range []string{"c.0/1", "c.1/1"} {
				starts.Go(func() { c.start(id, "/bin/sh", "-c", "kill -KILL $$; exit 0") })
			}
			starts.Wait()
			for _, id := range []string{"c.0/1", "c.1/1"} {
				if st := c.exit(id); st.Code != 0 || st.Signal != syscall.SIGKILL && !byThread {
					t.Errorf("%s, which kills itself, ended with %+v", id, st)
				}
			}
			if got := r.keepers(); !slices.Equal(got, []string{"keeper", "keeper-2"}) {
				t.Fatalf("keepers %v", got)
			}
			c.leave()
			r.cfg.OneKeeper = func() bool { return true } // it is there, so an older daemon would miss it all the same
			c = r.client()
			c.states()
			c.start("d.0/1", "/bin/sleep", "1000")
			for id, old := range map[string]bool{"a.0/1": true, "b.0/1": true, "d.0/1": false} {
				if st, err := c.Stats(t.Context(), id); err != nil || st.OldKeeper != old {
					t.Errorf("%s: %+v, %v", id, st, err)
				}
				if all := c.AllStats(t.Context(), []string{"c.0/1", id}, ""); all[0] != nil || all[1] == nil || all[1].OldKeeper != old {
					t.Errorf("%s and what has ended, asked for together: %+v", id, all)
				}
			}
			for _, id := range []string{"a.0/1", "b.0/1"} {
				if err := c.Kill(t.Context(), id); err != nil {
					t.Error(err)
				}
				c.exit(id)
			}
			if err := c.Forget(t.Context(), "a.0/1", "b.0/1", "c.0/1", "c.1/1"); err != nil {
				t.Error(err)
			}
			r.until("the old keeper ends", func() bool { return slices.Equal(r.keepers(), []string{"keeper-2"}) })
			c.start("e.0/1", "/bin/sleep", "1000")
			if got := slices.Sorted(maps.Keys(c.states())); !slices.Equal(got, []string{"d.0/1", "e.0/1"}) {
				t.Errorf("running %v", got)
			}
		})
	}
}

// Every start is confined, and none is for a keeper that would leave that out.
// One whose daemon looks for one keeper only, and may come back, is let be.
func TestConfinementAndOlderKeepers(t *testing.T) {
	out, err := exec.Command("grep", "CapBnd", "/proc/self/status").Output()
	var own uint64
	if _, serr := fmt.Sscanf(string(out), "CapBnd:\t%x", &own); err != nil || serr != nil {
		t.Fatal(err, serr)
	}
	bound := fmt.Sprintf("CapBnd:\t%016x\nread-only\n", own&isolation.UsualCapabilities)
	covered := t.TempDir()
	if err := os.WriteFile(filepath.Join(covered, "key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for commit, alone := range map[string]bool{"64a1907": true, pinned: true, "5335be4": false, "a0d3447": false} {
		t.Run(commit, func(t *testing.T) {
			r, c := upgradedFrom(t, commit, nil)
			confined := func(id string) string {
				t.Helper()
				req := r.request(id, "/bin/sh", "-c", "grep CapBnd /proc/self/status; test -w /proc/sys/kernel/core_pattern || echo read-only; ls "+covered)
				req.Covered = []string{covered}
				req.PrivateIPC, req.FilterSyscalls, req.LimitDevices, req.ReadOnlySystem, req.Forbidden = true, true, true, true, ^isolation.UsualCapabilities
				if _, err := c.Start(t.Context(), req); err != nil {
					t.Fatal(err)
				}
				c.exit(id)
				return r.output(id, logs.Options{})
			}
			if got := confined("b.0/1"); (got != bound) != alone {
				t.Errorf("%q at first", got)
			}
			if got := r.keepers(); (len(got) == 1) != alone {
				t.Errorf("keepers %v", got)
			}
			c.leave()
			r.cfg.OneKeeper = func() bool { return false }
			c = r.client()
			c.states()
			if got := confined("c.0/1"); got != bound {
				t.Errorf("%q, once no older daemon comes back", got)
			}
		})
	}
}

package prepare

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func openTemps(t *testing.T) *Temps {
	t.Helper()
	temps, err := OpenTemps(filepath.Join(t.TempDir(), "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return temps
}

func mustMake(t *testing.T, temps *Temps, id string) string {
	t.Helper()
	dir, err := temps.Make(id)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(dir); err != nil || fi.Mode() != os.ModeDir|tempMode {
		t.Fatalf("%v, %v", fi, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Fatalf("it is not empty: %v, %v", names, err)
	}
	return dir
}

// The folder of one that ended is the next one's, empty and as it was made; not if
// something may still have it open, or if it is not as it was made. Nobody gets one
// that another has, and none is left.
func TestTempsAreUsedAgain(t *testing.T) {
	temps := openTemps(t)
	ctx := t.Context()
	for name, tt := range map[string]struct {
		change func(dir string) error
		again  bool
		same   bool
	}{
		"as it was":   {func(string) error { return nil }, true, true},
		"used":        {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755) }, true, true},
		"may be open": {func(string) error { return nil }, false, false},
		"closed":      {func(dir string) error { return os.Chmod(dir, 0o755) }, true, false},
		"another's":   {func(dir string) error { return os.Chown(dir, 7, 7) }, true, false},
		"marked":      {func(dir string) error { return unix.Setxattr(dir, "trusted.mesita", []byte("x"), 0) }, true, false},
	} {
		dir := mustMake(t, temps, "a.0/1")
		was := inode(t, dir)
		if err := tt.change(dir); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := temps.Release(ctx, "a.0/1", tt.again); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := temps.Release(ctx, "a.0/1", true); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
		if spare := len(temps.spare); (spare == 1) != tt.same {
			t.Errorf("%s: %d are kept", name, spare)
		}
		first, second := mustMake(t, temps, "b.0/1"), mustMake(t, temps, "c.0/1")
		if tt.same && inode(t, first) != was {
			t.Errorf("%s: another folder", name)
		}
		if first == second {
			t.Errorf("%s: two have one folder", name)
		}
		for _, id := range []string{"b.0/1", "c.0/1"} {
			if err := temps.Release(ctx, id, false); err != nil {
				t.Error(err)
			}
		}
		if ids, err := temps.Attempts(); err != nil || len(ids) > 0 {
			t.Errorf("%s: %v are left, %v", name, ids, err)
		}
	}
}

// What an earlier daemon left is listed, the spare ones too, and removed when it is
// said to be nobody's.
func TestTempsOfAnEarlierDaemon(t *testing.T) {
	temps := openTemps(t)
	mustMake(t, temps, "lives.0/1")
	mustMake(t, temps, "ended.1/2")
	if err := temps.Release(t.Context(), "ended.1/2", true); err != nil {
		t.Fatal(err)
	}
	later, err := OpenTemps(temps.root)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := later.Attempts()
	if want := []string{"ended.1/2", "lives.0/1"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%v, %v", ids, err)
	}
	if err := later.Release(t.Context(), "ended.1/2", false); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(temps.root); err != nil || len(names) != 1 || names[0].Name() != "lives.0.1" {
		t.Errorf("%v, %v", names, err)
	}
}

// However deep folders are in each other, few files are open to remove them; links
// are removed and not followed, and whoever ends in between is not waited for.
func TestDeepFoldersAreRemoved(t *testing.T) {
	temps := openTemps(t)
	dir := mustMake(t, temps, "deep.0/1")
	outside := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const depth = 300
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range depth {
		name := "d" + strconv.Itoa(i%3)
		if err := unix.Mkdirat(at, name, 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Symlinkat(filepath.Dir(outside), at, "link"); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		unix.Close(at)
		if err != nil {
			t.Fatal(err)
		}
		at = next
	}
	unix.Close(at)
	if err := os.WriteFile(filepath.Join(dir, ".moved1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := temps.Release(stopped, "deep.0/1", true); err == nil {
		t.Error("it went on to the end after its own")
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = 64
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err = temps.Release(t.Context(), "deep.0/1", true)
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil || rerr != nil {
		t.Error(err, rerr)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

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

func mustRemove(t *testing.T, temps *Temps, dirs []string) {
	t.Helper()
	for _, dir := range dirs {
		if err := temps.Remove(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
}

// What is still to be removed of an attempt is not what one with its id has by then,
// which begins with an empty one; nor is one that was prepared twice short of what
// either try named. Nothing is left at the end.
func TestTempsOfAnIDThatComesBack(t *testing.T) {
	temps := openTemps(t)
	temps.Fill(t.Context())
	const id = "a.0/1"
	first := mustMake(t, temps, id)
	if err := os.WriteFile(filepath.Join(first, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := temps.Ended(id)
	second := mustMake(t, temps, id)
	if err := os.WriteFile(filepath.Join(second, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustRemove(t, temps, old)
	mustRemove(t, temps, old)
	if names, err := os.ReadDir(second); err != nil || len(names) != 1 {
		t.Errorf("what runs has %v, %v", names, err)
	}
	if _, err := os.Stat(first); err == nil {
		t.Error("what ended is not gone")
	}
	third := mustMake(t, temps, id)
	if _, err := os.Stat(second); err != nil || third == second {
		t.Errorf("the second try has the first one's, or nobody: %v", err)
	}
	mustRemove(t, temps, temps.Nobodys(map[string]bool{id: true}))
	for _, dir := range []string{second, third} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	mustRemove(t, temps, temps.Nobodys(nil))
	if names, err := os.ReadDir(temps.root); err != nil || len(names) != len(spares(t, temps.root)) {
		t.Errorf("%v are left, %v", names, err)
	}
}

// What an earlier daemon left is removed once it is said who lives, and so is what
// that one had made for others; names of before it as well.
func TestTempsOfAnEarlierDaemon(t *testing.T) {
	temps := openTemps(t)
	temps.Fill(t.Context())
	lives := mustMake(t, temps, "lives.0/1")
	mustMake(t, temps, "ended.1/2")
	for _, name := range []string{"former.0.1", "plain.0.1"} {
		if err := os.MkdirAll(filepath.Join(temps.root, name, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	later, err := OpenTemps(temps.root)
	if err != nil {
		t.Fatal(err)
	}
	mustRemove(t, later, later.Nobodys(map[string]bool{"lives.0/1": true, "plain.0/1": true}))
	names, err := os.ReadDir(temps.root)
	if err != nil || len(names) != 2 || names[0].Name() != filepath.Base(lives) || names[1].Name() != "plain.0.1" {
		t.Errorf("%v, %v", names, err)
	}
	mustRemove(t, later, slices.Concat(later.Ended("lives.0/1"), later.Ended("plain.0/1")))
	if names, err := os.ReadDir(temps.root); err != nil || len(names) > 0 {
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
	if err := temps.Remove(stopped, dir); err == nil {
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
	err = temps.Remove(t.Context(), dir)
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil || rerr != nil {
		t.Error(err, rerr)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("it is not gone")
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func inode(t *testing.T, dir string) uint64 {
	t.Helper()
	fi, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

func openFolders(t *testing.T) *Folders {
	t.Helper()
	f, err := OpenFolders(filepath.Join(t.TempDir(), "tasks"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// spares lists the folders that nobody has yet.
func spares(t *testing.T, root string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(root, spareName+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// What a task left as it got it goes; anything else stays the task's.
func TestUntouchedFoldersGo(t *testing.T) {
	f := openFolders(t)
	other := t.TempDir()
	for what, touch := range map[string]func(dir string) error{
		"nothing":       nil,
		"a file":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
		"a folder":      func(dir string) error { return os.Mkdir(filepath.Join(dir, "x"), 0o700) },
		"a mode":        func(dir string) error { return os.Chmod(dir, 0o755) },
		"a sticky bit":  func(dir string) error { return os.Chmod(dir, 0o700|os.ModeSticky) },
		"an owner":      func(dir string) error { return os.Chown(dir, 1000, -1) },
		"a group":       func(dir string) error { return os.Chown(dir, -1, 1000) },
		"an attribute":  func(dir string) error { return unix.Setxattr(dir, "trusted.mesita", []byte("x"), 0) },
		"a link beside": func(dir string) error { return errors.Join(os.Remove(dir), os.Symlink(other, dir)) },
	} {
		id := strings.ReplaceAll(what, " ", "-") + ".0/1"
		dir := f.Dir(id)
		if err := f.create(dir, heir{}); err != nil {
			t.Fatal(err)
		}
		if touch != nil {
			if err := touch(dir); err != nil {
				if os.Geteuid() == 0 && !errors.Is(err, unix.ENOTSUP) {
					t.Errorf("%s: %v", what, err)
				}
				continue
			}
		}
		f.Release(id, true)
		if _, err := os.Lstat(dir); (err == nil) != (touch != nil) {
			t.Errorf("after %s: %v", what, err)
		}
	}
	f.Release("never.0/1", true) // it got none

	// One that is there stays, with what is in it.
	full := f.Dir("b.0/1")
	if err := errors.Join(os.Mkdir(full, 0o700), os.WriteFile(filepath.Join(full, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // without a spare one and with
		if err := f.create(full, heir{}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(full, "x")); err != nil {
			t.Error(err)
		}
		f.Fill(t.Context())
	}
}

// Those that are made before are few at first and more with each time that they run
// low, bounded, made when few are left, and new; who asks when there is none, or when
// somebody removed them, gets one all the same. Those of an earlier daemon go.
func TestSpareFolders(t *testing.T) {
	f := openFolders(t)
	asked := 0
	take := func(n int) {
		for range n {
			asked++
			dir := f.Dir(fmt.Sprintf("a.%d/1", asked))
			if err := f.create(dir, heir{}); err != nil {
				t.Fatal(err)
			}
			if fi, err := os.Stat(dir); err != nil || fi.Mode() != os.ModeDir|0o700 {
				t.Fatalf("%v, %v", fi, err)
			}
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := firstSpare
	for range 8 {
		if !f.Low() {
			t.Error("half of them were taken, and that is enough")
		}
		f.Fill(t.Context())
		f.Fill(t.Context())
		if n := len(spares(t, f.root)); n != want || f.Low() {
			t.Errorf("%d are made, want %d; too few: %v", n, want, f.Low())
		}
		take(want / 2)
		want = min(2*want, maxSpare)
	}
	f.Fill(t.Context())
	for _, dir := range spares(t, f.root)[:maxSpare/4] {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	take(maxSpare + 5)
	f.Fill(t.Context())
	later, err := OpenFolders(f.root)
	if err != nil {
		t.Fatal(err)
	}
	for later.Trim(t.Context()) {
	}
	if left := spares(t, f.root); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

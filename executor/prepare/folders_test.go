package prepare

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

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

// A folder that a task left as it got it is the next one's; any other stays
// the task's.
func TestFoldersAreUsedAgain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "tasks")
	f, err := OpenFolders(root)
	if err != nil {
		t.Fatal(err)
	}
	f.few, f.every, f.valid = 0, 0, time.Hour
	n := 0
	create := func() (string, uint64) {
		t.Helper()
		n++
		dir := filepath.Join(root, fmt.Sprint("a.", n, ".1"))
		if err := f.create(dir); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(dir); err != nil || fi.Mode() != os.ModeDir|0o700 {
			t.Fatalf("%v, %v", fi, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Fatalf("a task finds %v in its folder, %v", left, err)
		}
		return dir, inode(t, dir)
	}
	first, ino := create()
	f.release(first)
	f.look()
	if _, err := os.Stat(first); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the ended attempt is still there: %v", err)
	}
	second, again := create()
	if again != ino {
		t.Error("the folder was not used again")
	}
	f.release(filepath.Join(root, "never.0.1")) // of an attempt that got none

	for what, touch := range map[string]func(dir string) error{
		"a file":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
		"a folder":      func(dir string) error { return os.Mkdir(filepath.Join(dir, "x"), 0o700) },
		"a mode":        func(dir string) error { return os.Chmod(dir, 0o755) },
		"a sticky bit":  func(dir string) error { return os.Chmod(dir, 0o700|os.ModeSticky) },
		"an owner":      func(dir string) error { return os.Chown(dir, 1000, -1) },
		"a group":       func(dir string) error { return os.Chown(dir, -1, 1000) },
		"an attribute":  func(dir string) error { return unix.Setxattr(dir, "trusted.mesita", []byte("x"), 0) },
		"a link beside": func(dir string) error { return errors.Join(os.Remove(dir), os.Symlink(second, dir)) },
	} {
		dir, was := create()
		if err := touch(dir); err != nil {
			if os.Geteuid() == 0 && !errors.Is(err, unix.ENOTSUP) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		f.release(dir)
		f.look()
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("after %s the folder is not the task's any more: %v", what, err)
		}
		if what == "a link beside" {
			continue
		}
		if _, is := create(); is == was {
			t.Errorf("after %s the folder was used again", what)
		}
	}

	// One that is there stays, with what is in it.
	full := filepath.Join(root, "b.0.1")
	if err := errors.Join(os.Mkdir(full, 0o700), os.WriteFile(filepath.Join(full, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // with a spare one and without
		if err := f.create(full); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(full, "x")); err != nil {
			t.Error(err)
		}
	}
}

// They are bounded, and those of an earlier daemon go.
func TestSpareFoldersAreBounded(t *testing.T) {
	root := filepath.Join(t.TempDir(), "tasks")
	f, err := OpenFolders(root)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for i := range maxSpare + 10 {
		dir := filepath.Join(root, fmt.Sprintf("a.%d.1", i))
		if err := f.create(dir); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		f.release(dir)
	}
	spare, _ := filepath.Glob(filepath.Join(root, spareName+"*"))
	kept, _ := filepath.Glob(filepath.Join(root, "a.*"))
	if len(spare) != maxSpare || len(kept) != 10 {
		t.Errorf("%d spare, %d kept", len(spare), len(kept))
	}
	// Somebody removed them: folders are made as ever.
	for _, dir := range spare[:maxSpare/2] {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxSpare {
		if err := f.create(filepath.Join(root, fmt.Sprintf("c.%d.1", i))); err != nil {
			t.Fatal(err)
		}
	}
	f.release(filepath.Join(root, "c.0.1"))
	if _, err := OpenFolders(root); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(root, spareName+"*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A folder in which a process stands, whoever's, is no other task's after it: nor
// one of which that cannot be told.
func TestAFolderWithSomebodyInItIsNotUsedAgain(t *testing.T) {
	f, err := OpenFolders(filepath.Join(t.TempDir(), "tasks"))
	if err != nil {
		t.Fatal(err)
	}
	f.few, f.every, f.valid = 0, 0, time.Hour
	used := func(n int) (dir string, again bool) {
		t.Helper()
		was, next := filepath.Join(f.root, fmt.Sprint("a.", n, ".1")), filepath.Join(f.root, fmt.Sprint("b.", n, ".1"))
		if err := f.create(was); err != nil {
			t.Fatal(err)
		}
		open, err := os.Open(was) // or its inode might be given again
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		ino := inode(t, was)
		c := exec.Command("sleep", "1000")
		if n%2 == 0 {
			c.Dir = was
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		f.release(was)
		f.look()
		if err := f.create(next); err != nil {
			t.Fatal(err)
		}
		at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", c.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Process.Kill() // it may not be waited for before
		_ = c.Wait()         // it was killed
		if at == next {
			t.Errorf("a process stands in the folder of the next task, %s", at)
		}
		return next, inode(t, next) == ino
	}
	for n := range 4 {
		if dir, again := used(n); again != (n%2 == 1) {
			t.Errorf("%s is used again: %v", dir, again)
		}
	}
	f.proc = filepath.Join(t.TempDir(), "gone")
	if dir, again := used(5); again {
		t.Errorf("%s is used again, unseen", dir)
	}
}

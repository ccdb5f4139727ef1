package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation"
)

// What the kernel cannot read of a program is the program's fault, unless we cannot
// either: a file that only looks like one must not be blamed on its node. No room is the disk's only where something is written
// to one: the kernel says that of namespaces and groups, too.
func TestWhoseFaultAnErrorIs(t *testing.T) {
	whole, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		of   os.PathError
		kind error
	}{
		"one of which the loader is none":       {os.PathError{Op: "fork/exec", Path: file("whole", whole), Err: unix.EIO}, ErrProgram},
		"a script whose interpreter is cut off": {os.PathError{Op: "fork/exec", Path: file("script", []byte("#!"+file("shell", whole[:100])+"\n")), Err: unix.EIO}, ErrProgram},
		"one that is cut off":                   {os.PathError{Op: "fork/exec", Path: file("cut", whole[:100]), Err: unix.EIO}, ErrProgram},
		"one that is gone meanwhile":            {os.PathError{Op: "fork/exec", Path: filepath.Join(dir, "gone"), Err: unix.EIO}, ErrProgram},
		"one that is a pipe":                    {os.PathError{Op: "fork/exec", Path: pipe, Err: unix.EIO}, ErrProgram},
		"a folder that cannot be read":          {os.PathError{Op: "chdir", Path: dir, Err: unix.EIO}, nil},
		"a folder of the user's that is gone":   {os.PathError{Op: "chdir", Path: dir, Err: unix.ENOENT}, ErrProgram},
		"no room for what is made for it":       {os.PathError{Op: isolation.MakeOp, Path: dir, Err: unix.ENOSPC}, ErrDiskFull},
		"no more of its quota":                  {os.PathError{Op: isolation.MakeOp, Path: dir, Err: unix.EDQUOT}, ErrDiskFull},
		"a disk that takes nothing":             {os.PathError{Op: isolation.MakeOp, Path: dir, Err: unix.EIO}, nil},
		"no namespace left":                     {os.PathError{Op: "fork/exec", Path: "/bin/true", Err: unix.ENOSPC}, nil},
		"no group left":                         {os.PathError{Op: "mkdir", Path: dir, Err: unix.ENOSPC}, nil},
	} {
		err := toWire(programError(fmt.Errorf("start: %w", &want.of))).asError()
		for _, kind := range []error{ErrProgram, ErrDiskFull} {
			if errors.Is(err, kind) != (kind == want.kind) {
				t.Errorf("%s: %v is %v: %v", name, err, kind, errors.Is(err, kind))
			}
		}
	}
}

// TestADiskThatFails: what a disk does not give is its fault, and what is not there is
// not.
func TestADiskThatFails(t *testing.T) {
	whole, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[int64]bool{0: true, 64: true, int64(len(whole)): false} {
		if got := diskFails(failing{whole, from}); got != want {
			t.Errorf("nothing can be read from byte %d on: the disk fails: %v", from, got)
		}
	}
	if diskFails(bytes.NewReader(whole[:100])) {
		t.Error("a file that is cut off counts as a disk that fails")
	}
}

// failing gives what is before a place.
type failing struct {
	content []byte
	from    int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, &os.PathError{Op: "read", Path: "disk", Err: unix.EIO}
	}
	return bytes.NewReader(f.content).ReadAt(p, off)
}

// TestOnlyFilesAreOpened: a name that leads to something else by now is not opened.
func TestOnlyFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	pipe, link, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := errors.Join(unix.Mkfifo(pipe, 0o644), os.Symlink("/dev/null", link), os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{pipe: false, link: false, dir: false, file: true, filepath.Join(dir, "gone"): false} {
		f := openRegular(path)
		if (f != nil) != want {
			t.Errorf("%s is opened: %v", path, f != nil)
		}
		if f != nil {
			f.Close()
		}
	}
}

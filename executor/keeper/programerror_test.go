package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/isolation"
)

// What cannot be read of a program is the disk's fault, unless it is not there: the
// kernel says the same of both. No room is the disk's only where something is written
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
		"a program that is whole and cannot be read": {os.PathError{Op: "fork/exec", Path: file("whole", whole), Err: unix.EIO}, nil},
		"one that is cut off":                        {os.PathError{Op: "fork/exec", Path: file("cut", whole[:100]), Err: unix.EIO}, ErrProgram},
		"one that is gone meanwhile":                 {os.PathError{Op: "fork/exec", Path: filepath.Join(dir, "gone"), Err: unix.EIO}, nil},
		"one that is a pipe":                         {os.PathError{Op: "fork/exec", Path: pipe, Err: unix.EIO}, nil},
		"a folder that cannot be read":               {os.PathError{Op: "chdir", Path: dir, Err: unix.EIO}, nil},
		"a folder of the user's that is gone":        {os.PathError{Op: "chdir", Path: dir, Err: unix.ENOENT}, ErrProgram},
		"no room for what is made for it":            {os.PathError{Op: isolation.MakeOp, Path: dir, Err: unix.ENOSPC}, ErrDiskFull},
		"no more of its quota":                       {os.PathError{Op: isolation.MakeOp, Path: dir, Err: unix.EDQUOT}, ErrDiskFull},
		"a disk that takes nothing":                  {os.PathError{Op: isolation.MakeOp, Path: dir, Err: unix.EIO}, nil},
		"no namespace left":                          {os.PathError{Op: "fork/exec", Path: "/bin/true", Err: unix.ENOSPC}, nil},
		"no group left":                              {os.PathError{Op: "mkdir", Path: dir, Err: unix.ENOSPC}, nil},
	} {
		err := toWire(programError(fmt.Errorf("start: %w", &want.of))).asError()
		for _, kind := range []error{ErrProgram, ErrDiskFull} {
			if errors.Is(err, kind) != (kind == want.kind) {
				t.Errorf("%s: %v is %v: %v", name, err, kind, errors.Is(err, kind))
			}
		}
	}
}

// Package process owns one process from its spec to its end: that it is born in
// its groups and namespaces, becomes its program, is signalled and waited for.
// It makes no groups and knows no limits of them: package isolation, which calls
// it, says where a process is born.
package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Starter starts processes. It is safe for concurrent use.
type Starter struct {
	ProcRoot string
	Log      *slog.Logger

	trees     trees
	paths     kernelPaths
	oldKernel sync.Once

	starter // what the way of starting keeps
}

// Place is where a process is born.
type Place struct {
	Slice   string        // what errors call it
	Group   string        // folder of its cgroup v2 group; "" = none
	Entries []string      // files to which a process writes 0 to be in its other groups, those last after which it may be slow
	Began   func(pid int) // told that the program has begun; may be nil
}

// ErrEnded says that a process ended, as by a kill, while nothing of its program had
// been done.
var ErrEnded = errors.New("the process ended before its program began")

// Begin starts a process up to where it may take long: the program may be on a
// dead file server, and its groups may be frozen or hardly have a processor. It
// is in a session of its own and, unless beside is nil, in the namespaces of that
// process. Whoever calls must Wait for the birth.
func (st *Starter) Begin(at Place, c Spec, f Files, beside *Process) (*Birth, error) {
	if c.Path == "" {
		return nil, errors.New("start a process: the path is empty: name a program")
	}
	b, err := st.begin(at, c, f, beside)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return b, nil
}

// Wait returns the process once its program has begun, or why it has not.
func (b *Birth) Wait() (*Process, error) {
	p, err := b.wait()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", b.c.Path, err)
	}
	return p, nil
}

func args(c Spec) []string {
	if len(c.Args) == 0 {
		return []string{c.Path}
	}
	return c.Args
}

func open(path string, flags int) (fd int, err error) {
	err = ignoreInterrupt(func() error {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func ignoreInterrupt(call func() error) error {
	for {
		if err := call(); err != unix.EINTR { //nolint:errorlint // straight from the system call
			return err
		}
	}
}

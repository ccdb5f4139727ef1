// Package datadir is a node's data folder: who may use it, and the files in which the
// node remembers itself. What others keep below it (Raft's log, certificates, tasks) is
// theirs; package cluster opens it, and decides what is remembered.
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/executor/sealed"
	"golang.org/x/sys/unix"
)

// Dir is the locked data folder of one node.
type Dir struct {
	Path string // as it was given
	lock *os.File
}

// Open makes the folder if needed and locks it, so that one daemon at a
// time uses it: else it fails with CodeConflict.
func Open(path string) (*Dir, error) {
	// Tasks of other users have their working folders below it; what is secret has
	// a mode of its own.
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close() // it was only read
		return nil, api.Errorf(api.CodeConflict, "a mesita node runs here already (pid %s, data %s): stop it first, or give another --data", strings.TrimSpace(string(holder[:n])), path)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // for the message above only
	}
	return &Dir{path, f}, nil
}

// InUse reports whether a daemon runs with the data folder at path.
func InUse(path string) bool {
	f, err := os.Open(filepath.Join(path, "lock"))
	if err != nil {
		return false
	}
	defer f.Close() // and with it the lock
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// Close lets go of the folder.
func (d *Dir) Close() error { return d.lock.Close() }

// File is the path of what has that name in the folder.
func (d *Dir) File(elem ...string) string {
	return filepath.Join(append([]string{d.Path}, elem...)...)
}

// Have lists those of some names that are in the folder.
func (d *Dir) Have(names ...string) ([]string, error) {
	var out []string
	for _, n := range names {
		switch _, err := os.Lstat(d.File(n)); {
		case err == nil:
			out = append(out, n)
		case !errors.Is(err, os.ErrNotExist):
			return nil, err
		}
	}
	return out, nil
}

// Barred is the folder, at or above a path, that only its owner's group and root
// may pass, "" if none is: tasks of other users could not enter what is theirs.
func Barred(path string) string {
	for ; ; path = filepath.Dir(path) {
		if fi, err := os.Stat(path); err != nil || fi.Mode()&0o001 == 0 {
			return path
		}
		if path == filepath.Dir(path) {
			return ""
		}
	}
}

// read reads a file that write wrote, or an older program without a checksum.
func (d *Dir) read(name string, v any, remedy string) (found bool, err error) {
	b, err := os.ReadFile(d.File(name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what this node remembers of itself: %w", err)
	}
	if _, _, err = sealed.Check(b); err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return false, api.Errorf(api.CodeFailed, "%s is damaged (%v): %s", d.File(name), err, remedy)
	}
	return true, nil
}

func (d *Dir) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	b, _ = sealed.Add(b)
	return disk.WriteFile(d.File(name), b, 0o600)
}

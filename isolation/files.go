package isolation

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// writeFile writes a control file. It makes none: in a group they all exist.
// Plain system calls, since the os package would put each file into the poller.
func writeFile(dir, name, value string) error {
	path := filepath.Join(dir, name)
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, []byte(value)) }); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

const maxControlFile = 8 << 20 // a group of a million processes

// readFile reads a control file whole.
func readFile(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 1024)
	for len(b) < maxControlFile {
		b = slices.Grow(b, 512)
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return b, nil
		}
		b = b[:len(b)+n]
	}
	return nil, fmt.Errorf("read %s: it is longer than %d bytes", path, maxControlFile)
}

func open(path string, flags int) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR { //nolint:errorlint // straight from the system call
			return n, err
		}
	}
}

// readKeys reads a file of lines "key number".
func readKeys(dir, name string) (map[string]uint64, error) {
	b, err := readFile(dir, name)
	if err != nil {
		return nil, err
	}
	kv := map[string]uint64{}
	for line := range bytes.Lines(b) {
		k, v, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			kv[k] = n
		}
	}
	return kv, nil
}

// readInt reads a number; "max" is the greatest.
func readInt(dir, name string) (int64, error) {
	b, err := readFile(dir, name)
	if err != nil {
		return 0, err
	}
	s := strings.TrimSpace(string(b))
	if s == "max" {
		return math.MaxInt64, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Join(dir, name), err)
	}
	return int64(min(n, math.MaxInt64)), nil
}

func micros(n uint64) time.Duration { return nanos(min(n, math.MaxInt64/1000) * 1000) }
func nanos(n uint64) time.Duration  { return time.Duration(min(n, math.MaxInt64)) }

// readPIDs reads the processes of a group and of the groups that a process in
// it made.
func readPIDs(dir string) ([]int, error) {
	b, err := readFile(dir, "cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range bytes.FieldsSeq(b) {
		if pid, err := strconv.Atoi(string(field)); err == nil && pid > 0 { // 0 is one outside our PID namespace
			pids = append(pids, pid)
		}
	}
	subs, err := subgroups(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range subs {
		more, err := readPIDs(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}

// subgroups returns the names of the groups in dir. The links of a directory
// tell at once that there are none, as is usual.
func subgroups(dir string) ([]string, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// removeGroups removes the group name below top, the groups inside it, and each
// parent that is left empty. One that is gone is as good.
func removeGroups(top, name string) error {
	if err := removeTree(filepath.Join(top, name)); err != nil {
		return err
	}
	for parent := filepath.Dir(name); parent != "."; parent = filepath.Dir(parent) {
		if err := syscall.Rmdir(filepath.Join(top, parent)); err != nil {
			break // another slice is in it
		}
	}
	return nil
}

func removeTree(dir string) error {
	err := syscall.Rmdir(dir)
	if err == nil || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	subs, serr := subgroups(dir)
	if serr != nil || len(subs) == 0 {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	for _, sub := range subs {
		if err := removeTree(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

package usage

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOpen bounds the open files that are looked at, of all processes together.
const maxOpen = 1_000_000

// Unlinked sums up the files on a file system that processes have open and that have
// no name any more, by task: whoever is in the group of a task's process counts for
// it. A task has a cgroup of its own; without one only that process is looked at. What
// a process has mapped and not open is not found. The error is ctx's.
func Unlinked(ctx context.Context, procRoot string, dev uint64, pids map[string]int) (map[string]int64, error) {
	u := unlinked{root: procRoot, dev: dev, seen: map[string]map[uint64]bool{}, out: map[string]int64{}}
	ours, groups := u.group("self"), map[string]string{}
	for id, pid := range pids {
		if group := u.group(strconv.Itoa(pid)); group != "" && group != ours && group != "/" {
			groups[group] = id
		} else {
			u.process(id, strconv.Itoa(pid))
		}
	}
	if len(groups) == 0 {
		return u.out, ctx.Err()
	}
	entries, err := os.ReadDir(procRoot)
	if err != nil {
		return u.out, ctx.Err()
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if id := groups[u.group(e.Name())]; id != "" {
			u.process(id, e.Name())
		}
		if ctx.Err() != nil {
			break
		}
	}
	return u.out, ctx.Err()
}

type unlinked struct {
	root string
	dev  uint64
	open int
	seen map[string]map[uint64]bool // the files of each that were counted
	out  map[string]int64
}

// group is that of a process in the v2 tree, "" if it has none.
func (u *unlinked) group(pid string) string {
	b, err := os.ReadFile(filepath.Join(u.root, pid, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(b) {
		if path, ok := bytes.CutPrefix(line, []byte("0::")); ok {
			return string(bytes.TrimSpace(path))
		}
	}
	return ""
}

func (u *unlinked) process(id, pid string) {
	dir, err := os.Open(filepath.Join(u.root, pid, "fd"))
	if err != nil {
		return // it has ended
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		if err != nil {
			return
		}
		for _, name := range names {
			if u.open++; u.open > maxOpen {
				return
			}
			// What it is called costs no look at a file system that may be dead.
			path := filepath.Join(u.root, pid, "fd", name)
			if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, "/") && strings.HasSuffix(to, " (deleted)") {
				u.file(id, path)
			}
		}
	}
}

func (u *unlinked) file(id, path string) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_BLOCKS|unix.STATX_NLINK|unix.STATX_INO, &st)
	if err != nil || st.Nlink > 0 || unix.Mkdev(st.Dev_major, st.Dev_minor) != u.dev || u.seen[id][st.Ino] {
		return
	}
	if u.seen[id] == nil {
		u.seen[id] = map[uint64]bool{}
	}
	u.seen[id][st.Ino] = true // as many as open files that were looked at
	u.out[id] += int64(st.Blocks) * blockSize
}

// Device is the number of the file system that a path is on.
func Device(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return uint64(st.Dev), nil //nolint:unconvert // narrower on some processors
}

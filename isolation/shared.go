package isolation

import (
	"os"
	"path/filepath"
	"strconv"
)

// Shares reports whether another process that was given the same name of the top
// slice, and that cgroup root ("" = none), has the very group that this host
// has. Each finds it below its own mounts: equal paths may be two groups, as in
// a container, and one group may have two paths.
func (h *Host) Shares(pid int, root string) bool {
	proc := filepath.Join(h.cfg.ProcRoot, strconv.Itoa(pid))
	if root == "" {
		m, err := readMounts(proc)
		if err != nil {
			return false // it ended
		}
		root = m.unified
	}
	if h.top == "" { // no group says whose processes are whose
		return filepath.Clean(root) == filepath.Clean(h.cfg.Root) && h.Beside(pid)
	}
	ours, err := os.Stat(h.top)
	if err != nil {
		return false
	}
	theirs, err := os.Stat(filepath.Join(proc, "root", root, h.cfg.Slice))
	return err == nil && os.SameFile(ours, theirs)
}

// Beside reports whether another process sees the files and processes that we see.
func (h *Host) Beside(pid int) bool {
	for _, ns := range []string{"mnt", "pid", "cgroup"} {
		ours, err := os.Readlink(filepath.Join(h.cfg.ProcRoot, "self/ns", ns))
		theirs, terr := os.Readlink(filepath.Join(h.cfg.ProcRoot, strconv.Itoa(pid), "ns", ns))
		if (err == nil) != (terr == nil) || ours != theirs { // an old kernel has no cgroup namespaces
			return false
		}
	}
	return true
}

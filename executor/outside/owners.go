package outside

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// owners says who has sockets, by their inodes, such as "nginx (pid 812)". That
// takes a look at all open files of the machine.
func owners(proc string, inodes []uint64) map[uint64]string {
	out := map[uint64]string{}
	if len(inodes) == 0 {
		return out
	}
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return out
	}
	for _, d := range dirs {
		if _, err := strconv.Atoi(d.Name()); err != nil || len(out) == len(inodes) {
			continue
		}
		fds, err := os.ReadDir(filepath.Join(proc, d.Name(), "fd"))
		if err != nil {
			continue // it ended, or is of another namespace
		}
		for _, fd := range fds {
			to, err := os.Readlink(filepath.Join(proc, d.Name(), "fd", fd.Name()))
			of, ok := strings.CutPrefix(to, "socket:[")
			if err != nil || !ok {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(of, "]"), 10, 64)
			if err == nil && out[inode] == "" && slices.Contains(inodes, inode) {
				out[inode] = process(proc, d.Name())
			}
		}
	}
	return out
}

func process(proc, pid string) string {
	name, err := os.ReadFile(filepath.Join(proc, pid, "comm"))
	if err != nil {
		return "process " + pid
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(name), "?")) + " (pid " + pid + ")"
}

package isolation

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inSlice reports whether groups, as cgroup(7) lists those of a process, are below a slice
// of any mesita: beside a node somebody may run a cluster of their own.
func inSlice(groups []byte) bool {
	for line := range bytes.Lines(groups) {
		parts := bytes.Split(bytes.TrimSpace(line), []byte("/"))
		for _, name := range parts[:len(parts)-1] {
			if bytes.HasPrefix(name, []byte("mesita")) && bytes.HasSuffix(name, []byte(".slice")) {
				return true
			}
		}
	}
	return false
}

// Confines reports whether a process of this machine is one of a task's, and was
// not let out (see process.Privileged): what it may reach by being root is not
// what root of the machine may. One that is gone, so that nobody can tell, is.
func (h *Host) Confines(pid int) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
	if err != nil {
		return true
	}
	inside := bytes.Contains(groups, []byte("/"+h.cfg.Slice+"/")) || inSlice(groups)
	if h.mode == None { // tasks have no groups, but PIDs of their own
		theirs, terr := os.Readlink(filepath.Join(dir, "ns/pid"))
		ours, oerr := os.Readlink("/proc/self/ns/pid")
		inside = terr != nil || oerr != nil || theirs != ours
	}
	if !inside {
		return false
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
			return err != nil || caps&(1<<unix.CAP_SYS_ADMIN) == 0
		}
	}
	return true
}

package isolation

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// LeaveUnit moves a process out of the group of the service or session that it
// was started in, to one beside the top slice: a service manager takes what is in
// a unit's group for a part of the unit, ends it with a session, and warns of it
// when the unit starts again. What the process starts follows it. It is told
// where it is now; "" is where it was. Without a v2 tree nothing is done.
func (h *Host) LeaveUnit(pid int) (group string, err error) {
	if h.top == "" {
		return "", nil
	}
	b, err := os.ReadFile(filepath.Join(h.cfg.ProcRoot, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("find out which group a process is in: %w", err)
	}
	if !inUnit(string(b)) {
		return "", nil
	}
	slice, of := strings.CutSuffix(h.cfg.Slice, ".slice")
	if slice += "-keeper"; of {
		slice += ".slice"
	}
	dir := filepath.Join(h.cfg.Root, slice)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a group beside the units: %w", err)
	}
	if err := writeFile(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
		return "", fmt.Errorf("leave the unit's group: %w", errors.Join(err, os.Remove(dir)))
	}
	if err := favour(dir); err != nil {
		h.cfg.Log.Warn("tasks may keep their keeper from the processor", "err", err)
	}
	return slice, nil
}

// inUnit reports whether a file in the form of /proc/PID/cgroup has a process in a
// unit, or below, in the v2 tree.
func inUnit(file string) bool {
	for line := range strings.Lines(file) {
		at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for ; ok && at != "/" && at != "."; at = path.Dir(at) {
			if ext := path.Ext(at); ext == ".service" || ext == ".scope" {
				return true
			}
		}
	}
	return false
}

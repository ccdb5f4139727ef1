package isolation

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// unified limits by the v2 controllers.
type unified struct {
	top         string
	controllers []string
	noSwap      bool // memory.swap.max exists
	pins        bool // slices can be kept to some CPUs
}

func newUnified(top string, controllers []string) *unified {
	_, err := os.Stat(filepath.Join(top, "memory.swap.max"))
	u := &unified{top: top, controllers: controllers, noSwap: err == nil}
	u.pins = u.enforces("cpuset") && keepsNotes(top)
	return u
}

func (u *unified) enforces(c string) bool { return slices.Contains(u.controllers, c) }

// create writes only what a fresh group has not anyway.
func (u *unified) create(name string, l Limits) error {
	if err := u.keepTo(name, l); err != nil {
		return err
	}
	fresh := u.settings(name, Limits{})
	for i, s := range u.settings(name, l) {
		if s.value == fresh[i].value {
			continue
		}
		if err := s.write(); err != nil {
			return fmt.Errorf("set the limits of %s: %w", name, err)
		}
	}
	return nil
}

func (u *unified) update(name string, l Limits) error {
	for _, s := range u.settings(name, l) {
		if err := s.write(); err != nil {
			return fmt.Errorf("set the limits of %s: %w", name, err)
		}
	}
	return nil
}

func (u *unified) stats(name string, s *Stats) error {
	dir := filepath.Join(u.top, name)
	s.Throttling, _ = u.throttling(name)
	if u.enforces("memory") {
		var err error
		if s.Memory, err = readInt(dir, "memory.current"); err != nil {
			return err
		}
		// Since Linux 5.19; without it the current use is the best known peak.
		if s.MemoryPeak, err = readInt(dir, "memory.peak"); err != nil {
			s.MemoryPeak = s.Memory
		}
		events, err := readKeys(dir, "memory.events")
		if err != nil {
			return err
		}
		s.OOMKills = events["oom_kill"]
		s.OOMOutside = s.OOMKills > 0 && events["oom"] == 0
	}
	if u.enforces("pids") {
		n, err := readInt(dir, "pids.current")
		if err != nil {
			return err
		}
		s.PIDs = int(n)
	}
	return nil
}

// entries are none: the process is cloned into its group.
func (u *unified) entries(string) []string { return nil }

// remove has nothing to do: the group is the tree's own.
func (u *unified) remove(string) error { return nil }

package isolation

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// unified limits by the v2 controllers.
type unified struct {
	root, top   string
	controllers []string
	noSwap      bool // memory.swap.max exists
	pins        bool // slices can be kept to some CPUs
}

func newUnified(root, top string, controllers []string) *unified {
	_, err := os.Stat(filepath.Join(top, "memory.swap.max"))
	u := &unified{root: root, top: top, controllers: controllers, noSwap: err == nil}
	u.pins = u.enforces("cpuset") && keepsNotes(top)
	return u
}

func (u *unified) enforces(c string) bool { return slices.Contains(u.controllers, c) }

func (u *unified) create(name string, l Limits) error {
	if err := u.keepTo(name, l); err != nil {
		return err
	}
	return u.write(name, l, false)
}

func (u *unified) update(name string, l Limits) error { return u.write(name, l, true) }

func (u *unified) write(name string, l Limits, reset bool) error {
	dir := filepath.Join(u.top, name)
	group, err := filepath.Rel(u.root, dir)
	if err != nil {
		return err
	}
	m, err := cgroup2.Load("/"+group, cgroup2.WithMountpoint(u.root))
	if err != nil {
		return err
	}
	if err := m.Update(u.resources(l, reset)); err != nil {
		return fmt.Errorf("set the limits of %s: %w", name, err)
	}
	return nil
}

// resources are the settings for l. A fresh group has none; reset is for one
// that may, whose limits must go where l has none.
func (u *unified) resources(l Limits, reset bool) *cgroup2.Resources {
	r := &cgroup2.Resources{}
	if u.enforces("cpu") && (reset || l.MilliCPU > 0 || l.CPUWeight > 0) {
		r.CPU = &cgroup2.CPU{}
		if q := cpuQuota(l); q > 0 {
			r.CPU.Max = cgroup2.NewCPUMax(&q, nil)
		} else if reset {
			r.CPU.Max = cgroup2.NewCPUMax(nil, nil)
		}
		if w := weightOrUsual(l.CPUWeight); l.CPUWeight > 0 || reset {
			r.CPU.Weight = &w
		}
	}
	if u.enforces("memory") && (reset || l.Memory > 0 || l.MemoryHigh > 0) {
		r.Memory = u.memory(l, reset)
	}
	if u.enforces("pids") {
		if l.PIDs > 0 {
			r.Pids = &cgroup2.Pids{Max: l.PIDs}
		} else if reset {
			r.Pids = &cgroup2.Pids{Max: -1}
		}
	}
	return r
}

// unlimited is what the kernel stores as "max": the library has no word for it.
const unlimited = int64(math.MaxInt64)

func (u *unified) memory(l Limits, reset bool) *cgroup2.Memory {
	m := &cgroup2.Memory{}
	orUnlimited := func(v int64) *int64 {
		if v > 0 {
			return &v
		}
		if !reset {
			return nil
		}
		v = unlimited
		return &v
	}
	m.Max, m.High = orUnlimited(l.Memory), orUnlimited(l.MemoryHigh)
	limited := l.Memory > 0
	if limited || reset {
		m.OOMGroup = &limited
	}
	if u.noSwap && (limited || reset) {
		swap := int64(0)
		if !limited {
			swap = unlimited
		}
		m.Swap = &swap
	}
	return m
}

func (u *unified) stats(name string, detail Detail, cpuStat map[string]uint64, s *Stats) error {
	dir := filepath.Join(u.top, name)
	s.Throttling = throttlingOf(cpuStat)
	if u.enforces("memory") {
		var err error
		if s.Memory, err = readInt(dir, "memory.current"); err != nil {
			return err
		}
		// Since Linux 5.19; without it the current use is the best known peak.
		if s.MemoryPeak, err = readInt(dir, "memory.peak"); err != nil {
			s.MemoryPeak = s.Memory
		}
		if detail == All {
			events, err := readKeys(dir, "memory.events")
			if err != nil {
				return err
			}
			s.OOMKills = events["oom_kill"]
			s.OOMOutside = s.OOMKills > 0 && events["oom"] == 0
		}
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

package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/mesita/mesita/isolation/process"
)

// v1 limits by v1 controllers, on a machine where those are not in the v2 tree.
type v1 struct {
	top         string // the top slice's name, the same in each hierarchy
	controllers map[string]v1Controller
	memsw       bool    // memory and swap together can be limited
	sets        *v1Sets // of CPUs; nil: none can be made
}

// v1Controller is what the library's controllers have in common.
type v1Controller interface {
	Path(group string) string
	Update(group string, r *specs.LinuxResources) error
}

// newV1 returns nil if no v1 controller can be used.
func newV1(points map[string]string, top, unified string) *v1 {
	l := &v1{top: top, controllers: map[string]v1Controller{}}
	for name, open := range map[string]func(root string) v1Controller{
		"cpu":    func(r string) v1Controller { return cgroup1.NewCpu(r) },
		"memory": func(r string) v1Controller { return cgroup1.NewMemory(r, cgroup1.OptionalSwap()) },
		"pids":   func(r string) v1Controller { return cgroup1.NewPids(r) },
	} {
		point, ok := points[name]
		if !ok {
			continue
		}
		// The library looks below the parent for the controller's own name. A
		// hierarchy of several has a symbolic link of that name on every distribution.
		c := open(filepath.Dir(point))
		if _, err := os.Stat(c.Path("tasks")); err != nil {
			continue
		}
		if err := os.MkdirAll(c.Path(top), 0o755); err != nil {
			continue
		}
		l.controllers[name] = c
	}
	if len(l.controllers) == 0 {
		return nil
	}
	if point, ok := points["cpuset"]; ok {
		l.sets = newV1Sets(point, top, unified)
	}
	if c := l.controllers["memory"]; c != nil {
		_, err := os.Stat(filepath.Join(c.Path(top), "memory.memsw.limit_in_bytes"))
		l.memsw = err == nil
		_ = writeFile(c.Path(top), "memory.use_hierarchy", "1") // always on where there is no such file
	}
	return l
}

func (l *v1) enforces(c string) bool { return l.controllers[c] != nil }

func (l *v1) group(name string) string { return filepath.Join(l.top, name) }

func (l *v1) create(name string, lim Limits) error {
	for _, c := range l.controllers {
		if err := l.makeGroup(c, l.group(name)); err != nil {
			return errors.Join(fmt.Errorf("make the group of %s: %w", name, err), l.remove(name))
		}
	}
	if err := l.sets.create(name, lim); err != nil {
		return errors.Join(err, l.remove(name))
	}
	// Only what a fresh group has not anyway, by plain writes: the library's cost
	// as much as making the groups. Backwards, since the limit of memory alone
	// must never be above that of memory and swap.
	fresh := l.settings(name, Limits{})
	for i, s := range slices.Backward(l.settings(name, lim)) {
		if s.value == fresh[i].value {
			continue
		}
		if err := writeFile(s.dir, s.file, s.value); err != nil {
			return errors.Join(fmt.Errorf("set the limits of %s: %w", name, err), l.remove(name))
		}
	}
	return nil
}

// makeGroup makes a group, anew if one was left over, whose counters are old.
func (l *v1) makeGroup(c v1Controller, group string) error {
	dir := c.Path(group)
	err := syscall.Mkdir(dir, 0o755)
	if errors.Is(err, syscall.EEXIST) {
		if err := removeTree(dir); err != nil {
			return err
		}
		err = syscall.Mkdir(dir, 0o755)
	}
	if errors.Is(err, syscall.ENOENT) {
		err = makeAll(dir)
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// makeAll makes a folder and those above it, from below: most often it is the
// last one or two that are missing.
func makeAll(dir string) error {
	err := syscall.Mkdir(dir, 0o755)
	if !errors.Is(err, syscall.ENOENT) {
		return err
	}
	if err := makeAll(filepath.Dir(dir)); err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	return syscall.Mkdir(dir, 0o755)
}

func (l *v1) update(name string, lim Limits) error {
	r := l.resources(lim)
	for controller, c := range l.controllers {
		if _, err := os.Stat(c.Path(l.group(name))); err != nil {
			return err // the library would make it anew
		}
		if controller == "memory" && l.memsw {
			// It must never be below the limit of memory alone, which is written
			// first: the library means to swap the two, but swaps the wrong ones.
			if err := writeFile(c.Path(l.group(name)), "memory.memsw.limit_in_bytes", "-1"); err != nil {
				return fmt.Errorf("set the limits of %s: %w", name, err)
			}
		}
		if err := c.Update(l.group(name), r); err != nil {
			return fmt.Errorf("set the limits of %s: %w", name, err)
		}
	}
	return nil
}

const (
	v1Unlimited = int64(1<<63 - 4096) // what the kernel shows for no limit: the library takes only what is above 0
	v1MaxPIDs   = int64(4 << 20)      // the kernel's own limit: the library cannot write "max"
)

// resources are the settings for lim.
func (l *v1) resources(lim Limits) *specs.LinuxResources {
	period, quota, shares := uint64(cpuPeriod), cpuQuota(lim), shares(lim.CPUWeight)
	if quota == 0 {
		quota = -1
	}
	memory, pids := lim.Memory, lim.PIDs
	if memory <= 0 {
		memory = v1Unlimited
	}
	if pids <= 0 {
		pids = v1MaxPIDs
	}
	pids = min(max(pids, process.AtFirst), v1MaxPIDs)
	r := &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Period: &period, Quota: &quota, Shares: &shares},
		Memory: &specs.LinuxMemory{Limit: &memory},
		Pids:   &specs.LinuxPids{Limit: &pids},
	}
	if l.memsw {
		r.Memory.Swap = &memory
	}
	return r
}

// nearLimit is how far below its limit a group may be that is killed for it: by
// less than what the kernel asks for at once and did not get. memory.failcnt
// would tell, but Linux 6.18 does not count there.
const nearLimit = 256 << 10

func (l *v1) stats(name string, detail Detail, _ map[string]uint64, s *Stats) error {
	var err error
	if s.Throttling, err = l.throttling(name); err != nil {
		return err
	}
	if c := l.controllers["memory"]; c != nil {
		dir := c.Path(l.group(name))
		if s.Memory, err = readInt(dir, "memory.usage_in_bytes"); err != nil {
			return err
		}
		if s.MemoryPeak, err = readInt(dir, "memory.max_usage_in_bytes"); err != nil {
			return err
		}
		if detail == All {
			if err := l.outOfMemory(dir, s); err != nil {
				return err
			}
		}
	}
	if c := l.controllers["pids"]; c != nil {
		n, err := readInt(c.Path(l.group(name)), "pids.current")
		if err != nil {
			return err
		}
		s.PIDs = int(n)
	}
	return nil
}

// outOfMemory fills in how often that was the end of something, and whose limit it was.
func (l *v1) outOfMemory(dir string, s *Stats) error {
	kv, err := readKeys(dir, "memory.oom_control")
	if err != nil {
		return err
	}
	if s.OOMKills = kv["oom_kill"]; s.OOMKills == 0 {
		return nil
	}
	limit, err := readInt(dir, "memory.limit_in_bytes")
	if err != nil {
		return err
	}
	peak := s.MemoryPeak
	if l.memsw { // what was swapped out meanwhile counts, too
		if peak, err = readInt(dir, "memory.memsw.max_usage_in_bytes"); err != nil {
			return err
		}
	}
	s.OOMOutside = peak < limit-nearLimit
	return nil
}

// entries has the CPU's last: from then on it may take long.
func (l *v1) entries(name string) []string {
	var paths []string
	for _, controller := range []string{"pids", "memory", "cpu"} {
		if c := l.controllers[controller]; c != nil {
			paths = append(paths, filepath.Join(c.Path(l.group(name)), "tasks"))
		}
	}
	return append(l.sets.entries(name), paths...)
}

func (l *v1) remove(name string) error {
	errs := []error{l.sets.remove(name)}
	for _, c := range l.controllers {
		errs = append(errs, removeGroups(c.Path(l.top), name))
	}
	return errors.Join(errs...)
}

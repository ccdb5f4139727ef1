package isolation

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Update sets all limits anew, while the processes run, and reads them back. If
// one is refused, all are as they were. Under cgroup v2 a memory limit below
// what is in use, and cannot be reclaimed, kills the slice; v1 refuses it.
func (s *Slice) Update(l Limits) error {
	if err := checkLimits(s.name, l); err != nil {
		return err
	}
	want := s.h.limiter.settings(s.name, l)
	before, err := currentSettings(want)
	if err != nil {
		return fmt.Errorf("read the limits of %s: %w", s.name, err)
	}
	err = s.h.limiter.update(s.name, l)
	if err == nil {
		err = readBack(want)
	}
	if err == nil {
		return nil
	}
	if rerr := restore(before); rerr != nil {
		return errors.Join(err, fmt.Errorf("put the limits of %s back: %w", s.name, rerr))
	}
	return err
}

const maxMilliCPU = 1_000_000_000 // a million CPUs: beyond it the quota overflows

// checkLimits refuses what the kernel or the library would take for no limit at all.
func checkLimits(name string, l Limits) error {
	for _, f := range []struct {
		field    string
		v, limit int64
	}{
		{"MilliCPU", l.MilliCPU, maxMilliCPU},
		{"Memory", l.Memory, math.MaxInt64},
		{"MemoryHigh", l.MemoryHigh, math.MaxInt64},
		{"PIDs", l.PIDs, math.MaxInt64},
	} {
		if f.v < 0 || f.v > f.limit {
			return fmt.Errorf("limits of %s: %s is %d: give 0 for no limit, or up to %d", name, f.field, f.v, f.limit)
		}
	}
	return nil
}

// setting is one control file and what it shall hold.
type setting struct{ dir, file, value string }

func (noLimiter) settings(string, Limits) []setting { return nil }

func (u *unified) settings(name string, l Limits) []setting {
	dir := filepath.Join(u.top, name)
	var set []setting
	if u.enforces("cpu") {
		set = append(set,
			u.quota(name, cpuQuota(l)).quota,
			setting{dir, "cpu.weight", strconv.FormatUint(weightOrUsual(l.CPUWeight), 10)})
	}
	if u.enforces("memory") {
		group, swap := "0", "max"
		if l.Memory > 0 {
			group, swap = "1", "0"
		}
		set = append(set,
			setting{dir, "memory.high", pagesOrMax(l.MemoryHigh)},
			setting{dir, "memory.max", pagesOrMax(l.Memory)},
			setting{dir, "memory.oom.group", group})
		if u.noSwap {
			set = append(set, setting{dir, "memory.swap.max", swap})
		}
	}
	if u.enforces("pids") {
		set = append(set, setting{dir, "pids.max", orMax(l.PIDs)})
	}
	return set
}

func (l *v1) settings(name string, lim Limits) []setting {
	r := l.resources(lim)
	var set []setting
	add := func(controller, file, value string) {
		if c := l.controllers[controller]; c != nil {
			set = append(set, setting{c.Path(l.group(name)), file, value})
		}
	}
	if l.controllers["cpu"] != nil {
		set = append(set, l.quota(name, cpuQuota(lim)).quota)
	}
	add("cpu", "cpu.shares", strconv.FormatUint(*r.CPU.Shares, 10))
	memory := strconv.FormatInt(wholePages(*r.Memory.Limit), 10)
	if l.memsw { // before the other when put back: it must not be the lower one
		add("memory", "memory.memsw.limit_in_bytes", memory)
	}
	add("memory", "memory.limit_in_bytes", memory)
	add("pids", "pids.max", strconv.FormatInt(*r.Pids.Limit, 10))
	return set
}

func orMax(v int64) string {
	if v <= 0 {
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

func pagesOrMax(v int64) string {
	if pages := wholePages(v); v > 0 && pages < wholePages(math.MaxInt64) {
		return strconv.FormatInt(pages, 10)
	}
	return "max"
}

// wholePages is what the kernel keeps of a number of bytes.
func wholePages(n int64) int64 { return n / int64(os.Getpagesize()) * int64(os.Getpagesize()) }

// currentSettings are those of the same files, with what they hold now.
func currentSettings(set []setting) ([]setting, error) {
	now := make([]setting, len(set))
	for i, s := range set {
		b, err := readFile(s.dir, s.file)
		if err != nil {
			return nil, err
		}
		now[i] = setting{s.dir, s.file, string(bytes.TrimSpace(b))}
	}
	return now, nil
}

// readBack finds the settings that the kernel took and did not keep.
func readBack(want []setting) error {
	now, err := currentSettings(want)
	if err != nil {
		return err
	}
	var errs []error
	for i, w := range want {
		if now[i].value != w.value {
			errs = append(errs, fmt.Errorf("%s/%s: set to %s, and the kernel has %s", w.dir, w.file, w.value, now[i].value))
		}
	}
	return errors.Join(errs...)
}

// restore writes back those settings that changed. Twice, backwards the second
// time: of two that depend on each other one order is the right one.
func restore(before []setting) error {
	var err error
	for range 2 {
		err = nil
		for _, s := range before {
			err = errors.Join(err, s.restore())
		}
		if err == nil {
			return nil
		}
		for i, j := 0, len(before)-1; i < j; i, j = i+1, j-1 {
			before[i], before[j] = before[j], before[i]
		}
	}
	return err
}

func (s setting) restore() error {
	b, err := readFile(s.dir, s.file)
	if err != nil || strings.TrimSpace(string(b)) == s.value {
		return err
	}
	return writeFile(s.dir, s.file, s.value)
}

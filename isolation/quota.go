package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// LimitCPU bounds how much CPU the slice may use, in thousandths of one; 0 lifts
// the bound. It is for a program that has started: the start itself, below a
// small bound, would take seconds. What was left of one period may be used in
// the next, as much again, where the kernel can do so.
func (s *Slice) LimitCPU(milli int64) error {
	l := Limits{MilliCPU: milli}
	if err := checkLimits(s.name, l); err != nil {
		return err
	}
	none, ok := s.h.limiter.burst(s.name, 0)
	if !ok {
		return nil
	}
	// The kernel refuses a quota below the burst.
	err := none.writeIfThere()
	if err == nil {
		err = s.h.limiter.quota(s.name, l).write()
	}
	if err == nil && milli > 0 {
		burst, _ := s.h.limiter.burst(s.name, cpuQuota(l))
		err = burst.writeIfThere()
	}
	if err != nil {
		return fmt.Errorf("set the CPU limit of %s: %w", s.name, err)
	}
	return nil
}

func (s setting) write() error { return writeFile(s.dir, s.file, s.value) }

// writeIfThere leaves out a file that the kernel does not have.
func (s setting) writeIfThere() error {
	err := s.write()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (noLimiter) burst(string, int64) (s setting, ok bool) { return s, false }
func (noLimiter) quota(string, Limits) (s setting)         { return s }

func (u *unified) burst(name string, us int64) (setting, bool) {
	return setting{filepath.Join(u.top, name), "cpu.max.burst", strconv.FormatInt(us, 10)}, u.enforces("cpu")
}

func (u *unified) quota(name string, l Limits) setting {
	return setting{filepath.Join(u.top, name), "cpu.max", fmt.Sprintf("%s %d", orMax(cpuQuota(l)), cpuPeriod)}
}

func (l *v1) burst(name string, us int64) (s setting, ok bool) {
	c := l.controllers["cpu"]
	if c == nil {
		return s, false
	}
	return setting{c.Path(l.group(name)), "cpu.cfs_burst_us", strconv.FormatInt(us, 10)}, true
}

func (l *v1) quota(name string, lim Limits) setting {
	return setting{l.controllers["cpu"].Path(l.group(name)), "cpu.cfs_quota_us", strconv.FormatInt(*l.resources(lim).CPU.Quota, 10)}
}

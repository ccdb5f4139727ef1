package isolation

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
)

// LimitCPU bounds how much CPU the slice may use, in thousandths of one; 0 lifts
// the bound. It is for a program that has started: the start itself, below a
// small bound, would take seconds. What was left of one period may be used in
// the next, as much again, where the kernel can do so.
func (s *Slice) LimitCPU(milli int64) error { return s.h.LimitCPU(s.name, milli) }

// LimitCPU is Slice.LimitCPU of any group that exists below the top slice: all
// that is in it is bounded together. Nothing is written if it has that bound. A
// group below one that has less has no more than that one; who raises the upper
// one says anew what the lower one is to have.
func (h *Host) LimitCPU(group string, milli int64) error {
	l := Limits{MilliCPU: milli}
	if err := errors.Join(checkName(group), checkLimits(group, l)); err != nil {
		return err
	}
	if err := h.limiter.bound(group, cpuQuota(l)); err != nil {
		return fmt.Errorf("set the CPU limit of %s: %w", group, err)
	}
	return nil
}

// Limited lists the groups with groups in them that have a bound of CPU.
func (h *Host) Limited() ([]string, error) {
	var names []string
	if h.mode == None {
		return nil, nil
	}
	err := h.limited("", &names)
	return names, err
}

func (h *Host) limited(name string, names *[]string) error {
	subs, err := subgroups(filepath.Join(h.top, name))
	if err != nil {
		return ignoreGone(err)
	}
	if len(subs) == 0 {
		return nil
	}
	if name != "" {
		switch bounded, err := h.limiter.bounded(name); {
		case err != nil && ignoreGone(err) != nil:
			return err
		case bounded:
			*names = append(*names, name)
		}
	}
	for _, sub := range subs {
		if err := h.limited(filepath.Join(name, sub), names); err != nil {
			return err
		}
	}
	return nil
}

// ignoreGone is nil for what is told of a group that was removed meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// quota is the files of one group that bound its CPU.
type quota struct{ quota, burst setting }

// write sets both. The kernel refuses a quota below the burst.
func (q quota) write() error {
	none := q.burst
	none.value = "0"
	err := none.writeIfThere()
	if err == nil {
		err = q.quota.write()
	}
	if err == nil {
		err = q.burst.writeIfThere()
	}
	return err
}

func (q quota) is() (bool, error) {
	now, err := currentSettings([]setting{q.quota})
	return err == nil && now[0].value == q.quota.value, err
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

func (noLimiter) bound(string, int64) error    { return nil }
func (noLimiter) bounded(string) (bool, error) { return false, nil }

func (u *unified) bound(name string, us int64) error {
	q := u.quota(name, us)
	if !u.enforces("cpu") {
		return nil
	}
	if same, err := q.is(); err != nil || same {
		return err
	}
	return q.write()
}

func (u *unified) bounded(name string) (bool, error) {
	if !u.enforces("cpu") {
		return false, nil
	}
	none, err := u.quota(name, 0).is()
	return err == nil && !none, err
}

func (u *unified) quota(name string, us int64) quota {
	dir := filepath.Join(u.top, name)
	return quota{setting{dir, "cpu.max", fmt.Sprintf("%s %d", orMax(us), cpuPeriod)}, setting{dir, "cpu.max.burst", strconv.FormatInt(us, 10)}}
}

// bound lowers what is below first: a v1 kernel refuses a quota above that of a
// group further up, and one below that of a group further down.
func (l *v1) bound(name string, us int64) error {
	if l.controllers["cpu"] == nil {
		return nil
	}
	var err error
	for range 4 { // others, such as the keeper, set quotas too
		var most int64
		if most, err = l.most(name, us); err != nil {
			return err
		}
		q := l.quota(name, most)
		if same, err := q.is(); err != nil || same {
			return err
		}
		if err = q.write(); !errors.Is(err, syscall.EINVAL) {
			return err
		}
		if err = l.lower(name, most); err != nil {
			return err
		}
	}
	return err
}

// most is what the groups above leave of a quota; 0 is none.
func (l *v1) most(name string, us int64) (int64, error) {
	for up := path.Dir(name); up != "." && us > 0; up = path.Dir(up) {
		has, err := l.has(up)
		if err != nil {
			return 0, err
		}
		if has > 0 {
			us = min(us, has)
		}
	}
	return us, nil
}

// lower sees to it that no group below that name has a quota above us.
func (l *v1) lower(name string, us int64) error {
	subs, err := subgroups(l.controllers["cpu"].Path(l.group(name)))
	if err != nil {
		return ignoreGone(err)
	}
	var first error
	for _, sub := range subs {
		below := path.Join(name, sub)
		err := l.lower(below, us)
		has, rerr := l.has(below)
		if err = cmp.Or(err, rerr); err == nil && has > us {
			err = l.quota(below, us).write()
		}
		if err != nil {
			first = cmp.Or(first, ignoreGone(err))
		}
	}
	return first
}

// has is the quota of a group; 0 is none.
func (l *v1) has(group string) (int64, error) {
	b, err := readFile(l.controllers["cpu"].Path(l.group(group)), "cpu.cfs_quota_us")
	if err != nil {
		return 0, err
	}
	us, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	return max(us, 0), err
}

func (l *v1) bounded(name string) (bool, error) {
	if l.controllers["cpu"] == nil {
		return false, nil
	}
	us, err := l.has(name)
	return us > 0, err
}

// quota of 0 is none, which v1 writes as -1.
func (l *v1) quota(name string, us int64) quota {
	dir := l.controllers["cpu"].Path(l.group(name))
	q := quota{setting{dir, "cpu.cfs_quota_us", strconv.FormatInt(us, 10)}, setting{dir, "cpu.cfs_burst_us", strconv.FormatInt(us, 10)}}
	if us <= 0 {
		q.quota.value = "-1"
	}
	return q
}

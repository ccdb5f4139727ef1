package isolation

import (
	"path/filepath"
	"strconv"
)

// MaxWeight is the kernel's greatest weight; the least is 1.
const MaxWeight = 10_000

// Weight is that of a group which is to have so much of a whole: all of it weighs
// MaxWeight, so that small parts are told apart as well as they can be.
func Weight(part, whole int64) uint64 {
	if whole <= 0 || part <= 0 {
		return 1
	}
	if part >= whole {
		return MaxWeight
	}
	return uint64(max((part*MaxWeight+whole/2)/whole, 1))
}

// Weigh sets the weight of a group that exists, below the top slice or, by the
// name "", itself. Nothing is written if it has that weight. Where the CPU is not
// divided by weight nothing is done.
func (h *Host) Weigh(group string, weight uint64) error {
	if group != "" {
		if err := checkName(group); err != nil {
			return err
		}
	}
	s, ok := h.limiter.weight(group, weight)
	if !ok {
		return nil
	}
	return s.ensure()
}

// weighFresh is Weigh for a group that was just made.
func (h *Host) weighFresh(group string, weight uint64) error {
	s, ok := h.limiter.weight(group, weight)
	if !ok {
		return nil
	}
	return writeFile(s.dir, s.file, s.value)
}

func (noLimiter) weight(string, uint64) (s setting, ok bool) { return s, false }

func (u *unified) weight(group string, w uint64) (setting, bool) {
	return setting{filepath.Join(u.top, group), "cpu.weight", strconv.FormatUint(weightOrUsual(w), 10)}, u.enforces("cpu")
}

func (l *v1) weight(group string, w uint64) (s setting, ok bool) {
	c := l.controllers["cpu"]
	if c == nil {
		return s, false
	}
	return setting{c.Path(l.group(group)), "cpu.shares", strconv.FormatUint(shares(w), 10)}, true
}

const usualWeight = 100 // of a group that was given none

func weightOrUsual(w uint64) uint64 {
	if w == 0 {
		return usualWeight
	}
	return min(w, MaxWeight)
}

// shares are what cgroup v1 has for weights: 1024 is usual.
func shares(w uint64) uint64 { return max(weightOrUsual(w)*1024/usualWeight, 2) }

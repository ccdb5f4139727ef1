package isolation

import (
	"bytes"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/isolation/process"
)

// Protect says how many bytes of a group's memory the kernel leaves alone while
// others could give some back. The group exists; it is below the top slice or, by
// the name "", itself. A group is protected by no more than those above it, so
// they have to carry the sums. Nothing is written if it is so already, and
// nothing is done where memory cannot be protected: see LendsMemory.
func (h *Host) Protect(group string, memory int64) error {
	if group != "" {
		if err := checkName(group); err != nil {
			return err
		}
	}
	s, ok := h.limiter.protection(group, memory)
	if !ok {
		return nil
	}
	return s.ensure()
}

// LimitMemory bounds the memory of all slices together, in bytes. When they need more,
// the kernel kills what Confinement.OOMScore points at, and the machine is spared.
func (h *Host) LimitMemory(memory int64) error {
	s, ok := h.limiter.memoryLimit(memory)
	if !ok {
		return nil
	}
	return s.ensure()
}

// LendsMemory reports whether a slice may be given more memory than is set aside
// for it: only cgroup v2 can protect what others were promised.
func (h *Host) LendsMemory() bool {
	_, ok := h.limiter.protection("", 0)
	return ok
}

// ensure writes what is not so already.
func (s setting) ensure() error {
	now, err := readFile(s.dir, s.file)
	if err != nil || string(bytes.TrimSpace(now)) == s.value {
		return err
	}
	return writeFile(s.dir, s.file, s.value)
}

func (noLimiter) protection(string, int64) (s setting, ok bool) { return s, false }
func (noLimiter) memoryLimit(int64) (s setting, ok bool)        { return s, false }

func (u *unified) protection(group string, memory int64) (setting, bool) {
	return setting{filepath.Join(u.top, group), "memory.low", strconv.FormatInt(wholePages(memory), 10)}, u.enforces("memory")
}

func (u *unified) memoryLimit(memory int64) (setting, bool) {
	return setting{u.top, "memory.max", pagesOrMax(memory)}, u.enforces("memory")
}

func (*v1) protection(string, int64) (s setting, ok bool) { return s, false }
func (*v1) memoryLimit(int64) (s setting, ok bool)        { return s, false }

// Whom the kernel kills when memory runs out: the process whose use, and its
// score in thousandths of what there is, add up to most (oom_badness in
// mm/oom_kill.c). All of a slice dies with it.
// OOMScore is the score of a slice that may use more than the memory guaranteed
// to it, out of a whole. With what it uses it exceeds that of any slice that may
// not, however many processes share the use: what is left of the whole without
// this guarantee is at least the guarantee, and so the use, of any other. And of
// two such slices of one process each it points at the one that is further above
// its guarantee.
func OOMScore(guaranteed, whole int64) int {
	if whole <= 0 {
		return process.MaxOOMScore
	}
	used := min(guaranteed, whole) * process.MaxOOMScore / whole // rounded in favour of those that borrow nothing
	return int(max(process.MaxOOMScore-used, 1))
}

// SetMemory lets a slice that exists have so many bytes of memory. It is taken less only when
// what it needs is well below that, or it would be killed for what it was given: if not, fits
// is false, and it is to be tried again.
func (h *Host) SetMemory(slice string, memory int64) (fits bool, err error) {
	if err := checkName(slice); err != nil {
		return false, err
	}
	var limits []setting
	lower := false
	for _, s := range h.limiter.settings(slice, Limits{Memory: memory}) {
		if s.file != "memory.max" && s.file != "memory.limit_in_bytes" && s.file != "memory.memsw.limit_in_bytes" {
			continue
		}
		limits = append(limits, s)
		below, err := s.below(wholePages(memory))
		if err != nil {
			return false, err
		}
		lower = lower || below
	}
	if lower {
		used, err := h.needed(slice)
		if err != nil || used > memory-memory/8 {
			return false, err
		}
		slices.Reverse(limits) // that of both kinds of memory must never be below that of one
	}
	for _, s := range limits {
		if err := s.ensure(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// below reports whether so many bytes are less than there are.
func (s setting) below(bytes int64) (bool, error) {
	text, err := readFile(s.dir, s.file)
	if err != nil {
		return false, err
	}
	now := strings.TrimSpace(string(text))
	n, err := strconv.ParseInt(now, 10, 64)
	return now == "max" || err == nil && n > bytes, nil
}

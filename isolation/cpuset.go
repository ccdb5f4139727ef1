package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cores are the CPUs, as the kernel counts them, of which a slice may be given
// some as its own by Limits.CPUs; none where no slice can be kept to some.
func (h *Host) Cores() []int { return h.limiter.cpus() }

// Share keeps all slices, and those that any process makes from now on, to a
// pool of CPUs; but not those of these names, which have others as their own. A
// nil pool is all CPUs. One call at a time. What was asked holds for all that is
// there when it returns without an error.
func (h *Host) Share(pool []int, own map[string]bool) error {
	if err := h.limiter.share(pool, own, h.List); err != nil {
		return fmt.Errorf("keep tasks to the CPUs that are not another's %w", err)
	}
	return nil
}

// CPUsOf are those that are a slice's own; nil: none.
func (h *Host) CPUsOf(name string) ([]int, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return h.limiter.cpusOf(name)
}

func (noLimiter) cpus() []int                                                  { return nil }
func (noLimiter) share([]int, map[string]bool, func() ([]string, error)) error { return nil }
func (noLimiter) cpusOf(string) ([]int, error)                                 { return nil, nil }

// CPUList is how the kernel writes a set of CPUs: "0-3,8".
func CPUList(cpus []int) string {
	var b strings.Builder
	sorted := slices.Sorted(slices.Values(cpus))
	for i := 0; i < len(sorted); {
		j := i
		for j+1 < len(sorted) && sorted[j+1] <= sorted[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(sorted[i]))
		if sorted[j] > sorted[i] {
			b.WriteString("-" + strconv.Itoa(sorted[j]))
		}
		i = j + 1
	}
	return b.String()
}

const maxCPU = 1 << 16 // what is above is not a CPU's number

// ParseCPUs reads what CPUList writes.
func ParseCPUs(s string) (cpus []int, err error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, aerr := strconv.Atoi(from)
		b, berr := strconv.Atoi(to)
		if aerr != nil || berr != nil || a < 0 || b < a || b >= maxCPU {
			return nil, fmt.Errorf("%q is not a list of CPUs", s)
		}
		for ; a <= b; a++ {
			cpus = append(cpus, a)
		}
	}
	return cpus, nil
}

func readCPUs(dir, file string) ([]int, error) {
	b, err := readFile(dir, file)
	if err != nil {
		return nil, err
	}
	return ParseCPUs(string(b))
}

// assign keeps a group to the CPUs of a list, and fails if the kernel does not.
func assign(dir, cpus, effective string) error {
	want, err := ParseCPUs(cpus)
	if err != nil {
		return err
	}
	if err := writeFile(dir, "cpuset.cpus", cpus); err != nil {
		return err
	}
	now, err := readCPUs(dir, effective)
	if err == nil && !slices.Equal(now, want) {
		err = fmt.Errorf("%s may run on CPUs %s, and was to on %s: some are offline, or kept from all tasks", dir, CPUList(now), cpus)
	}
	return err
}

const effectiveCPUs = "cpuset.cpus.effective"

// The pool is noted at the top group, where each process that makes a slice
// finds it, whoever started it and whatever ended since.
const poolNote = "trusted.mesita.pool"

// keepsNotes reports whether we may note something at a group.
func keepsNotes(dir string) bool {
	const try = "trusted.mesita.try"
	return unix.Setxattr(dir, try, []byte("y"), 0) == nil && unix.Removexattr(dir, try) == nil
}

func (u *unified) cpus() []int {
	if !u.pins {
		return nil
	}
	cpus, err := readCPUs(u.top, effectiveCPUs)
	if err != nil {
		return nil
	}
	return cpus
}

func (u *unified) cpusOf(name string) ([]int, error) {
	if !u.pins {
		return nil, nil
	}
	pool, err := u.pool()
	if err != nil {
		return nil, err
	}
	cpus, err := readCPUs(filepath.Join(u.top, name), "cpuset.cpus")
	if list := CPUList(cpus); list == pool || list == CPUList(u.cpus()) {
		return nil, err
	}
	return cpus, err
}

func (u *unified) pool() (string, error) {
	b := make([]byte, 4<<10)
	n, err := unix.Getxattr(u.top, poolNote, b)
	if errors.Is(err, unix.ENODATA) {
		return "", nil
	}
	if err != nil {
		return "", &os.PathError{Op: "getxattr", Path: u.top, Err: err}
	}
	return string(b[:n]), nil
}

// keepTo keeps a slice that was just made, and in which nothing runs, to its own
// CPUs or to the pool. Whoever changes the pool notes it first and looks for
// slices then: one that it did not see finds the note, and one that it saw finds
// another than it read before.
func (u *unified) keepTo(name string, l Limits) error {
	dir := filepath.Join(u.top, name)
	switch {
	case l.CPUs != "" && !u.pins:
		return fmt.Errorf("slice %s: there is no cpuset controller here to keep it to CPUs %s", name, l.CPUs)
	case l.CPUs != "":
		return assign(dir, l.CPUs, effectiveCPUs)
	case !u.pins:
		return nil
	}
	for written := ""; ; {
		pool, err := u.pool()
		if err != nil || pool == written {
			return err
		}
		if err := writeFile(dir, "cpuset.cpus", pool+"\n"); err != nil {
			return err
		}
		written = pool
	}
}

func (u *unified) share(pool []int, own map[string]bool, _ func() ([]string, error)) error {
	if !u.pins {
		return nil
	}
	list := CPUList(pool)
	err := unix.Setxattr(u.top, poolNote, []byte(list), 0)
	if list == "" {
		if err = unix.Removexattr(u.top, poolNote); errors.Is(err, unix.ENODATA) {
			err = nil
		}
	}
	if err != nil {
		return &os.PathError{Op: "note the pool", Path: u.top, Err: err}
	}
	if list == "" { // a group with processes in it cannot be given none in particular again
		list = CPUList(u.cpus())
	}
	_, err = u.shareIn("", list, pool != nil, own)
	return err
}

// shareIn keeps what is in a group to a list of CPUs, and reports whether that is
// not a slice: another group in it has CPUs, too. The groups above slices have all,
// so that each slice in them can have its own. A slice that never was kept to any
// need not be told that it may have all.
func (u *unified) shareIn(group, list string, some bool, own map[string]bool) (isGroup bool, err error) {
	dir := filepath.Join(u.top, group)
	subs, err := subgroups(dir)
	if err != nil {
		return false, ignoreGone(err)
	}
	for _, sub := range subs {
		name := filepath.Join(group, sub)
		now, err := readFile(filepath.Join(u.top, name), "cpuset.cpus")
		if err != nil {
			if err := ignoreGone(err); err != nil {
				return isGroup, err
			}
			continue // it has none of its own
		}
		isGroup = true
		if own[name] {
			continue
		}
		inner, err := u.shareIn(name, list, some, own)
		if is := strings.TrimSpace(string(now)); err == nil && !inner && is != list && (some || is != "") {
			err = ignoreGone(writeFile(filepath.Join(u.top, name), "cpuset.cpus", list+"\n"))
		}
		if err != nil {
			return isGroup, err
		}
	}
	return isGroup, nil
}

package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// v1Sets are the groups of CPUs where that controller is mounted by itself. Its
// tree is not that of the slices: one group has all who share, so that a change
// of the pool is one write, and each slice with CPUs of its own has one beside
// it. The group of those who share is made when it is needed first, and stays.
type v1Sets struct {
	point, top string
	unified    string // the top slice in the v2 tree
}

const (
	sharedSet = "shared"
	ownSets   = "own"
	v1CPUs    = "cpuset.effective_cpus"
)

// newV1Sets returns nil if no groups can be made.
func newV1Sets(point, top, unified string) *v1Sets {
	first, _, _ := strings.Cut(top, "/")
	first = filepath.Join(point, first)
	switch err := os.Mkdir(first, 0o755); {
	case err == nil:
		_ = syscall.Rmdir(first) // or another made use of it meanwhile
	case !errors.Is(err, os.ErrExist):
		return nil
	}
	return &v1Sets{point, filepath.Join(point, top), unified}
}

// make makes the group of those who share, with all CPUs, if it is not there.
func (s *v1Sets) make() error {
	if _, err := os.Stat(s.shared()); err == nil {
		return nil
	}
	rel, err := filepath.Rel(s.point, s.shared())
	if err != nil {
		return err
	}
	dir := s.point
	for part := range strings.SplitSeq(rel, "/") {
		above := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(above, dir, file); err != nil {
				return err
			}
		}
		if dir == s.top { // what is made in it begins with what it has
			if err := writeFile(dir, "cgroup.clone_children", "1"); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit gives a group what the one above it has, if it has nothing.
func inherit(above, dir, file string) error {
	now, err := readFile(dir, file)
	if err != nil || strings.TrimSpace(string(now)) != "" {
		return err
	}
	has, err := readFile(above, file)
	if err != nil {
		return err
	}
	return writeFile(dir, file, strings.TrimSpace(string(has)))
}

func (s *v1Sets) shared() string         { return filepath.Join(s.top, sharedSet) }
func (s *v1Sets) own(name string) string { return filepath.Join(s.top, ownSets, name) }

func (s *v1Sets) create(name string, l Limits) error {
	if l.CPUs == "" {
		return nil
	}
	if s == nil {
		return fmt.Errorf("slice %s: there is no cpuset controller here to keep it to CPUs %s", name, l.CPUs)
	}
	if err := s.make(); err != nil {
		return err
	}
	dir := s.own(name)
	if err := removeTree(dir); err != nil { // of one that had the name before
		return err
	}
	if err := makeAll(dir); err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return assign(dir, l.CPUs, v1CPUs)
}

// entries are none before any slice had CPUs of its own.
func (s *v1Sets) entries(name string) []string {
	if s == nil {
		return nil
	}
	for _, dir := range []string{s.own(name), s.shared()} {
		if _, err := os.Stat(dir); err == nil {
			return []string{filepath.Join(dir, "tasks")}
		}
	}
	return nil
}

func (s *v1Sets) remove(name string) error {
	if s == nil {
		return nil
	}
	return removeGroups(s.top, filepath.Join(ownSets, name))
}

func (l *v1) cpus() []int {
	if l.sets == nil {
		return nil
	}
	cpus, err := readCPUs(l.sets.point, v1CPUs)
	if err != nil {
		return nil
	}
	return cpus
}

func (l *v1) cpusOf(name string) ([]int, error) {
	if l.sets == nil {
		return nil, nil
	}
	cpus, err := readCPUs(l.sets.own(name), "cpuset.cpus")
	return cpus, ignoreGone(err)
}

func (l *v1) share(pool []int, own map[string]bool, all func() ([]string, error)) error {
	s := l.sets
	if s == nil {
		return nil
	}
	if pool == nil {
		if _, err := os.Stat(s.shared()); err != nil {
			return nil // nobody ever had any
		}
		pool = l.cpus()
	}
	if err := s.make(); err != nil {
		return err
	}
	if err := (setting{s.shared(), "cpuset.cpus", CPUList(pool)}).ensure(); err != nil {
		return err
	}
	names, err := all()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.join(name, own); err != nil {
			return err
		}
	}
	return nil
}

// join has the processes of a slice share that began before there was the group
// for it, until there are no more: each begins where its parent is.
func (s *v1Sets) join(name string, own map[string]bool) error {
	for part := name; part != "."; part = filepath.Dir(part) { // a slice may have groups of its own
		if own[part] {
			return nil
		}
	}
	for moved := true; moved; {
		moved = false
		pids, err := readPIDs(filepath.Join(s.unified, name))
		if err != nil {
			return ignoreGone(err)
		}
		for _, pid := range pids {
			at, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cpuset")
			if err != nil || strings.HasSuffix(strings.TrimSpace(string(at)), "/"+filepath.Base(s.top)+"/"+sharedSet) {
				continue
			}
			err = writeFile(s.shared(), "cgroup.procs", strconv.Itoa(pid))
			switch {
			case errors.Is(err, syscall.ESRCH):
			case err != nil:
				return err
			default:
				moved = true
			}
		}
	}
	return nil
}

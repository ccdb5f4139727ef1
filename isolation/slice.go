package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Slice is one group with the process tree in it. It is safe for concurrent use.
type Slice struct {
	h       *Host
	name    string
	dir     string   // in the v2 tree; "" in mode None
	session *session // in mode None

	limiting sync.Mutex // guards limited
	limited  bool       // its devices are
}

// Name is below the top slice: "partition/job/task".
func (s *Slice) Name() string { return s.name }

// Create makes a new slice with its limits, and the groups above it as needed.
// One that exists is an error (os.ErrExist): the kernel may kill whatever is
// started in a group that was once killed, so each attempt has a fresh one.
func (h *Host) Create(name string, l Limits) (*Slice, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := checkLimits(name, l); err != nil {
		return nil, err
	}
	h.tree.Lock()
	defer h.tree.Unlock()
	if h.mode == None {
		if h.sessions[name] != nil {
			return nil, fmt.Errorf("slice %s: %w", name, os.ErrExist)
		}
		h.sessions[name] = &session{procRoot: h.cfg.ProcRoot}
		return &Slice{h: h, name: name, session: h.sessions[name]}, nil
	}
	fresh, err := h.makeGroups(name)
	if err != nil {
		return nil, err
	}
	err = h.limiter.create(name, l)
	for i := 0; i < len(fresh) && err == nil && l.CPUWeight > 0; i++ {
		err = h.weighFresh(fresh[i], l.CPUWeight) // so that the task gets its part until the caller weighs it with others
	}
	if err != nil {
		return nil, errors.Join(err, h.limiter.remove(name), removeGroups(h.top, name))
	}
	return &Slice{h: h, name: name, dir: filepath.Join(h.top, name)}, nil
}

// makeGroups makes the group, which must be new, and those above it with the
// controllers enabled in each new one, and returns the new ones above. Plain mkdir and writes instead of the
// library's manager: that one writes every subtree_control from the root down
// for each group, and takes one that exists for new.
func (h *Host) makeGroups(name string) (fresh []string, err error) {
	dir := filepath.Join(h.top, name)
	err = syscall.Mkdir(dir, 0o755)
	if errors.Is(err, syscall.ENOENT) {
		parts := strings.Split(name, "/")
		parent := h.top
		for i, part := range parts[:len(parts)-1] {
			parent = filepath.Join(parent, part)
			switch err := syscall.Mkdir(parent, 0o755); {
			case err == nil:
				fresh = append(fresh, strings.Join(parts[:i+1], "/"))
			case !errors.Is(err, syscall.EEXIST):
				return nil, &os.PathError{Op: "mkdir", Path: parent, Err: err}
			}
			if len(h.controllers) == 0 {
				continue
			}
			if err := writeFile(parent, "cgroup.subtree_control", "+"+strings.Join(h.controllers, " +")); err != nil {
				return nil, fmt.Errorf("enable the controllers of %s: %w", parent, err)
			}
		}
		err = syscall.Mkdir(dir, 0o755)
	}
	if err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return fresh, nil
}

// Open returns a slice that exists, such as one that an earlier process made.
// In mode None only the process that made it can.
func (h *Host) Open(name string) (*Slice, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if h.mode == None {
		h.tree.Lock()
		defer h.tree.Unlock()
		ses := h.sessions[name]
		if ses == nil {
			return nil, fmt.Errorf("slice %s: %w", name, os.ErrNotExist)
		}
		return &Slice{h: h, name: name, session: ses}, nil
	}
	dir := filepath.Join(h.top, name)
	if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
		return nil, fmt.Errorf("open slice %s: %w", name, err)
	}
	return &Slice{h: h, name: name, dir: dir}, nil
}

// List returns the names of all slices: the groups below the top slice that
// have no groups in them.
func (h *Host) List() ([]string, error) {
	h.tree.Lock()
	defer h.tree.Unlock()
	var names []string
	if h.mode == None {
		for name := range h.sessions {
			names = append(names, name)
		}
		return names, nil
	}
	err := leaves(h.top, "", &names)
	return names, err
}

func leaves(top, name string, names *[]string) error {
	subs, err := subgroups(filepath.Join(top, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	if len(subs) == 0 && name != "" {
		*names = append(*names, name)
	}
	for _, sub := range subs {
		if err := leaves(top, filepath.Join(name, sub), names); err != nil {
			return err
		}
	}
	return nil
}

// Delete waits until no process is left, then removes the slice and the groups
// above it that are left empty. The error is ctx's if it ends before. A slice
// that is gone is not an error.
func (s *Slice) Delete(ctx context.Context) error {
	wait := 200 * time.Microsecond
	for {
		err := s.remove()
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("remove slice %s: %w", s.name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove slice %s: processes are left in it: %w", s.name, context.Cause(ctx))
		case <-time.After(wait):
		}
		wait = min(2*wait, 50*time.Millisecond)
	}
}

// DeleteEmpty is Delete for a slice that may have processes: with any left it
// tells so and waits for none (the kernel may count one for a moment after it
// was waited for). Part of the slice may be gone then, so the next to do is
// Kill and Delete.
func (s *Slice) DeleteEmpty() (deleted bool, err error) {
	switch err := s.remove(); {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EBUSY):
		return false, nil
	default:
		return false, fmt.Errorf("remove slice %s: %w", s.name, err)
	}
}

func (s *Slice) remove() error {
	s.h.tree.Lock()
	defer s.h.tree.Unlock()
	if s.session != nil {
		if s.session.populated() {
			return syscall.EBUSY
		}
		delete(s.h.sessions, s.name)
		return nil
	}
	// The v1 groups first: as long as the v2 group is there, List knows of both.
	if err := s.h.limiter.remove(s.name); err != nil {
		return err
	}
	return removeGroups(s.h.top, s.name)
}

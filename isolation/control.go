package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Procs returns the PIDs of all processes in the slice.
func (s *Slice) Procs() ([]int, error) {
	if s.session != nil {
		return s.session.procs()
	}
	pids, err := readPIDs(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", s.name, err)
	}
	return pids, nil
}

// Populated reports whether any process is left in the slice.
func (s *Slice) Populated() (bool, error) {
	if s.session != nil {
		return s.session.populated(), nil
	}
	kv, err := readKeys(s.dir, "cgroup.events")
	if err != nil {
		return false, fmt.Errorf("see whether %s has processes: %w", s.name, err)
	}
	return kv["populated"] != 0, nil
}

// Freeze stops every process and returns when all have stopped.
func (s *Slice) Freeze(ctx context.Context) error { return s.freeze(ctx, true) }

// Thaw lets the processes continue.
func (s *Slice) Thaw(ctx context.Context) error { return s.freeze(ctx, false) }

func (s *Slice) freeze(ctx context.Context, on bool) error {
	value, verb, want := "0", "thaw", uint64(0)
	if on {
		value, verb, want = "1", "freeze", 1
	}
	var err error = os.ErrNotExist
	if s.session == nil {
		err = writeFile(s.dir, "cgroup.freeze", value)
	}
	if errors.Is(err, os.ErrNotExist) { // before Linux 5.2, or the slice is gone, which Procs says
		if on {
			return s.stopEach(ctx)
		}
		return s.Signal(syscall.SIGCONT)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, s.name, err)
	}
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		kv, err := readKeys(s.dir, "cgroup.events")
		if err != nil {
			return fmt.Errorf("%s %s: %w", verb, s.name, err)
		}
		if kv["frozen"] == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", verb, s.name, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// stopEach stops process by process, again while one may have forked before its
// signal came, and returns when none runs.
func (s *Slice) stopEach(ctx context.Context) error {
	signalled := map[int]bool{}
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		pids, err := s.Procs()
		if err != nil {
			return err
		}
		settled := true
		for _, pid := range pids {
			if signalled[pid] && !runs(s.h.cfg.ProcRoot, pid) {
				continue
			}
			settled = false
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop process %d of %s: %w", pid, s.name, err)
			}
			signalled[pid] = true
		}
		if settled {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("freeze %s: %w", s.name, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// runs reports whether a process that was sent SIGSTOP still can. One in the
// kernel cannot: it stops on its way out, and whoever waits in vfork for a
// stopped child does not come out before that continues.
func runs(procRoot string, pid int) bool {
	f := statFields(procRoot, pid)
	return len(f) > 0 && !strings.Contains("TtDZX", string(f[0]))
}

const killRounds = 100

// Kill kills every process in the slice, frozen ones too. Nothing may be
// started in it afterwards.
func (s *Slice) Kill() error {
	if s.session == nil {
		err := writeFile(s.dir, "cgroup.kill", "1")
		if !errors.Is(err, os.ErrNotExist) {
			if err != nil {
				return fmt.Errorf("kill %s: %w", s.name, err)
			}
			return nil
		}
	}
	// Before Linux 5.14. A process may fork between the reading and the killing,
	// so again until nothing that can be killed is left.
	for range killRounds {
		pids, err := s.Procs()
		if err != nil {
			return err
		}
		live := 0
		for _, pid := range pids {
			if !zombie(s.h.cfg.ProcRoot, pid) && syscall.Kill(pid, syscall.SIGKILL) == nil {
				live++
			}
		}
		if live == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("kill %s: processes are left after %d rounds", s.name, killRounds)
}

// Signal sends sig to every process in the slice.
func (s *Slice) Signal(sig syscall.Signal) error {
	pids, err := s.Procs()
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("signal process %d of %s: %w", pid, s.name, err))
		}
	}
	return errors.Join(errs...)
}

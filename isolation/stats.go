package isolation

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// Detail is which counters are read: each is a file.
type Detail int

const (
	All  Detail = iota
	Use         // without pressures, and without how often memory ran out
	Time        // the CPU time alone
)

// Stats is what the processes of a slice have used so far.
type Stats struct {
	CPU                                  time.Duration
	Memory, MemoryPeak                   int64 // bytes
	PIDs                                 int   // processes and threads
	OOMKills                             uint64
	OOMOutside                           bool    // its own limit was never the cause of one
	Throttling                                   // by the slice's own CPU limit
	CPUPressure, MemPressure, IOPressure float64 // percent of the last ten seconds some waited; -1 = unknown
}

// Throttling is how much a limit of its CPU held a group up so far.
type Throttling struct {
	Throttled time.Duration // of all CPUs together
	Periods   int64         // of a tenth of a second, in which it had something to do
	Exhausted int64         // those of them in which it had used up its quota
}

// Throttling is that of a group that exists, with all that is in it.
func (h *Host) Throttling(group string) (Throttling, error) {
	if err := checkName(group); err != nil {
		return Throttling{}, err
	}
	return h.limiter.throttling(group)
}

func (noLimiter) throttling(string) (t Throttling, err error) { return t, nil }

func (u *unified) throttling(group string) (t Throttling, err error) {
	kv, err := readKeys(filepath.Join(u.top, group), "cpu.stat")
	if err != nil {
		return t, err
	}
	return throttlingOf(kv), nil
}

func throttlingOf(cpuStat map[string]uint64) Throttling {
	return Throttling{micros(cpuStat["throttled_usec"]), int64(cpuStat["nr_periods"]), int64(cpuStat["nr_throttled"])}
}

func (l *v1) throttling(group string) (t Throttling, err error) {
	c := l.controllers["cpu"]
	if c == nil {
		return t, nil
	}
	kv, err := readKeys(c.Path(l.group(group)), "cpu.stat")
	if err != nil {
		return t, err
	}
	return Throttling{nanos(kv["throttled_time"]), int64(kv["nr_periods"]), int64(kv["nr_throttled"])}, nil
}

// Stats reads the counters of the slice; what is not read is 0, and pressures are -1.
// They are read directly: the library's Stat reads four times as many files, at up to
// half a millisecond.
func (s *Slice) Stats(detail Detail) (Stats, error) {
	st := Stats{CPUPressure: -1, MemPressure: -1, IOPressure: -1}
	if s.session != nil {
		pids, err := s.session.procs()
		st.PIDs = len(pids)
		return st, err
	}
	kv, err := readKeys(s.dir, "cpu.stat")
	if err != nil {
		return st, fmt.Errorf("read the counters of %s: %w", s.name, err)
	}
	st.CPU = micros(kv["usage_usec"])
	if detail == Time {
		return st, nil
	}
	if err := s.h.limiter.stats(s.name, detail, kv, &st); err != nil {
		return st, fmt.Errorf("read the counters of %s: %w", s.name, err)
	}
	if !s.h.limiter.enforces("pids") {
		pids, err := s.Procs()
		if err != nil {
			return st, err
		}
		st.PIDs = len(pids)
	}
	if detail == Use {
		return st, nil
	}
	st.CPUPressure = pressure(s.dir, "cpu.pressure")
	st.MemPressure = pressure(s.dir, "memory.pressure")
	st.IOPressure = pressure(s.dir, "io.pressure")
	return st, nil
}

// Use is what the processes of the slice have used since it was made: CPU time,
// and the most memory in bytes that they had at a time. Either is 0 where the
// kernel does not count it. It reads two files, for the end of each task.
func (s *Slice) Use() (cpu time.Duration, peak int64) {
	if s.session != nil {
		return 0, 0
	}
	if kv, err := readKeys(s.dir, "cpu.stat"); err == nil {
		cpu = micros(kv["usage_usec"])
	}
	dir, current := s.h.limiter.memoryOf(s.name)
	if dir == "" {
		return cpu, 0
	}
	name := "memory.peak" // since Linux 5.19
	if current != "memory.current" {
		name = "memory.max_usage_in_bytes" // v1
	}
	if peak, err := readInt(dir, name); err == nil {
		return cpu, peak
	}
	return cpu, 0
}

// pressure returns avg10 of the line "some avg10=0.00 avg60=…".
func pressure(dir, name string) float64 {
	b, err := readFile(dir, name)
	if err != nil {
		return -1
	}
	_, rest, ok := bytes.Cut(b, []byte("some avg10="))
	if !ok {
		return -1
	}
	v, _, _ := bytes.Cut(rest, []byte(" "))
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return -1
	}
	return f
}

// TaskMemory is what all slices have of the memory that nobody else could be
// given, in bytes: without files that are only kept because there was room.
func (h *Host) TaskMemory() (int64, error) { return h.needed("") }

// needed is that of a group.
func (h *Host) needed(group string) (int64, error) {
	dir, current := h.limiter.memoryOf(group)
	if dir == "" {
		return 0, errors.New("this machine has no memory controller")
	}
	used, err := readInt(dir, current)
	if err != nil {
		return 0, err
	}
	kv, err := readKeys(dir, "memory.stat")
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"active_file", "inactive_file", "slab_reclaimable"} {
		n, ok := kv["total_"+name] // v1 has those of the group itself beside
		if !ok {
			n = kv[name]
		}
		used -= int64(n)
	}
	return max(used, 0), nil
}

func (noLimiter) memoryOf(string) (dir, current string) { return "", "" }

func (u *unified) memoryOf(name string) (dir, current string) {
	if !u.enforces("memory") {
		return "", ""
	}
	return filepath.Join(u.top, name), "memory.current"
}

func (l *v1) memoryOf(name string) (dir, current string) {
	c := l.controllers["memory"]
	if c == nil {
		return "", ""
	}
	return c.Path(l.group(name)), "memory.usage_in_bytes"
}

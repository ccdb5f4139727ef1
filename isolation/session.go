package isolation

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// session tracks, where there is no cgroup v2, the processes of a slice by the
// sessions and process groups they were started in.
type session struct {
	procRoot string
	mu       sync.Mutex
	leaders  []int
}

func (s *session) add(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaders = append(s.leaders, pid)
}

// procs returns those that live; one that ended but was not waited for is none.
func (s *session) procs() ([]int, error) {
	s.mu.Lock()
	leaders := slices.Clone(s.leaders)
	s.mu.Unlock()
	if len(leaders) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir(s.procRoot)
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f := statFields(s.procRoot, pid)
		if len(f) < 4 || string(f[0]) == "Z" {
			continue
		}
		pgrp, _ := strconv.Atoi(string(f[2]))
		sid, _ := strconv.Atoi(string(f[3]))
		if slices.Contains(leaders, pgrp) || slices.Contains(leaders, sid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func (s *session) populated() bool {
	pids, err := s.procs()
	return err != nil || len(pids) > 0
}

// statFields are those of /proc/PID/stat from the state on.
func statFields(procRoot string, pid int) [][]byte {
	b, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	// The name before may have spaces and parentheses.
	return bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
}

func zombie(procRoot string, pid int) bool {
	f := statFields(procRoot, pid)
	return len(f) > 0 && string(f[0]) == "Z"
}

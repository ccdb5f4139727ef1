package tlsconf

import (
	"context"
	"sync"
)

// pendingSet bounds the handshakes under way. When it is full, the source that
// holds the most loses its oldest one: a flood from one address pushes out
// itself, and a real client, which needs two round trips, gets through.
type pendingSet struct {
	max int

	mu       sync.Mutex
	seq      uint64
	all      map[*pendingConn]struct{}
	bySource map[string]int
}

type pendingConn struct {
	source string
	seq    uint64
	cancel context.CancelFunc
}

func newPendingSet(n int) *pendingSet {
	return &pendingSet{max: n, all: map[*pendingConn]struct{}{}, bySource: map[string]int{}}
}

func (s *pendingSet) add(source string, cancel context.CancelFunc) *pendingConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= s.max {
		victim := s.victim()
		s.drop(victim)
		victim.cancel()
	}
	s.seq++
	p := &pendingConn{source: source, seq: s.seq, cancel: cancel}
	s.all[p] = struct{}{}
	s.bySource[source]++
	return p
}

func (s *pendingSet) remove(p *pendingConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(p)
}

func (s *pendingSet) drop(p *pendingConn) {
	if _, ok := s.all[p]; !ok {
		return
	}
	delete(s.all, p)
	if s.bySource[p.source]--; s.bySource[p.source] == 0 {
		delete(s.bySource, p.source)
	}
}

func (s *pendingSet) victim() *pendingConn {
	var worst *pendingConn
	for p := range s.all {
		if worst == nil || s.bySource[p.source] > s.bySource[worst.source] ||
			s.bySource[p.source] == s.bySource[worst.source] && p.seq < worst.seq {
			worst = p
		}
	}
	return worst
}

func (s *pendingSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

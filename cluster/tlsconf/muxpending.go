package tlsconf

import (
	"container/list"
	"context"
	"sync"
)

// pendingSet bounds the handshakes under way. When it is full, the source that
// holds the most loses its oldest one: a flood from one address pushes out
// itself, and a real client, which needs two round trips, gets through.
type pendingSet struct {
	max int

	mu       sync.Mutex
	n        int
	seq      uint64
	bySource map[string]*list.List // of *pendingConn, the oldest first
}

type pendingConn struct {
	source string
	seq    uint64
	place  *list.Element // nil: it is there no more
	cancel context.CancelFunc
}

func newPendingSet(n int) *pendingSet {
	return &pendingSet{max: n, bySource: map[string]*list.List{}}
}

func (s *pendingSet) add(source string, cancel context.CancelFunc) *pendingConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= s.max {
		victim := s.victim()
		s.drop(victim)
		victim.cancel()
	}
	s.seq++
	p := &pendingConn{source: source, seq: s.seq, cancel: cancel}
	l := s.bySource[source]
	if l == nil {
		l = list.New()
		s.bySource[source] = l
	}
	p.place = l.PushBack(p)
	s.n++
	return p
}

func (s *pendingSet) remove(p *pendingConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(p)
}

func (s *pendingSet) drop(p *pendingConn) {
	if p.place == nil {
		return
	}
	l := s.bySource[p.source]
	l.Remove(p.place)
	p.place = nil
	if s.n--; l.Len() == 0 {
		delete(s.bySource, p.source)
	}
}

func (s *pendingSet) victim() *pendingConn {
	var worst *pendingConn
	most := 0
	for _, l := range s.bySource {
		if p := l.Front().Value.(*pendingConn); l.Len() > most || l.Len() == most && p.seq < worst.seq {
			worst, most = p, l.Len()
		}
	}
	return worst
}

func (s *pendingSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

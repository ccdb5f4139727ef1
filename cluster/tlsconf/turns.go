package tlsconf

import (
	"container/list"
	"context"
	"sync"
)

// turns bounds how many handshakes are computed at a time, so that a flood of
// them keeps no more than a part of the CPUs from all else, and what else there is
// to do is not queued behind a thousand of them. Who waits for a message of the
// other side has no turn.
//
// Addresses have turns one after the other, however many handshakes each has, and
// those where nodes are have three of four. Of one address the newest is first:
// in a flood the oldest is about to be given up, here or by its client.
type turns struct {
	mu    sync.Mutex
	free  int
	lines [2]line
	nodes int // turns of nodes since another address had one
}

// kin is a kind of addresses.
type kin int

const (
	ofNodes  kin = iota // a node proved who it is from there
	ofOthers            // all others
)

// line is the addresses that wait.
type line struct {
	order *list.List // of *inLine: who is next
	by    map[string]*inLine
}

// inLine is an address that waits: the channels of its handshakes, the oldest first.
type inLine struct {
	source string
	place  *list.Element
	all    *list.List
}

func newTurns(n int) *turns {
	t := &turns{free: n}
	for i := range t.lines {
		t.lines[i] = line{list.New(), map[string]*inLine{}}
	}
	return t
}

// take waits for a turn. After an error there is none to give back.
func (t *turns) take(ctx context.Context, source string, of kin) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	l := &t.lines[of]
	s := l.by[source]
	if s == nil {
		s = &inLine{source: source, all: list.New()}
		s.place = l.order.PushBack(s)
		l.by[source] = s
	}
	mine := make(chan struct{})
	e := s.all.PushBack(mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	select {
	case <-mine: // just now
		t.pass()
	default:
		l.leave(s, e)
	}
	t.mu.Unlock()
	return ctx.Err()
}

// give gives a turn back.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

func (t *turns) pass() {
	of := ofNodes
	if t.lines[ofNodes].order.Len() == 0 || t.nodes >= 3 && t.lines[ofOthers].order.Len() > 0 {
		of = ofOthers
	}
	l := &t.lines[of]
	first := l.order.Front()
	if first == nil {
		t.free++
		return
	}
	t.nodes++
	if of == ofOthers {
		t.nodes = 0
	}
	l.order.MoveToBack(first)
	s := first.Value.(*inLine)
	newest := s.all.Back()
	l.leave(s, newest)
	close(newest.Value.(chan struct{}))
}

func (l *line) leave(s *inLine, e *list.Element) {
	if s.all.Remove(e); s.all.Len() == 0 {
		l.order.Remove(s.place)
		delete(l.by, s.source)
	}
}

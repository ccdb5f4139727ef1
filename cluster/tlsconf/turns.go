package tlsconf

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// turns bounds how many handshakes are computed at a time, so that a flood of
// them keeps no more than a part of the CPUs from all else, and what else there is
// to do is not queued behind a thousand of them. Who waits for a message of the
// other side has no turn.
//
// Where no node was seen, each turn is followed by a rest of three times as long: so
// they keep a quarter of what they might, on a machine with other work less.
//
// Addresses have turns one after the other, however many handshakes each has, and
// those where nodes are have three of four. Of one address the newest is first:
// in a flood the oldest is about to be given up, here or by its client.
type turns struct {
	mu    sync.Mutex
	free  int
	lines [2]line
	nodes int         // turns of nodes since another address had one
	rests time.Time   // no turn for others before
	wake  *time.Timer // when others wait for that alone
}

// restTimes is how much longer others rest than a turn took, which counts at most
// longTurn: it may have waited for a CPU itself.
const (
	restTimes = 3
	longTurn  = 5 * time.Millisecond
)

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
	if t.free > 0 && (of == ofNodes || !time.Now().Before(t.rests)) {
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
	t.pass()
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	select {
	case <-mine: // just now
		t.free++
		t.pass()
	default:
		l.leave(s, e)
	}
	t.mu.Unlock()
	return ctx.Err()
}

// give gives a turn back that took so long.
func (t *turns) give(of kin, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of == ofOthers {
		t.rests = time.Now().Add(restTimes * min(took, longTurn))
	}
	t.free++
	t.pass()
}

// pass gives those who wait the turns that there are.
func (t *turns) pass() {
	for t.free > 0 {
		others := t.lines[ofOthers].order.Len() > 0
		rest := time.Until(t.rests)
		switch {
		case others && rest <= 0 && (t.nodes >= 3 || t.lines[ofNodes].order.Len() == 0):
			t.nodes = 0
			t.next(ofOthers)
		case t.lines[ofNodes].order.Len() > 0:
			t.nodes++
			t.next(ofNodes)
		case others && t.wake == nil:
			t.wake = time.AfterFunc(rest, func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.wake = nil
				t.pass()
			})
			return
		default:
			return
		}
	}
}

func (t *turns) next(of kin) {
	l := &t.lines[of]
	first := l.order.Front()
	l.order.MoveToBack(first)
	s := first.Value.(*inLine)
	newest := s.all.Back()
	l.leave(s, newest)
	t.free--
	close(newest.Value.(chan struct{}))
}

func (l *line) leave(s *inLine, e *list.Element) {
	if s.all.Remove(e); s.all.Len() == 0 {
		l.order.Remove(s.place)
		delete(l.by, s.source)
	}
}

package node

import (
	"context"
	"io"
	"sync"
	"time"
)

const (
	maxTail   = 64 << 10 // bytes of what was printed that who attaches later is shown
	maxBehind = 1 << 20  // bytes that wait for who is attached
	maxPiece  = 32 << 10 // bytes of a record
)

// chunk is a piece of what a command printed.
type chunk struct {
	stderr bool
	data   []byte
}

// spread hands what a command prints to all that are attached to it. The command waits for
// whose session it is; others that do not read are left behind.
type spread struct {
	mu    sync.Mutex
	tail  []chunk
	bytes int // of tail
	ears  map[*ear]bool
	over  bool
}

func newSpread() *spread { return &spread{ears: map[*ear]bool{}} }

// ear is somebody who is attached.
type ear struct {
	of      *spread
	waited  bool // the command waits for it
	waiting []chunk
	bytes   int
	lost    bool          // it did not read in time
	more    chan struct{} // one slot: there is something new
	less    chan struct{} // one slot: it took something
	gone    chan struct{} // closed when it leaves
}

// listen attaches somebody, who is shown the end of what was printed first.
func (s *spread) listen(waited bool) *ear {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &ear{of: s, waited: waited, waiting: append([]chunk(nil), s.tail...), bytes: s.bytes, more: make(chan struct{}, 1), less: make(chan struct{}, 1), gone: make(chan struct{})}
	s.ears[e] = true
	poke(e.more)
	return e
}

func (e *ear) leave() {
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	if e.of.ears[e] {
		delete(e.of.ears, e)
		close(e.gone)
	}
}

// forget drops what was printed.
func (s *spread) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail, s.bytes = nil, 0
}

// take is what is there for it, and whether more may come. It waits for something.
func (e *ear) take(ctx context.Context) (all []chunk, more bool) {
	for {
		e.of.mu.Lock()
		all, e.waiting, e.bytes = e.waiting, nil, 0
		more = !e.of.over && !e.lost
		e.of.mu.Unlock()
		poke(e.less)
		if len(all) > 0 || !more {
			return all, more
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-e.more:
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *spread) writer(stderr bool) io.Writer { return spreadWriter{s, stderr} }

type spreadWriter struct {
	*spread
	stderr bool
}

// Write keeps a copy, as the caller uses p again.
func (w spreadWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxPiece)]
		for _, slow := range w.put(chunk{w.stderr, append([]byte(nil), part...)}) {
			slow.await()
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// put adds a chunk, and returns whom to wait for before there is another.
func (s *spread) put(c chunk) (slow []*ear) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail, s.bytes = append(s.tail, c), s.bytes+len(c.data)
	for s.bytes > maxTail {
		s.bytes -= len(s.tail[0].data)
		s.tail = s.tail[1:]
	}
	for e := range s.ears {
		if e.lost {
			continue
		}
		e.waiting, e.bytes = append(e.waiting, c), e.bytes+len(c.data)
		switch {
		case e.bytes <= maxBehind:
		case e.waited:
			slow = append(slow, e)
		default:
			e.lost, e.waiting, e.bytes = true, nil, 0
		}
		poke(e.more)
	}
	return slow
}

// await waits until it has room again, or leaves.
func (e *ear) await() {
	for {
		e.of.mu.Lock()
		room := e.bytes <= maxBehind || e.of.over
		e.of.mu.Unlock()
		if room {
			return
		}
		select {
		case <-e.less:
		case <-e.gone:
			return
		}
	}
}

// tailKept is how long after a command's end what it printed last is.
const tailKept = time.Minute

// end is that nothing more is printed.
func (s *spread) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	time.AfterFunc(tailKept, s.forget)
	for e := range s.ears {
		poke(e.more)
		poke(e.less)
	}
}

package node

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	maxTail   = 64 << 10 // bytes of what was printed that who attaches later is shown
	maxBehind = 1 << 20  // bytes that wait for who is attached
	maxPiece  = 32 << 10 // bytes of a record
	maxJoined = 4 << 10  // bytes of a chunk that pieces come together in
	perChunk  = 64       // bytes that a chunk takes beside its data
)

// chunk is a piece of what a command printed.
type chunk struct {
	stderr bool
	data   []byte
}

func (c *chunk) size() int { return len(c.data) + perChunk }

// chunks are some in a row.
type chunks struct {
	all   []chunk
	bytes int
}

// add adds a piece, to the last chunk if that is small.
func (l *chunks) add(c chunk) {
	if n := len(l.all); n > 0 {
		if last := &l.all[n-1]; last.stderr == c.stderr && len(last.data)+len(c.data) <= maxJoined {
			last.data, l.bytes = append(last.data, c.data...), l.bytes+len(c.data)
			return
		}
	}
	c.data = slices.Clip(c.data) // it is in other rows, too
	l.all, l.bytes = append(l.all, c), l.bytes+c.size()
}

// copied is a row of its own of the same.
func (l *chunks) copied() chunks {
	out := chunks{slices.Clone(l.all), l.bytes}
	for i := range out.all {
		out.all[i].data = slices.Clip(out.all[i].data)
	}
	return out
}

// spread hands what a command prints to all that are attached to it. The command waits for
// whose session it is; others that do not read are left behind.
type spread struct {
	mu   sync.Mutex
	tail chunks
	ears map[*ear]bool
	over bool
}

func newSpread() *spread { return &spread{ears: map[*ear]bool{}} }

// ear is somebody who is attached.
type ear struct {
	of      *spread
	waited  bool // the command waits for it
	waiting chunks
	lost    bool          // it did not read in time
	more    chan struct{} // one slot: there is something new
	less    chan struct{} // is closed, and made anew, when it took something
	gone    chan struct{} // closed when it leaves
}

// listen attaches somebody, who is shown the end of what was printed first.
func (s *spread) listen(waited bool) *ear {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &ear{of: s, waited: waited, waiting: s.tail.copied(), more: make(chan struct{}, 1), less: make(chan struct{}), gone: make(chan struct{})}
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
	s.tail = chunks{}
}

// take is what is there for it, and whether more may come. It waits for something.
func (e *ear) take(ctx context.Context) (all []chunk, more bool) {
	for {
		e.of.mu.Lock()
		all, e.waiting = e.waiting.all, chunks{}
		more = !e.of.over && !e.lost
		e.freed()
		e.of.mu.Unlock()
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

// freed wakes all that wait for it.
func (e *ear) freed() {
	close(e.less)
	e.less = make(chan struct{})
}

// whole reports whether it was handed all that was printed until the end.
func (e *ear) whole() bool {
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	return e.of.over && !e.lost && len(e.waiting.all) == 0
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
	s.tail.add(c)
	for s.tail.bytes > maxTail {
		s.tail.bytes -= s.tail.all[0].size()
		s.tail.all = s.tail.all[1:]
	}
	for e := range s.ears {
		if e.lost {
			continue
		}
		e.waiting.add(c)
		switch {
		case e.waiting.bytes <= maxBehind:
		case e.waited:
			slow = append(slow, e)
		default:
			e.lost, e.waiting = true, chunks{}
		}
		poke(e.more)
	}
	return slow
}

// await waits until it has room again, or leaves.
func (e *ear) await() {
	for {
		e.of.mu.Lock()
		room, less := e.waiting.bytes <= maxBehind || e.of.over, e.less
		e.of.mu.Unlock()
		if room {
			return
		}
		select {
		case <-less:
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
		e.freed()
	}
}

package keeper

import (
	"errors"
	"os"
	"time"

	"github.com/mesita/mesita/isolation"
)

// earlySlice is one that was made before the start that it is for was asked: the
// daemon writes meanwhile that it asks. If the start does not come, it is removed.
type earlySlice struct {
	conn   *conn // that asked
	name   string
	limits isolation.Limits
	drop   *time.Timer
	made   chan struct{} // closed when it is, or cannot be
	slice  *isolation.Slice
	err    error
}

const (
	earlyFor = 5 * time.Second // how long a start is waited for
	maxEarly = 64
)

// prepare makes the slice of a start that may come.
func (s *server) prepare(c *conn, r *StartRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.known[r.ID] != nil || s.early[r.ID] != nil || len(s.early) >= maxEarly {
		return
	}
	e := &earlySlice{conn: c, name: r.Slice, limits: r.Limits, made: make(chan struct{})}
	e.drop = time.AfterFunc(earlyFor, func() { s.dropEarly(r.ID, e) })
	s.early[r.ID] = e
	s.tasks.Go(func() {
		e.slice, e.err = s.host.Create(e.name, e.limits)
		close(e.made)
	})
}

// sliceFor is the slice of a start: the one that was made early, or a new one.
func (s *server) sliceFor(r *StartRequest) (*isolation.Slice, error) {
	s.mu.Lock()
	e := s.early[r.ID]
	delete(s.early, r.ID)
	s.mu.Unlock()
	if e != nil {
		e.drop.Stop()
		<-e.made
		switch {
		case e.err == nil && e.name == r.Slice && e.limits == r.Limits:
			return e.slice, nil
		case e.err == nil:
			s.remove(e.slice)
		}
	}
	return s.host.Create(r.Slice, r.Limits)
}

// dropEarlyOf drops what a connection asked for that ended: its daemon starts
// nothing any more, and the next one may below another keeper. s.mu is held.
func (s *server) dropEarlyOf(c *conn) {
	for id, e := range s.early {
		if e.conn == c {
			s.tasks.Go(func() { s.dropEarly(id, e) })
		}
	}
}

// dropEarly removes a slice whose start did not come. It kills nothing: nobody
// is in it who is ours.
func (s *server) dropEarly(id string, e *earlySlice) {
	s.mu.Lock()
	ours := s.early[id] == e
	if ours {
		delete(s.early, id)
	}
	s.mu.Unlock()
	if !ours {
		return
	}
	e.drop.Stop()
	<-e.made
	if e.err != nil {
		return
	}
	if _, err := e.slice.DeleteEmpty(); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a slice whose start did not come cannot be removed", "slice", e.name, "error", err)
	}
}

package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mesita/mesita/isolation"
)

// earlyStart is the slice that was made before the start that it is for was asked:
// the daemon writes meanwhile that it asks. If the start does not come, it is
// removed.
type earlyStart struct {
	conn *conn // that asked
	req  *StartRequest
	drop *time.Timer
	made chan struct{} // closed when it is, or cannot be
	gone chan struct{} // closed when it was dropped
	left bool          // it is being dropped; guarded by server.mu

	slice *isolation.Slice
	err   error
}

// noted is what the ledger has of it.
func (e *earlyStart) noted() Status {
	return Status{ID: e.req.ID, State: early, Slice: e.req.Slice}
}

const (
	earlyFor   = 5 * time.Second // how long a start is waited for
	goneWithin = 5 * time.Second // how long the kernel may count a process that is gone
	maxEarly   = 64
)

// prepare makes the slice of a start that may come.
func (s *server) prepare(c *conn, r *StartRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.known[r.ID] != nil || s.early[r.ID] != nil || len(s.early) >= maxEarly {
		return
	}
	e := &earlyStart{conn: c, req: r, made: make(chan struct{}), gone: make(chan struct{})}
	e.drop = time.AfterFunc(earlyFor, func() { s.dropEarly(r.ID, e) })
	s.early[r.ID] = e
	noted := s.ledger.early(e.noted()) // a keeper that starts beside this one kills what nobody wrote of
	s.tasks.Go(func() {
		defer close(e.made)
		if e.err = s.ledger.write(noted); e.err != nil {
			return
		}
		e.slice, e.err = s.host.Create(r.Slice, r.Limits)
	})
}

// takeEarly is what was made early for this very start; nil: nothing is there of
// it, or any more.
func (s *server) takeEarly(r *StartRequest) *earlyStart {
	s.mu.Lock()
	e := s.early[r.ID]
	ours := e != nil && !e.left
	if ours {
		delete(s.early, r.ID)
	}
	s.mu.Unlock()
	switch {
	case e == nil:
		return nil
	case !ours:
		<-e.gone
		return nil
	}
	e.drop.Stop()
	<-e.made
	if e.err != nil || e.req.Slice != r.Slice || e.req.Limits != r.Limits {
		s.discard(e)
		return nil
	}
	return e
}

// sliceFor is the slice of a start: the one that was made early, unless that is
// nil, or a new one.
func (s *server) sliceFor(r *StartRequest, e *earlyStart) (*isolation.Slice, error) {
	if e != nil {
		return e.slice, nil
	}
	sl, err := s.host.Create(r.Slice, r.Limits)
	if err != nil {
		return nil, fmt.Errorf("make the slice: %w", err)
	}
	return sl, nil
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

// dropEarly removes what a start did not come for. Whoever asks for that start
// meanwhile waits until it is gone.
func (s *server) dropEarly(id string, e *earlyStart) {
	s.mu.Lock()
	ours := s.early[id] == e && !e.left
	e.left = e.left || ours
	s.mu.Unlock()
	if !ours {
		return
	}
	e.drop.Stop()
	<-e.made
	s.discard(e)
	s.mu.Lock()
	delete(s.early, id)
	noted := s.ledger.left(id)
	s.mu.Unlock()
	close(e.gone)
	s.note(noted)
}

// discard removes what was made early. It kills nothing: nobody is in it who is ours.
func (s *server) discard(e *earlyStart) {
	if e == nil || e.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goneWithin)
	defer cancel()
	if err := e.slice.Delete(ctx); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a slice whose start did not come cannot be removed", "slice", e.req.Slice, "error", err)
	}
}

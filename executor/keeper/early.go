package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/mesita/mesita/isolation"
)

// earlyStart is what was made before the start that it is for was asked: the
// daemon writes meanwhile that it asks. The slice is there, and in it a process
// that has all but its user and its program, and waits. If the start does not
// come, it is removed; if the keeper dies, the process ends by itself.
type earlyStart struct {
	conn *conn // that asked
	req  *StartRequest
	drop *time.Timer
	made chan struct{} // closed when it is, or cannot be
	gone chan struct{} // closed when it was dropped
	left bool          // it is being dropped; guarded by server.mu

	slice *isolation.Slice
	err   error
	born  *newborn // nil: only the slice was made
}

// newborn is a process on its way to be a task's, and where what it will write
// can be read.
type newborn struct {
	birth    *isolation.Birth
	out, err *os.File
}

// noted is what the ledger has of it.
func (e *earlyStart) noted() Status {
	return Status{ID: e.req.ID, State: early, Slice: e.req.Slice}
}

func (n *newborn) closeOutput() {
	n.out.Close()
	n.err.Close()
}

const (
	earlyFor   = 5 * time.Second // how long a start is waited for
	goneWithin = 5 * time.Second // how long the kernel may count a process that is gone
	maxEarly   = 64
)

// prepare makes what a start that may come needs. A daemon of before names no
// program: then it is the slice.
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
		if e.err == nil && r.Path != "" && r.unknown == nil && isolation.Holds {
			e.born, _ = s.bear(e.slice, r, e.slice.BeginHeld) // the start tries again, and tells why
		}
	})
}

// bear begins a process in a slice.
func (s *server) bear(sl *isolation.Slice, r *StartRequest, begin func(isolation.Spec, isolation.Files) (*isolation.Birth, error)) (*newborn, error) {
	out, outW, err := pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	errR, errW, err := pipe()
	if err != nil {
		out.Close()
		return nil, err
	}
	defer errW.Close()
	give(r.UID, outW, errW)
	n := &newborn{out: out, err: errR}
	if n.birth, err = begin(r.Spec, isolation.Files{Stdin: s.null, Stdout: outW, Stderr: errW}); err != nil {
		n.closeOutput()
		return nil, err
	}
	return n, nil
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
	same := e.err == nil && e.req.Slice == r.Slice && e.req.Limits == r.Limits
	if same && e.born != nil && !reflect.DeepEqual(e.req.Spec, r.Spec) {
		same = false
	}
	if !same {
		s.discard(e)
		return nil
	}
	return e
}

// newborn is a process that is about to become what a start asks for, in its
// slice: the one that was made early, unless that is nil, or a new one.
func (s *server) newborn(r *StartRequest, e *earlyStart) (*isolation.Slice, *newborn, error) {
	if e != nil && e.born != nil {
		return e.slice, e.born, nil
	}
	var sl *isolation.Slice
	var err error
	if e != nil {
		sl = e.slice
	} else if sl, err = s.host.Create(r.Slice, r.Limits); err != nil {
		return nil, nil, fmt.Errorf("make the slice: %w", err)
	}
	n, err := s.bear(sl, r, sl.Begin)
	if err != nil {
		s.remove(sl)
	}
	return sl, n, err
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

// discard removes what was made early. It kills no process but its own, which
// waits: the attempt may run below another keeper.
func (s *server) discard(e *earlyStart) {
	if e == nil || e.err != nil {
		return
	}
	if e.born != nil {
		if err := e.born.birth.Drop(); err != nil {
			s.log.Error("a process whose start did not come may be there yet", "slice", e.req.Slice, "error", err)
		}
		e.born.closeOutput()
	}
	ctx, cancel := context.WithTimeout(context.Background(), goneWithin)
	defer cancel()
	if err := e.slice.Delete(ctx); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("a slice whose start did not come cannot be removed", "slice", e.req.Slice, "error", err)
	}
}

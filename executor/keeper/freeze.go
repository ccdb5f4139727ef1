package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	// ErrFrozen says that nothing can be started beside an attempt whose
	// processes are stopped.
	ErrFrozen = errors.New("the attempt is frozen")
	// ErrUnfreezable says that the machine has no freezer that nothing escapes.
	ErrUnfreezable = errors.New("this machine has no cgroup freezer")
)

// freezeTime is how long a freeze is waited for. A process that waits in the
// kernel for a device stops only once it comes out.
const freezeTime = time.Second

// freezer is the part of a task that freezing and thawing need.
type freezer struct {
	// gate keeps a freeze from coming between the look whether there is one and a
	// start beside the task: that would not begin before the thaw, without a word.
	gate sync.RWMutex
	on   bool // guarded by gate

	// Of the newest request; guarded by server.mu. A newer one does not wait
	// until an older one gives up.
	cancel context.CancelFunc
	done   chan struct{}
}

// freeze answers a request to freeze or thaw an attempt, in the order in which
// they came.
func (s *server) freeze(c *conn, m *message) {
	ctx, cancel := context.WithTimeout(context.Background(), freezeTime)
	t, err := s.find(m.ID)
	var before chan struct{}
	done := make(chan struct{})
	if err == nil {
		s.mu.Lock()
		before = t.freezer.done
		if t.freezer.cancel != nil {
			t.freezer.cancel()
		}
		t.freezer.cancel, t.freezer.done = cancel, done
		s.mu.Unlock()
	}
	s.tasks.Go(func() {
		defer cancel()
		defer close(done)
		reply := &message{Op: opAnswer, Seq: m.Seq}
		if before != nil {
			<-before
		}
		if err == nil {
			err = s.setFreezer(ctx, t, m.Op == opFreeze)
			s.mu.Lock()
			if err != nil && t.over {
				err = fmt.Errorf("%s: %w", m.ID, ErrNotRunning) // its slice was removed meanwhile
			}
			s.mu.Unlock()
		}
		if reply.Error = toWire(err); err == nil {
			s.mu.Lock()
			reply.Statuses = []Status{t.status}
			s.mu.Unlock()
		}
		if err := c.send(reply); err != nil {
			s.log.Info("the daemon left while a task was frozen or thawed", "task", m.ID)
		}
	})
}

func (s *server) setFreezer(ctx context.Context, t *task, on bool) error {
	if on && s.host.Attributes()["isolation.freeze"] != "yes" {
		return ErrUnfreezable
	}
	if on {
		if err := s.change(t, func(st *Status) { st.Freezer = true }); err != nil {
			return err
		}
		t.freezer.gate.Lock()
		t.freezer.on = true
		t.freezer.gate.Unlock()
		if err := t.slice.Freeze(ctx); err != nil {
			return err
		}
		return s.change(t, func(st *Status) {
			if st.Frozen.IsZero() {
				st.Frozen = time.Now()
			}
		})
	}
	s.mu.Lock()
	was := t.status.Freezer
	s.mu.Unlock()
	if !was {
		return nil
	}
	if err := t.slice.Thaw(ctx); err != nil {
		return err
	}
	t.freezer.gate.Lock()
	t.freezer.on = false
	t.freezer.gate.Unlock()
	return s.change(t, func(st *Status) {
		if !st.Frozen.IsZero() {
			st.FrozenFor += time.Since(st.Frozen)
		}
		st.Freezer, st.Frozen = false, time.Time{}
	})
}

// change changes the status of a task that still runs.
func (s *server) change(t *task, change func(*Status)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.status.State != Running || t.over {
		return fmt.Errorf("%s: %w", t.status.ID, ErrNotRunning)
	}
	change(&t.status)
	return nil
}

// Freeze stops all processes of an attempt in place. The status tells since
// when they are stopped, and for how long they were before. After an error
// they may be stopped all the same, some or all: only Thaw makes sure. On a
// machine that cannot, the error is ErrUnfreezable, and nothing was stopped.
func (c *Client) Freeze(ctx context.Context, id string) (Status, error) {
	return c.setFreezer(ctx, message{Op: opFreeze, ID: id})
}

// Thaw lets the processes of an attempt continue.
func (c *Client) Thaw(ctx context.Context, id string) (Status, error) {
	return c.setFreezer(ctx, message{Op: opThaw, ID: id})
}

func (c *Client) setFreezer(ctx context.Context, m message) (Status, error) {
	r, err := c.ask(ctx, m.ID, m)
	if err != nil {
		return Status{}, err
	}
	if len(r.Statuses) != 1 {
		return Status{}, errors.New("the keeper did not say whether the attempt is frozen")
	}
	return r.Statuses[0], nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
)

// stack holds the long-lived parts of a node in their start order. They stop
// in the reverse order, each joined before the next is told, so that a part
// may rely on those below it until its very end.
type stack struct {
	parts  []*part
	failed chan error
}

type part struct {
	name   string
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error
}

var errStopping = errors.New("the node stops")

func newStack() *stack { return &stack{failed: make(chan error, 1)} }

// start runs a part. Its context does not end with the caller's: the stack
// ends it when its turn has come.
func (s *stack) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	s.parts = append(s.parts, p)
	go func() {
		defer close(p.done)
		p.err = run(ctx)
		if ctx.Err() != nil {
			return
		}
		err := p.err
		if err == nil {
			err = errors.New("ended unasked")
		}
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, err):
		default: // one failure is enough to stop everything
		}
	}()
}

// wait blocks until ctx ends or a part fails, then stops all parts.
func (s *stack) wait(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}
	return errors.Join(err, s.stop())
}

func (s *stack) stop() error {
	var errs []error
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		p.cancel(errStopping)
		<-p.done
		if p.err != nil && !errors.Is(p.err, errStopping) && !errors.Is(p.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, p.err))
		}
	}
	s.parts = nil
	return errors.Join(errs...)
}

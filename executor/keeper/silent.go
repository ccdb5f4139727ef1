package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrSilent says that a keeper is there and does not answer, as one that was
// stopped. What was asked of it may still be done once it wakes.
var ErrSilent = errors.New("the keeper, the parent of this node's tasks, does not answer")

const (
	heardFor   = time.Second      // that nothing was heard before it is asked first
	answerTime = 10 * time.Second // for an answer that takes no work
)

// answers makes sure that a keeper does: it was heard of just now, or answers
// when asked. A keeper that does not is sent no start that it never saw, so that
// it is certain not to begin it as it wakes.
func (p *peer) answers(ctx context.Context, l *link) error {
	if time.Since(time.Unix(0, l.heard.Load())) < heardFor {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, fmt.Errorf("%w: wake or end process %d", ErrSilent, l.pid))
	defer cancel()
	// One of a version that does not know the question says so.
	if _, err := p.ask(ctx, l, &message{Op: opPing}); ctx.Err() != nil {
		return err
	}
	return nil
}

// Check is ErrSilent if a keeper does not answer. It connects to none, and
// starts none.
func (c *Client) Check(ctx context.Context) error {
	for _, p := range c.peers {
		p.mu.Lock()
		l, missed := p.link, p.missed
		p.mu.Unlock()
		if l != nil {
			missed = p.answers(ctx, l)
		}
		if errors.Is(missed, ErrSilent) {
			return missed
		}
	}
	return nil
}

// silence is a connection's error, told apart if the other side takes it and says
// nothing.
func silence(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return err
}

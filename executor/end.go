package executor

import (
	"context"
	"fmt"
	"time"
)

// EndAll ends all tasks of this node, as if it was assigned none, and returns
// once none is left. Run must be under way.
func (e *Executor) EndAll(ctx context.Context) error {
	e.Assign(nil)
	left := 0
	select {
	case <-ctx.Done():
		return fmt.Errorf("end the tasks of this node: the keeper does not answer: %w", context.Cause(ctx))
	case <-e.Synced():
	}
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		if err := e.ask(ctx, func() { left = e.loop.active }); err != nil {
			return fmt.Errorf("end the tasks of this node: %d are left: %w", left, err)
		}
		if left == 0 {
			tick.Stop()
			return nil
		}
		<-tick.C
	}
}

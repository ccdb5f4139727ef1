package executor

import (
	"context"
	"errors"
	"time"

	"github.com/mesita/mesita/executor/keeper"
)

// keeperEvery is how often it is looked whether the keeper answers.
const keeperEvery = 10 * time.Second

// KeeperSilent reports whether the keeper is there and does not answer: what runs
// continues, nothing starts, and no end is seen.
func (e *Executor) KeeperSilent() bool { return e.silent.Load() }

func (e *Executor) watchKeeper(ctx context.Context) {
	tick := time.NewTicker(keeperEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := e.rt.Check(ctx)
		if ctx.Err() != nil {
			return
		}
		switch silent := errors.Is(err, keeper.ErrSilent); {
		case silent == e.silent.Swap(silent):
		case silent:
			e.log.Error("no task starts here, and no end is seen, until the keeper answers", "error", err)
		default:
			e.log.Info("the keeper answers again")
		}
	}
}

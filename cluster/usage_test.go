package cluster

import (
	"context"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// A node that hangs does not look like one without tasks.
func TestWhatTasksUseIsNotToldInTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hangs := &executor.Executor{} // it does not run
	if stats, err := (local{&Agent{exec: hangs}}).Stats(ctx, api.StatsAll); api.ErrorCode(err) != api.CodeUnavailable {
		t.Errorf("%v, %v", stats, err)
	}
}

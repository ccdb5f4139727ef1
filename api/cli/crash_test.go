package cli

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Starts that end at once and alike are in vain, on whichever nodes they were made; who
// differs in anything but the node may yet do better.
func TestStartsThatEndAlike(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	code := func(n int) *int { return &n }
	missing := func(node string) api.Attempt {
		return api.Attempt{Version: 1, Node: node, Reason: api.ReasonStartFailed, ExitCode: code(127), Message: "./serve does not exist on node " + node, Started: at, Ended: at}
	}
	j := &api.Job{Version: 1}
	for name, c := range map[string]struct {
		last func(*api.Attempt)
		want bool
	}{
		"alike":              {func(*api.Attempt) {}, true},
		"never started":      {func(x *api.Attempt) { x.Started = time.Time{} }, true},
		"another reason":     {func(x *api.Attempt) { x.Reason = api.ReasonExited }, false},
		"another code":       {func(x *api.Attempt) { x.ExitCode = code(1) }, false},
		"no code":            {func(x *api.Attempt) { x.ExitCode = nil }, false},
		"a signal":           {func(x *api.Attempt) { x.Signal = "SIGSEGV" }, false},
		"another message":    {func(x *api.Attempt) { x.Message = "./other does not exist on node elm" }, false},
		"an earlier version": {func(x *api.Attempt) { x.Version = 0 }, false},
		"stopped":            {func(x *api.Attempt) { x.Reason = api.ReasonStopped }, false},
		"up for a while":     {func(x *api.Attempt) { x.Ended = at.Add(quickEnd + 1) }, false},
	} {
		last := missing("elm")
		c.last(&last)
		task := &api.Task{Earlier: []api.Attempt{{Version: 0}, missing("oak"), missing("ash"), last}}
		if got := dies(j, task); got != c.want {
			t.Errorf("%s: dies = %v, want %v", name, got, c.want)
		}
	}
	if dies(j, &api.Task{Earlier: []api.Attempt{missing("oak"), missing("ash")}}) {
		t.Errorf("%d starts are enough, want %d", 2, alikeEnds)
	}
}

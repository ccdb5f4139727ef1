package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Up is the attempt that runs, without the time in which it was frozen; restarts are
// those of its version.
func TestUpAndRestarts(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	of := func(versions ...int) (out []api.Attempt) {
		for i, v := range versions {
			out = append(out, api.Attempt{Attempt: i + 1, Version: v})
		}
		return out
	}
	many := of(3, 3, 3, 3, 3, 3, 3, 3, 3, 3)
	for i := range many {
		many[i].Attempt += 5
	}
	for name, c := range map[string]struct {
		task         api.Task
		up, restarts string
	}{
		"new":           {api.Task{State: api.TaskRunning, Attempt: 1, Version: 1, Started: now.Add(-3 * time.Minute)}, "3m", "0"},
		"waits":         {api.Task{State: api.TaskStaging, Attempt: 3, Version: 1, Started: now, Earlier: of(1, 1)}, "", "2"},
		"ended":         {api.Task{State: api.TaskFailed, Attempt: 1, Version: 1, Started: now.Add(-time.Hour), Ended: now}, "", "0"},
		"frozen":        {api.Task{State: api.TaskRunning, Attempt: 1, Version: 1, Frozen: true, Started: now.Add(-time.Hour), FrozenAt: now.Add(-50 * time.Minute)}, "10m", "0"},
		"deployed":      {api.Task{State: api.TaskRunning, Attempt: 3, Version: 2, Started: now, Earlier: of(1, 1)}, "0s", "0"},
		"of version 2":  {api.Task{State: api.TaskRunning, Attempt: 4, Version: 2, Started: now, Earlier: of(1, 2, 2)}, "0s", "2"},
		"more than are": {api.Task{State: api.TaskRunning, Attempt: 16, Version: 3, Started: now, Earlier: many}, "0s", "10+"},
		"clock behind":  {api.Task{State: api.TaskRunning, Attempt: 1, Started: now.Add(time.Minute)}, "0s", "0"},
	} {
		if up, restarts := upText(&c.task, now), restartsText(&c.task); up != c.up || restarts != c.restarts {
			t.Errorf("%s: up %q, %s restarts; want %q, %s", name, up, restarts, c.up, c.restarts)
		}
	}
}

func TestAddresses(t *testing.T) {
	task := api.Task{State: api.TaskRunning, NodeID: "a", Ports: map[string]int{"http": 20001, "admin": 20000}}
	for host, want := range map[string]string{"10.0.0.11": "10.0.0.11:20000,20001", "fd00::1": "[fd00::1]:20000,20001", "": ":20000,20001"} {
		if got := addressText(&task, host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	task.State = api.TaskFailed
	if got := addressText(&task, "10.0.0.11"); got != "" {
		t.Errorf("of one that ended: %s", got)
	}
}

// An executor is named by the id that its framework gave it, and what it runs says so: that
// has no command of its own.
func TestExecutorsAreShownByTheirIDs(t *testing.T) {
	e := &api.FrameworkTask{Framework: "f", Executor: "default", IsExecutor: true, Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"./run"}}}}
	task := &api.FrameworkTask{Framework: "f", ID: "app-1", Executor: "default", Spec: &api.JobSpec{}}
	if got := ownID(&api.Task{Framework: e}); got != "executor default" {
		t.Errorf("%q", got)
	}
	for own, want := range map[*api.FrameworkTask]string{e: "executor   default\ncommand    ./run\n", task: "its id     app-1\nruns in    executor default, whose logs and processes are its\n"} {
		var b strings.Builder
		if showOwn(&b, own); !strings.HasPrefix(b.String(), "framework  f\n"+want) || own == task && strings.Contains(b.String(), "command") {
			t.Errorf("%q, want %q", b.String(), want)
		}
	}
}

package executor_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
	"github.com/mesita/mesita/isolation"
)

// A process that can be asked to end in a way of its own is sent no signal, and killed if it
// is still there after its time.
func TestAskedToEnd(t *testing.T) {
	for _, asked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t)
			n.cfg = func(c *executor.Config) { c.Ask = func(task *api.Task) bool { return asked && task.ID == "e.0" } }
			n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Ignore: true} }
			n.start()
			defer n.stop()
			n.Assign(set(assignment("e", 0, 1, batch)))
			settle()
			n.End("e.0", 2, api.TaskFailed, api.ReasonExecutorSilent, "not this one")
			n.End("e.0", 1, api.TaskFailed, api.ReasonExecutorSilent, "why")
			settle()
			if got := slices.ContainsFunc(n.rt.Signals(), func(s string) bool { return strings.Contains(s, "e.0/1") }); got == asked {
				t.Errorf("asked %v: signals were sent: %v", asked, got)
			}
			pass(time.Hour)
			equal(t, "e.0", n.sink.states("e.0"), []string{"1 TASK_RUNNING", "1 TASK_FAILED executor_silent"})
			if st := n.sink.last("e.0"); st.Message != "why" {
				t.Errorf("%+v", st)
			}
		})
	}
}

// What an executor's tasks hold is in its process, so it may have more as they come.
func TestExecutorHasRoomForItsTasks(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &scales{}
		n.cfg = func(c *executor.Config) { c.Kernel = kernel }
		n.start()
		as := assignment("e", 0, 1, batch, cores(100), mem(1<<20, 1<<20))
		as.Task.Framework = &api.FrameworkTask{Executor: "e", IsExecutor: true}
		n.Assign(set(as))
		settle()
		more := *as.Task
		more.Resources.CPUs, more.Resources.Mem = 2100, 65<<20
		as.Task = &more
		n.Assign(set(as))
		settle()
		slice := n.rt.Started()[0].Slice
		pass(100 * time.Millisecond)
		wants := func(memory int64) {
			t.Helper()
			kernel.mu.Lock()
			defer kernel.mu.Unlock()
			if kernel.memory[slice] != memory {
				t.Errorf("memory %v, want %d", kernel.memory, memory)
			}
		}
		wants(65 << 20)
		kernel.want(t, "with its tasks", map[string]uint64{slice: isolation.Weight(2100, 4000)})
		kernel.mu.Lock()
		kernel.needs = 40 << 20
		kernel.mu.Unlock()
		less := *as.Task
		less.Resources.Mem = 1 << 20
		as.Task = &less
		n.Assign(set(as))
		pass(2 * time.Minute)
		wants(65 << 20) // it is in use still
		kernel.mu.Lock()
		kernel.needs = 0
		kernel.mu.Unlock()
		pass(time.Minute)
		wants(1 << 20)
	})
}

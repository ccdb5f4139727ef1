package cluster

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// The process of an executor has room for what it runs, and a limit of its memory always.
func TestTheProcessOfAnExecutor(t *testing.T) {
	row := func(executor string, is bool, r api.Resources) api.Assignment {
		return api.Assignment{Task: &api.Task{Resources: r, Framework: &api.FrameworkTask{Framework: "f", Executor: executor, IsExecutor: is}},
			Spec: &api.TaskSpec{Placing: api.Placing{Request: api.Request{Mem: api.DefaultMem}}}}
	}
	mem, gpu := api.Resources{Mem: 64 << 20, MemExtra: 1 << 20}, api.Resources{GPUs: 1}
	for name, c := range map[string]struct {
		all  []api.Assignment
		want api.Resources
	}{
		"alone, without memory":   {[]api.Assignment{row("e", true, api.Resources{CPUs: 10})}, api.Resources{CPUs: 10, Mem: api.DefaultMem}},
		"alone, with memory":      {[]api.Assignment{row("e", true, mem)}, mem},
		"with a task of memory":   {[]api.Assignment{row("e", true, api.Resources{}), row("e", false, mem)}, mem},
		"with another's":          {[]api.Assignment{row("e", true, mem), row("other", false, mem)}, mem},
		"with tasks of its own":   {[]api.Assignment{row("e", true, mem), row("e", false, gpu), row("e", false, mem)}, mem.Add(mem).Add(gpu)},
		"with a task without any": {[]api.Assignment{row("e", true, api.Resources{}), row("e", false, gpu)}, api.Resources{GPUs: 1, Mem: api.DefaultMem}},
	} {
		was := c.all[0].Task.Resources
		got := withProcess(c.all)
		if len(got) != 1 || !got[0].Task.Resources.Equal(c.want) {
			t.Errorf("%s: %+v", name, got)
		}
		if !c.all[0].Task.Resources.Equal(was) {
			t.Errorf("%s: what the cluster has was changed", name)
		}
	}
}

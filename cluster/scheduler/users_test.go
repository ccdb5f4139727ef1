package scheduler

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// TestTasksGoWhereTheirUserIs: a task that is a user of its own goes to no node
// with a program that would not know it, one that may be root only where that is
// allowed to no other, and each is told as whom it runs.
func TestTasksGoWhereTheirUserIs(t *testing.T) {
	s := cluster(t, 3)
	for i, h := range []api.NodeHello{
		{Level: int(fsm.TaskUsers.Level()) - 1, Version: "0.9"},
		{Level: int(fsm.Newest)},
		{Level: int(fsm.Newest), Attrs: map[string]string{api.AttrAllowRoot: "yes"}},
	} {
		h.Addr, h.Resources.CPUs, h.Resources.Mem = "x:1", 2000, 1<<30
		do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: fmt.Sprint("id", i), Hello: h})
	}
	work := func(user string, change ...func(*api.TaskSpec)) *api.JobSpec {
		spec := &api.JobSpec{Kind: api.KindBatch, Array: "0-4", TaskSpec: api.TaskSpec{User: user, Placing: api.Placing{Request: api.Request{CPUs: 1000, Mem: 1 << 20}}}}
		for _, f := range change {
			f(&spec.TaskSpec)
		}
		return spec
	}
	own := submit(t, s, work(api.TaskUser))
	schedule(t, s, t0)
	if got := perNode(s, own.ID); !maps.Equal(got, map[string]int{"n1": 2, "n2": 2, "": 1}) {
		t.Errorf("users of their own: %v", got)
	}
	why, err := planner.Explain(s.View(), own.ID)
	if err != nil || why.RunAs != api.TaskUser || len(why.Nodes) != 3 || !strings.Contains(why.Nodes[0].Reason, "mesita-task: upgrade it") {
		t.Errorf("%+v, %v", why, err)
	}
	do(t, s, &fsm.JobStop{Meta: fsm.Meta{At: t0}, ID: own.ID})
	for task := range s.View().JobTasks(own.ID) {
		do(t, s, &fsm.TaskReport{Meta: fsm.Meta{At: t0}, Statuses: []api.TaskStatus{{Task: task.ID, Attempt: task.Attempt, NodeID: task.NodeID, State: api.TaskKilled, Time: t0}}})
	}

	root := submit(t, s, work("root", (*api.TaskSpec).OnlyWhereRoot))
	schedule(t, s, t0)
	if got := perNode(s, root.ID); !maps.Equal(got, map[string]int{"n2": 2, "": 3}) {
		t.Errorf("root where it is allowed: %v", got)
	}
	why, err = planner.Explain(s.View(), root.ID)
	if err != nil || why.RunAs != "root" || len(why.Nodes) != 3 || !strings.Contains(why.Nodes[1].Reason, "start it with --allow-root, or have an admin of the cluster submit the job with --user root") {
		t.Errorf("%+v, %v", why, err)
	}

	none := cluster(t, 1)
	spec := work("root", (*api.TaskSpec).OnlyWhereRoot)
	spec.Normalize()
	if err := planner.CheckFits(none.View(), spec); api.ErrorCode(err) != api.CodeDoesNotFit || !strings.Contains(err.Error(), "started with --allow-root") {
		t.Errorf("%v", err)
	}
	anywhere := submit(t, s, work("")) // an admin's
	schedule(t, s, t0)
	if got := perNode(s, anywhere.ID); got["n0"] != 2 || got["n1"] != 2 {
		t.Errorf("an admin's: %v", got)
	}
}

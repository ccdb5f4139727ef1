package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// Apply places no more tasks than partitions let run, here and below, in all and of one
// user, also within one command; gangs whole or not at all. What has ended counts no
// more, and below the level nothing is bounded.
func TestNoMoreArePlacedThanMayRun(t *testing.T) {
	w := newWorld(t, Newest, 1)
	put := func(path string, r api.TaskRules) {
		p := &api.Partition{Path: path, TaskRules: r}
		p.Normalize()
		w.do(&PartitionPut{Meta: w.at(), Partition: p})
	}
	put("ml", api.TaskRules{MaxRunning: 4})
	put("ml/a", api.TaskRules{MaxRunningPerUser: 2})
	submit := func(actor, path string, tasks, gang int) string {
		s := testSpec(api.KindBatch, "", tasks)
		s.Partition, s.Ports, s.CPUs, s.Mem = path, nil, 1, 1<<20
		if gang > 0 {
			s.Array, s.Gang = "", gang
		}
		v, err := w.Do(t.Context(), &JobCreate{Meta: Meta{At: w.now, Actor: actor}, Spec: s})
		if err != nil {
			t.Fatal(err)
		}
		return v.(*api.Job).ID
	}
	place := func(job string, first, n int) int {
		c := &TaskPlace{Meta: w.at()}
		for i := range n {
			c.Placements = append(c.Placements, Placement{Job: job, Index: first + i, Attempt: 1, NodeID: nodeID(0)})
		}
		v, err := w.Do(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return v.(int)
	}
	mine, yours, gang := submit("me", "ml/a", 5, 0), submit("you", "ml/a", 5, 0), submit("them", "ml", 0, 3)
	if n := place(mine, 0, 5); n != 2 {
		t.Errorf("%d of one user", n)
	}
	if n := place(gang, 0, 3); n != 0 {
		t.Errorf("%d of a gang of 3, where 2 more may run", n)
	}
	if n := place(yours, 0, 1); n != 1 {
		t.Errorf("%d of another user", n)
	}
	if c := w.View().Tally().Bars(w.View().Job(gang), 3); len(c) != 1 || c[0] != (RunningBar{Partition: "ml", Most: 4, Now: 3}) {
		t.Errorf("%+v", c)
	}
	w.report(mine+".0", api.TaskFinished, api.ReasonExited)
	w.report(mine+".1", api.TaskFinished, api.ReasonExited)
	if n := place(gang, 0, 3); n != 3 {
		t.Errorf("%d of a gang of 3, where 3 more may run", n)
	}
	if n := place(yours, 1, 1) + place(mine, 2, 1); n != 0 {
		t.Errorf("%d more below the partition that lets 4 run", n)
	}
}

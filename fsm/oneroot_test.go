package fsm

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// Root of all nodes is one user to what may run, to shares and to reports, whatever
// node it submits on and whoever leads; below the level it is one for each node to
// what apply lets run, as voters of before count so. What was counted then is in one
// row of a report all the same.
func TestRootOfAllNodesIsOneUser(t *testing.T) {
	for _, level := range []Level{features[OneRoot].level - 1, Newest} {
		w := newWorld(t, level, 1)
		p := &api.Partition{Path: "ml", Policy: api.PolicyFair, HalfLife: api.Duration(24 * time.Hour), TaskRules: api.TaskRules{MaxRunningPerUser: 2}}
		p.Normalize()
		w.do(&PartitionPut{Meta: w.at(), Partition: p})
		submit := func(actor string) string {
			s := testSpec(api.KindBatch, "", 5)
			s.Partition, s.Ports, s.CPUs, s.Mem = "ml", nil, 1, 1<<20
			v, err := w.Do(t.Context(), &JobCreate{Meta: Meta{At: w.now, Actor: actor}, Spec: s})
			if err != nil {
				t.Fatal(err)
			}
			return v.(*api.Job).ID
		}
		started := map[string]int{}
		var ids []string
		for _, actor := range []string{"root@oak", "root", "root@elm", "root@oak", "token:root@oak"} {
			job := submit(actor)
			v, err := w.Do(t.Context(), &TaskPlace{Meta: w.at(), Placements: []Placement{{Job: job, Attempt: 1, NodeID: nodeID(0)}}})
			if err != nil {
				t.Fatal(err)
			}
			if v.(int) == 1 {
				started[actor]++
				ids = append(ids, job+".0")
			}
		}
		roots := len(ids) - started["token:root@oak"]
		if want := map[bool]int{true: 2, false: 4}[level == Newest]; roots != want || started["token:root@oak"] != 1 {
			t.Errorf("at level %d: %v run", level, started)
		}
		for _, id := range ids {
			w.report(id, api.TaskRunning, "")
		}
		w.now = w.now.Add(time.Hour)
		for _, id := range ids {
			w.report(id, api.TaskFinished, api.ReasonExited)
		}
		if level < Newest {
			w.do(&LevelSet{Meta: w.at(), Level: Newest}) // what ended before counts after it
		}
		v, day := w.View(), Day(w.now)
		rows := v.Accounts(ByShare, day, day, w.now)
		if len(rows) != 2 || rows[0].Name != "root" || rows[0].Attempts != int64(roots) || rows[1].Name != "token:root@oak" || rows[1].Attempts != 1 {
			t.Errorf("level %d: the report is %+v", level, rows)
		}
		one := v.Used(v.Partition("ml"), "token:root@oak", w.now)
		if all := v.Used(v.Partition("ml"), "root", w.now); one <= 0 || all < float64(roots)*one*0.999 || all > float64(roots)*one*1.001 {
			t.Errorf("level %d: %d runs of root count %v, one of another %v", level, roots, all, one)
		}
	}
}

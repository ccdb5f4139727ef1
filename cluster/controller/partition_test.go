package controller

import (
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A partition that is drained goes with its last task, and no sooner.
func TestDrainedPartitionGoesWhenEmpty(t *testing.T) {
	w := newWorld(t)
	w.do(&fsm.PartitionPut{Meta: w.meta(), Partition: &api.Partition{Path: "ml"}}, &fsm.PartitionPut{Meta: w.meta(), Partition: &api.Partition{Path: "other"}})
	for name, kind := range map[string]api.Kind{"web": api.KindService, "sums": api.KindBatch} {
		s := &api.JobSpec{Name: name, Kind: kind, Partition: "ml", TaskSpec: api.TaskSpec{Command: []string{"x"}}}
		s.Normalize()
		w.do(&fsm.JobCreate{Meta: w.meta(), Spec: s})
	}
	w.settle()
	w.run("id0")
	w.do(&fsm.PartitionRemove{Meta: w.meta(), Path: "ml", Drain: true})
	w.settle()
	if w.View().Partition("ml") == nil {
		t.Fatal("it went with tasks in it")
	}
	w.report("web.0", api.TaskKilled, 0)
	w.settle()
	if w.View().Partition("ml") == nil {
		t.Fatal("it went with a batch in it")
	}
	w.report("sums.0", api.TaskFinished, 0)
	w.settle()
	if w.View().Partition("ml") != nil || w.View().Partition("other") == nil {
		t.Fatal("it is still there, or another one is gone")
	}
}

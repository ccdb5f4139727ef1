package foresee

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Who is kept from room since others had less once is in no state: a plan and why
// know it from the engine that decides.
func TestAPlanKnowsWhoIsKeptOut(t *testing.T) {
	defer func(at time.Time) { now = at }(now)
	w := newWorld(t, 1)
	for _, path := range []string{"a", "b"} {
		w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: path}})
	}
	for _, s := range []*api.JobSpec{spec("narrow", "b", api.KindBatch, 4, 1000), spec("wide", "a", api.KindBatch, 1, 4000), spec("waits", "b", api.KindBatch, 1, 1000)} {
		w.do(&fsm.JobCreate{Meta: meta(), Spec: s})
		w.settle()
	}
	for range 3 {
		now = now.Add(time.Minute)
		w.end()
		w.settle()
	}
	if n := len(running(w.View(), "waits")); n > 0 {
		t.Fatalf("%d run that are kept from the room for the wide one", n)
	}
	why, err := w.jobs().Explain(w.View(), "waits.0")
	if err != nil || len(why.Obstacles) == 0 || why.Obstacles[0].Kind != api.ObstacleHeld || why.Obstacles[0].Job != "wide" {
		t.Errorf("why says %+v, %v", why, err)
	}
	s := spec("new", "b", api.KindBatch, 1, 1000)
	w.planJob(s, &fsm.JobCreate{Meta: meta(), Spec: s})
}

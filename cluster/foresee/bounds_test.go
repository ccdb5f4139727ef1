package foresee

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// Looking ahead ends when whoever asked has gone, and after a time; a plan that
// ended before what it looks at says so.
func TestAPlanThatTakesLongSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("waits", "default", api.KindService, 1, 1000)})
		s := spec("web", "default", api.KindService, 2, 1000)
		slow := func(v *fsm.View) scheduler.Round {
			time.Sleep(2 * maxLooking)
			return allocator.Begin(v)
		}
		clock := func() time.Time { return now }
		for name, begin := range map[string]scheduler.Begin{"slow": slow, "quick": begin} {
			job := Planner{scheduler.Planner{Now: clock, Begin: begin}}
			part := Shares{Planner: allocator.Planner{Now: clock}, Jobs: job.Planner}
			create := &fsm.JobCreate{Meta: meta(), Spec: s}
			put := &fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "new", Weight: 1000}}
			plan, err := job.Plan(t.Context(), w.View(), s, create)
			if err != nil || slices.Contains(plan.Warnings, onlyBegins) != (name == "slow") {
				t.Errorf("%s: %+v, %v", name, plan, err)
			}
			change, err := part.Foresee(t.Context(), w.View(), put)
			if err != nil || slices.Contains(change.Warnings, onlyBegins) != (name == "slow") {
				t.Errorf("%s: %+v, %v", name, change, err)
			}
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := job.Plan(gone, w.View(), s, create); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := part.Foresee(gone, w.View(), put); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

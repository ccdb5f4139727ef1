package foresee

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// queue is a list of what waits as the leader's engine would make it.
func (w *world) queue(q *Queues) (rows []*api.Queued) {
	w.t.Helper()
	_, all, err := q.List(context.Background(), w.View)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, row := range all {
		rows = append(rows, row())
	}
	return rows
}

// Each job of the queue has what keeps it waiting, and when it starts as far as that
// is known: the first one has a promise, those behind it what the time of those
// before them says.
func TestTheQueueSaysWhatForAndHowSure(t *testing.T) {
	w := newWorld(t, 1)
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "small", Limit: api.Amounts{CPUs: 500}}})
	submit := func(name, partition string, cpus api.MilliCPU, minutes int) {
		t.Helper()
		s := spec(name, partition, api.KindBatch, 1, cpus)
		s.Time = api.Duration(time.Duration(minutes) * time.Minute)
		w.do(&fsm.JobCreate{Meta: meta(), Spec: s})
	}
	submit("runs", "default", 3000, 5)
	w.settle()
	for _, j := range []struct {
		name    string
		cpus    api.MilliCPU
		minutes int
	}{{"first", 3000, 10}, {"second", 3500, 0}, {"third", 3500, 10}, {"huge", 9000, 0}} {
		submit(j.name, "default", j.cpus, j.minutes)
	}
	submit("limited", "small", 700, 1)
	submit("held", "default", 100, 1)
	w.do(&fsm.JobHold{Meta: meta(), ID: "held"})
	w.settle()
	rows := w.queue(NewQueues(w.jobs().Planner))
	want := []struct {
		job    string
		kind   api.ObstacleKind
		starts time.Duration
		sure   api.Sure
	}{
		{"first", api.ObstacleFull, 5 * time.Minute, api.SurePromised}, {"second", api.ObstacleFull, 15 * time.Minute, api.SureLimits},
		{"third", api.ObstacleFull, 0, api.SureNot}, {"limited", api.ObstacleLimit, 0, api.SureNot}, {"huge", api.ObstacleNever, 0, api.SureNot}, {"held", api.ObstacleOnHold, 0, api.SureNot},
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, x := range want {
		q := rows[i]
		if q.Job != x.job || q.Position != i+1 || q.Obstacle.Kind != x.kind || q.Sure != x.sure || q.Reason == "" || x.starts == 0 != q.Estimate.IsZero() || x.starts > 0 && !q.Estimate.Equal(now.Add(x.starts)) {
			t.Errorf("%+v, not %+v", *q, x)
		}
	}
}

// Who asks while nothing changes gets the list that was made for others; a change
// makes it worthless, and so does a while.
func TestOneListIsMadeForAll(t *testing.T) {
	w := newWorld(t, 1)
	clock, made := now, 0
	q := NewQueues(scheduler.Planner{Now: func() time.Time { return clock }, Begin: func(v *fsm.View) scheduler.Round {
		made++
		return begin(v)
	}})
	asks := func(why string, anew bool) {
		t.Helper()
		before := made
		w.queue(q)
		if did := made > before; did != anew {
			t.Errorf("%s: a list was made: %v", why, did)
		}
	}
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("web", "default", api.KindBatch, 2, 3000)})
	asks("the first", true)
	asks("the same again", false)
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("more", "default", api.KindBatch, 2, 3000)})
	asks("something changed", true)
	asks("nothing changed", false)
	clock = clock.Add(fresh)
	asks("it is old", true)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("third", "default", api.KindBatch, 2, 3000)})
	if _, _, err := q.List(gone, w.View); !errors.Is(err, context.Canceled) {
		t.Errorf("who went away is told %v", err)
	}
}

// Over a long backlog a limit bounds how much of all that is passed is of its
// partition, and does not put that at the end: what runs below it ends, too.
func TestALimitHasItsPartOfALongBacklog(t *testing.T) {
	w := newWorld(t, 1)
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "small", Limit: api.Amounts{CPUs: 1000}}})
	for _, j := range []struct {
		partition string
		tasks     int
	}{{"default", 4}, {"default", 30}, {"small", 10}} {
		w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("", j.partition, api.KindBatch, j.tasks, 1000)})
		w.settle()
	}
	var order []string
	w.jobs().Engine(w.View()).InOrder(now, func(p scheduler.Place) bool {
		for range p.Tasks {
			order = append(order, p.Job.Spec.Partition)
		}
		return true
	})
	if len(order) != 40 {
		t.Fatalf("%d tasks: %v", len(order), order)
	}
	for i := 0; i < len(order); i += 4 { // as many as the node has room for
		small := 0
		for _, partition := range order[i : i+4] {
			if partition == "small" {
				small++
			}
		}
		if small != 1 {
			t.Errorf("of tasks %d to %d are %d of the partition with room for one: %v", i, i+3, small, order)
		}
	}
}

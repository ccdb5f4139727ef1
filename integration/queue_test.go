package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/foresee"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

func (s *shared) queue() (rows []*api.Queued) {
	s.t.Helper()
	plan := scheduler.Planner{Now: func() time.Time { return s.now }, Begin: roundOf, Memory: s.engine.Remember}
	queues := foresee.NewQueues(plan)
	_, all, err := queues.List(context.Background(), s.View)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	for _, row := range all {
		rows = append(rows, row())
	}
	for _, row := range rows { // what `why` says is what the queue says
		at, sure, known, err := queues.Start(context.Background(), s.View, row.Job)
		if err != nil || !known || !at.Equal(row.Estimate) || !at.IsZero() && sure != row.Sure {
			s.t.Fatalf("%s starts at %s (%s, %v); the queue says %s (%s)", row.Task, at, sure, err, row.Estimate, row.Sure)
		}
	}
	return rows
}

// crowd is a cluster to which jobs were submitted: to partitions of any policy, with
// weights, limits at two levels and guarantees.
type crowd struct {
	*shared
	rt *rapid.T
	n  int
}

func newCrowd(rt *rapid.T, limits bool) *crowd {
	nodes := make([]api.Resources, rapid.IntRange(1, 4).Draw(rt, "nodes"))
	for i := range nodes {
		nodes[i] = api.Resources{CPUs: 8000, Mem: 1 << 40}
	}
	c := &crowd{shared: newShared(rt, nodes), rt: rt}
	for _, path := range []string{"a", "a/x", "a/y", "b"} {
		p := &api.Partition{Path: path, Weight: api.Weight(1000 * c.pick(1, 4)),
			Policy:    rapid.SampledFrom([]api.Policy{api.PolicyFIFO, api.PolicyPriority, api.PolicyFair, api.PolicySJF, api.PolicySRTF}).Draw(rt, "policy"),
			Preempt:   rapid.SampledFrom(api.Names(api.Preempts())).Draw(rt, "preempt"),
			Placement: rapid.SampledFrom(api.Names(api.Placements())).Draw(rt, "placement")}
		if limits && path != "b" && rapid.Bool().Draw(rt, "limited") {
			p.Limit = api.Amounts{CPUs: api.MilliCPU(1000 * c.pick(1, 16))}
		}
		if limits && c.pick(0, 3) == 0 {
			p.MaxRunning = c.pick(1, 8)
		}
		if limits && c.pick(0, 3) == 0 {
			p.MaxRunningPerUser = c.pick(1, 4)
		}
		if c.pick(0, 3) == 0 && p.Limit.IsZero() && path != "a/x" && path != "a/y" {
			p.Guarantee = api.Amounts{CPUs: api.MilliCPU(1000 * c.pick(1, 4))}
		}
		c.partition(p)
	}
	return c
}

func (c *crowd) pick(least, most int) int { return rapid.IntRange(least, most).Draw(c.rt, "number") }

// job submits one that takes minutes, some without saying how many.
func (c *crowd) job() {
	j := batchOf(rapid.SampledFrom([]string{"a", "a/x", "a/y", "b"}).Draw(c.rt, "partition"), c.pick(1, 6), api.MilliCPU(500*c.pick(1, 8)), 1<<20)
	if c.pick(0, 4) == 0 {
		j.Array, j.Gang = "", c.pick(2, 4)
	}
	j.Name, j.Priority = fmt.Sprint("j", c.n), c.pick(0, 3)
	if c.pick(0, 9) > 0 {
		j.Time = api.Duration(time.Duration(c.pick(1, 9)) * time.Minute)
	}
	c.n++
	c.submit([]string{"ann", "root@oak", "root@elm"}[c.pick(0, 2)], j)
}

// elapse continues to when the next tasks have taken as long as expected, or the engine wants to
// decide again; it is false if that is never.
func (s *shared) elapse() bool {
	s.t.Helper()
	var due []*api.Task
	at := s.next
	if !at.After(s.now) {
		at = time.Time{}
	}
	for t := range s.View().Tasks() {
		takes := s.takes[fmt.Sprint(t.ID, "#", t.Attempt)]
		if !t.Holds() || t.Frozen || takes == 0 {
			continue
		}
		x := s.now.Add(max(0, takes-t.Ran(s.now)))
		if at.IsZero() || x.Before(at) {
			due, at = nil, x
		}
		if x.Equal(at) {
			due = append(due, t)
		}
	}
	if at.IsZero() {
		return false
	}
	s.now = at
	for _, t := range due {
		s.report(t, api.TaskFinished, false)
	}
	s.settle()
	return true
}

// Where tasks take as long as expected, jobs start in the order of the
// queue, each behind as many tasks as it says and when it says, whatever policies,
// weights, guarantees, limits, bounds of what runs and preemption say of it. Where a
// bound of what runs lets no more of a job start, that is what it says.
func TestTheQueueIsTheOrderOfService(t *testing.T) {
	compared, never, barred := 0, 0, 0
	draw.Check(t, func(rt *rapid.T) {
		c := newCrowd(rt, true)
		for range c.pick(2, 12) {
			c.job()
			c.settle()
			c.now = c.now.Add(time.Duration(c.pick(0, 90)) * time.Second)
			c.settle()
		}
		rows, waiting := c.queue(), map[string]int{}
		for _, r := range rows {
			barred += c.saysBar(r)
		}
		for j := range c.View().LiveJobs() {
			waiting[j.ID] = j.Counts.Pending
		}
		for task := range c.View().Tasks() {
			if task.Holds() {
				c.expect(task)
			}
		}
		began, place := map[string]time.Time{}, map[string]int{}
		c.started = nil
		for steps, served, seen := 0, 0, 0; steps < 200; steps++ {
			for _, id := range c.started[seen:] {
				if waiting[id] > 0 {
					waiting[id]--
					served++
					if place[id] == 0 {
						place[id], began[id] = served, c.now
					}
				}
			}
			seen = len(c.started)
			if !c.elapse() {
				break
			}
		}
		for i, r := range rows {
			if r.Position != 1 && i == 0 || i > 0 && r.Position <= rows[i-1].Position || r.Count != r.Through-r.Index+1 && r.Count == 1 {
				rt.Fatalf("%d: %+v", i, r)
			}
			at, started := began[r.Job]
			switch {
			case !started && r.Sure == api.SureNot:
				never++
			case started && place[r.Job] == r.Position && at.Equal(r.Estimate):
				compared++
			default:
				rt.Fatalf("%s started at place %d, at %s; the queue says %d, %s (%s): %v", r.Task, place[r.Job], at.Sub(c.now), r.Position, r.Estimate.Sub(c.now), r.Sure, texts(rows))
			}
		}
	})
	if compared == 0 || never == 0 || barred == 0 {
		t.Errorf("%d jobs started, %d never did and %d had to wait as enough ran: the test shows nothing", compared, never, barred)
	}
}

// saysBar counts a row that waits as enough run, and fails one that does and says
// something else that more room would mend.
func (c *crowd) saysBar(r *api.Queued) int {
	j, n := c.View().Job(r.Job), 1
	if j.Spec.Gang > 0 {
		n = j.Counts.Pending
	}
	bars := c.View().Tally().Bars(j, n)
	switch {
	case len(bars) == 0:
		return 0
	case r.Obstacle.Kind == api.ObstacleRunning:
		if r.Obstacle.Partition != bars[0].Partition || r.Obstacle.PerUser != bars[0].PerUser || r.Obstacle.Most != bars[0].Most {
			c.rt.Fatalf("%s says %+v, and it is %+v", r.Task, r.Obstacle, bars[0])
		}
		return 1
	case r.Obstacle.Kind == api.ObstacleOrder, r.Obstacle.Kind == api.ObstacleFull, r.Obstacle.Kind == api.ObstacleGang, r.Obstacle.Kind == api.ObstacleLimit:
		c.rt.Fatalf("%s says %+v, and %+v", r.Task, r.Obstacle, bars)
	}
	return 0
}

func texts(rows []*api.Queued) (out []string) {
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d %s of %s x%d %s %s: %s", r.Position, r.Task, r.Partition, r.Count, r.Estimate.Format(time.TimeOnly), r.Sure, r.Reason))
	}
	return out
}

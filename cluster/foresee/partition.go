package foresee

import (
	"context"
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// maxReclaimed bounds the list of who is preempted in the plan of a partition.
const maxReclaimed = 100

// Shares plans partitions, and answers as the allocator's planner does.
type Shares struct {
	allocator.Planner
	Jobs    scheduler.Planner
	Tallies func() *scheduler.Tallies // nil, or of nil: nobody counts on this node
}

// Status lists all partitions by path with their numbers, and how sharing came out.
func (s Shares) Status(v *fsm.View) []api.PartitionStatus {
	out := s.Planner.Status(v)
	if s.Tallies == nil {
		return out
	}
	tallies := s.Tallies()
	if tallies == nil {
		return out
	}
	now := s.Now()
	for i := range out {
		out[i].Sharing = sharing(tallies, out[i].Path, now)
	}
	return out
}

func sharing(tallies *scheduler.Tallies, path string, now time.Time) *api.Sharing {
	t, since := tallies.Of(path, now)
	if since.IsZero() {
		return nil
	}
	s := &api.Sharing{Since: since, Idle: t.Idle, Promised: t.Heads, Late: t.Late, LatestLate: api.Duration(t.Most)}
	if past := now.Sub(since).Seconds(); past > 0 {
		s.IdleMean = t.Idled / past
	}
	if t.Waited > 0 {
		s.Waited, s.Error = api.Duration(time.Duration(t.Waited*float64(time.Second)).Round(time.Millisecond)), (t.Got-t.Fair)/t.Waited
	}
	return s
}

// Foresee says what making or changing a partition would come to.
func (s Shares) Foresee(ctx context.Context, v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error) {
	c, err := s.Planner.Plan(v, cmd)
	if err != nil {
		return c, err
	}
	x, err := after(ctx, v, s.Jobs.Engine(v), s.Now(), cmd)
	if err != nil {
		return c, err
	}
	if old := v.Partition(c.Partition.Path); old != nil {
		c.Changes = api.Differences(old.Asked(), c.Partition.Asked())
	}
	for _, g := range x.gave[:min(len(x.gave), maxReclaimed)] {
		c.Reclaimed = append(c.Reclaimed, g.Task)
	}
	c.Starts = x.started(v)
	if text := x.above(c.Partition.Path); text != "" {
		c.Warnings = append(c.Warnings, text)
	}
	if x.partial {
		c.Warnings = append(c.Warnings, onlyBegins)
	}
	return c, nil
}

// started is how many tasks run that wait now.
func (x *future) started(v *fsm.View) (n int) {
	for node := range x.fork.View().Nodes() {
		for t := range x.fork.View().NodeTasks(node.ID) {
			if was := v.TaskOf(t.Job, t.Index); was == nil || !was.Holds() {
				n++
			}
		}
	}
	return n
}

// above says that a partition keeps more than its limit allows, "" if it does
// not.
func (x *future) above(path string) string {
	v := x.fork.View()
	held, p := api.AmountsOf(allocator.Begin(v).Held(path)), v.Partition(path)
	if p == nil {
		return ""
	}
	for k, limit := range p.Limit.Each {
		if has := held.Of(k); has > limit {
			used, most := api.FormatAmounts(k, has, limit)
			return fmt.Sprintf("it keeps %s=%s, above its limit of %s, and starts nothing until tasks have ended: none of them may be preempted now (--preempt never, or within --min-runtime)", k, used, most)
		}
	}
	return ""
}

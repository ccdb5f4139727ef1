package scheduler

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// ending takes from what partitions hold what those hold who were told to end, or to
// be preempted, once for all that follows: what was taken of it is charged to its taker.
// Those that move for another reason ask for as much again: they keep their place below
// what their partition is guaranteed, and are told apart.
func (x *preemption) ending() {
	for i, n := range x.e.slots.Node {
		if x.e.slots.Coming[i].Equal(api.Resources{}) {
			continue
		}
		for v := range x.view.NodeTasks(n.ID) {
			switch {
			case v.Desired == api.DesiredStop, gaveWay(v):
				x.round.Refund(v.Partition, v.Held())
			case v.Desired == api.DesiredMove:
				x.moving = append(x.moving, v)
			}
		}
	}
}

// gaveWay reports whether a task ends because it was preempted, whatever it was told
// after that.
func gaveWay(v *api.Task) bool {
	return v.Desired == api.DesiredMove && (v.Reason == api.ReasonPreempted || v.Leaves != nil)
}

// dismiss ends the tasks that were told some time before, once that is over, and asks
// for another pass when the next one's is. What they hold is their partition's no more:
// nothing further is taken from it on the strength of that.
func (x *preemption) dismiss() {
	c := &fsm.TaskLeave{Meta: fsm.Meta{At: x.now, Actor: "scheduler"}}
	for t := range x.view.LeavingTasks() {
		x.round.Refund(t.Partition, t.Held())
		if t.Leaves.After(x.now) {
			x.again(*t.Leaves)
			continue
		}
		c.Victims = append(c.Victims, fsm.Victim{Job: t.Job, Index: t.Index, Attempt: t.Attempt})
	}
	if len(c.Victims) > 0 {
		x.cmds = append(x.cmds, c)
	}
}

// unknown reports whether a new leader does not know yet for whom those leave a slot who
// were told to: then nobody gets what they leave before that is decided.
func (p *pass) unknown(slot int) bool {
	if !p.e.fresh || p.view.LeavingCount() == 0 {
		return false
	}
	for t := range p.view.NodeTasks(p.e.slots.Node[slot].ID) {
		if t.Leaving() {
			return true
		}
	}
	return false
}

// known has the next pass continue with what this one found out.
func (x *preemption) known() {
	x.freed = x.freed || x.e.fresh && x.view.LeavingCount() > 0
	x.e.fresh = false
}

// notice is the longest that one of the set has.
func (s *victimSet) notice() (most time.Duration) {
	for _, v := range s.list {
		most = max(most, v.notice)
	}
	return most
}

// told are those that were told to leave a slot for nobody who is known, as many as
// give so much, and for how long one of them all still runs at most.
func (x *preemption) told(slot int, need api.Resources) (ids []string, most time.Duration) {
	if x.view.LeavingCount() == 0 {
		return nil, 0
	}
	var gives api.Resources
	for t := range x.view.NodeTasks(x.e.slots.Node[slot].ID) {
		if !t.Leaving() || slices.ContainsFunc(x.claims[slot], func(c *claim) bool { return slices.Contains(c.from, t.ID) }) {
			continue
		}
		most = max(most, t.Leaves.Sub(x.now))
		if !gives.Fits(need) {
			ids, gives = append(ids, t.ID), gives.Add(t.Held())
		}
	}
	return ids, most
}

// leaving tells of the tasks that were told to leave for a job, on whichever nodes, and
// when the last of them has ended at the latest; false: none was.
func (p *pass) leaving(job string) (o api.Obstacle, told bool) {
	if p.view.LeavingCount() == 0 {
		return o, false
	}
	for _, c := range p.e.claims {
		i := p.slotOf(c)
		if c.job != job || i < 0 {
			continue
		}
		for t := range p.view.NodeTasks(p.e.slots.Node[i].ID) {
			j := p.view.Job(t.Job)
			if !t.Leaving() || j == nil || !slices.Contains(c.from, t.ID) {
				continue
			}
			if o.Told++; o.Told == 1 {
				o.Kind, o.Task = api.ObstacleTaking, t.ID
			}
			o.Until = later(o.Until, t.Leaves.Add(graceOf(j.SpecFor(t))))
		}
	}
	return o, o.Told > 0
}

package controller

import (
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// drain moves the tasks of a draining node away: those that are frozen at once, as
// they do not continue here; services one task of each job at a time, whether or not it
// was told to leave in a while, but for one that leaves too soon for another to be moved
// before; and what is left in time to have ended at the deadline.
// Services on hold stay until then: nothing of them would start elsewhere.
func (d *decision) drain(n *api.Node) {
	var ids []string
	for t := range d.view.NodeTasks(n.ID) {
		j := d.view.Job(t.Job)
		if j == nil || t.Desired != api.DesiredRun && t.Desired != api.DesiredFreeze && !t.Leaving() {
			continue
		}
		by := stopBy(n, j, t)
		due := t.Desired == api.DesiredFreeze || !by.IsZero() && !by.After(d.now)
		service := j.Spec.Kind == api.KindService && !j.Hold
		if due || t.Framework != nil || service && !d.moving[t.Job] && d.mayMove(j, n.ID) {
			ids = append(ids, t.ID)
			d.moving[t.Job] = true
		}
	}
	if len(ids) > 0 {
		d.add(&fsm.TaskStop{Meta: d.meta(), IDs: ids, Move: true, Reason: api.ReasonDrained})
	}
}

// stopBy is when a task has to be told to end so that its node is empty at the
// deadline of its drain, though it takes all its time; zero: there is none.
func stopBy(n *api.Node, j *api.Job, t *api.Task) time.Time {
	if n.DrainBy.IsZero() {
		return time.Time{}
	}
	spec := j.SpecFor(t)
	if spec == nil {
		spec = j.Spec
	}
	return n.DrainBy.Add(-time.Duration(spec.StopGrace))
}

// mayMove reports whether every task of the job elsewhere runs, and none is about to end,
// so that moving one more never takes two away.
func (d *decision) mayMove(j *api.Job, nodeID string) bool {
	for t := range d.view.JobTasks(j.ID) {
		switch {
		case t.State.Final() || t.Desired == api.DesiredStop:
		case t.NodeID != nodeID && t.State != api.TaskRunning, t.Desired == api.DesiredMove, t.Leaving() && !d.stays(j, t):
			return false
		}
	}
	return true
}

// drainDeadline is the next time at which a drain ends the patience with a task;
// zero if there is none ahead.
func drainDeadline(v *fsm.View, now time.Time) time.Time {
	var next time.Time
	for n := range v.Nodes() {
		if !n.Drain || n.DrainBy.IsZero() {
			continue
		}
		for t := range v.NodeTasks(n.ID) {
			j := v.Job(t.Job)
			if j == nil || t.Desired != api.DesiredRun && !t.Leaving() {
				continue
			}
			if by := stopBy(n, j, t); by.After(now) && (next.IsZero() || by.Before(next)) {
				next = by
			}
		}
	}
	return next
}

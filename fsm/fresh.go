package fsm

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// This file has what is forgotten of earlier attempts. Back-off, attempts that
// are counted and nodes that are avoided belong to a version of a job: whoever
// corrects its spec, or restarts a task by hand, has done something about it.

// ofOlder reports whether an attempt was of a version that is not its job's any
// more.
func (x *tx) ofOlder(t *api.Task, version int) bool {
	j := x.jobAt(t.Job)
	return x.does(FreshVersions) && j != nil && j.Spec.Kind == api.KindService && version != j.Version
}

// startNow ends the back-off of a task that waits for its next attempt.
func (x *tx) startNow(old *api.Task) bool {
	if !x.does(FreshVersions) || !old.Pending() || old.NotBefore.IsZero() || old.Desired != api.DesiredRun || x.ofOlder(old, old.Version) {
		return false
	}
	t := *old
	t.Failures, t.NotBefore = 0, time.Time{}
	x.happened(api.Event{Kind: api.EventTaskRequeued, Object: t.ID, Job: t.Job, Task: &t, Message: "asked for: it waits no longer"})
	x.putTask(&t)
	return true
}

// renew is what a new version makes of its job: tasks that gave up as an older
// one begin anew, and only nodes whose machine is at fault are avoided.
func (x *tx) renew(j *api.Job) {
	if !x.does(FreshVersions) {
		return
	}
	if len(j.Avoid) > 0 {
		next := *j
		next.Avoid = slices.DeleteFunc(slices.Clone(j.Avoid), func(a api.AvoidedNode) bool { return !ofMachine(a.Reason) })
		x.replaceJob(&next)
	}
	for _, t := range x.jobTasks(j.ID) {
		if t.State.Final() && !stopped(t) && x.ofOlder(t, t.Version) {
			x.removeTask(t)
		}
	}
}

package fsm

import "github.com/mesita/mesita/api"

// This file has what becomes of tasks that were stopped: each has its end, also
// those of an array that were never made, and it is not a failure.

// stopped reports whether a task that ended did so because it was asked to.
func stopped(t *api.Task) bool {
	return t.State == api.TaskKilled || t.Desired == api.DesiredStop && t.State != api.TaskFinished && t.State != api.TaskFailed
}

// countStopped counts those that were counted as failed, and those that were
// not counted at all, as the level asks for.
func (x *tx) countStopped() {
	var jobs []*api.Job
	for j := range x.jobs.all() {
		jobs = append(jobs, j)
	}
	for _, old := range jobs {
		j := *old
		for _, t := range x.jobTasks(j.ID) {
			if t.State.Final() && stopped(t) {
				j.Counts.Failed--
				j.Counts.Stopped++
			}
		}
		j.Counts.Stopped += j.NeverMade()
		if j.Counts != old.Counts {
			x.replaceJob(&j)
		}
	}
}

// stopUnmade ends a task that waits and has no row yet: it is made for that.
// Of a gang, which starts whole or not at all, all end.
func (x *tx) stopUnmade(job string, index int, c *TaskStop) bool {
	j := x.jobAt(job)
	if j == nil || c.Move || !x.does(StoppedUnmade) {
		return false
	}
	if j.Spec.Kind == api.KindService {
		return !j.Stop && index < j.Spec.Tasks() && x.makeTasks(job, index, 1) == 1 && x.stopTask(x.taskAt(job, index), api.DesiredStop, c.Reason)
	}
	u := rangeOf(j)
	switch {
	case j.Unmade() == 0 || index < u.next || index >= u.end:
		return false
	case j.Spec.Gang > 0:
		stop := JobStop{Meta: c.Meta, ID: job, cause: api.TaskID(job, index) + " was asked to end, and a gang starts whole or not at all"}
		_, err := stop.apply(x)
		return err == nil
	}
	t := j.UnmadeTask(index)
	t.State, t.Desired, t.Reason, t.Message, t.Ended = api.TaskKilled, api.DesiredStop, c.Reason, api.NeverBegan, x.At
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: job, Task: t, Message: t.Message})
	x.tasks.put(x, t)
	next := *j
	next.Counts.Pending--
	*x.bucket(&next.Counts, t)++
	next.Skipped++
	x.skip(&next)
	x.replaceJob(&next)
	return true
}

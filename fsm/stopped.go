package fsm

import (
	"iter"

	"github.com/mesita/mesita/api"
)

// This file has what becomes of tasks that were stopped: each has its end, also
// those of an array that were never made, and it is no failure.

// stopped tells whether a task that ended did so because it was asked to.
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

// neverMade lists the tasks of an array that were stopped before they were
// made.
func (v *View) neverMade(j *api.Job) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		if j.NeverMade() > 0 && v.Does(StoppedTasks) {
			v.unmadeTasks(j, yield)
		}
	}
}

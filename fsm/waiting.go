package fsm

import (
	"cmp"
	"strings"

	"github.com/mesita/mesita/api"
)

// This file has what is done to a job that waits, or so that it waits, and keeps
// its place by the time of its submission.

// JobSet gives a job another spec, which asks for something else and is the same
// work, if it still has the version IfVersion and the revision IfRevision (0 = any).
// Tasks that wait ask for it; those that run continue as they began. Its value is the
// *api.Job.
type JobSet struct {
	Meta
	ID         string       `json:"id"`
	Seq        uint64       `json:"seq,omitempty"` // of the submission that it is for, whatever has its name by now; 0 = any
	IfVersion  int          `json:"ifVersion,omitempty"`
	IfRevision uint64       `json:"ifRevision,omitempty"`
	Spec       *api.JobSpec `json:"spec"`
	Filled     []api.Filled `json:"filled,omitempty"` // what of the spec partitions said
}

func (c *JobSet) apply(x *tx) (any, error) {
	old, err := x.job(c.ID)
	if err != nil {
		return nil, err
	}
	if err := x.jobs.unchanged("job", old, c.IfRevision); err != nil {
		return nil, err
	}
	part := x.partitions.get(&api.Partition{Path: c.Spec.Partition})
	moves, placed := c.Spec.Partition != old.Spec.Partition, old.Counts.Starting+old.Counts.Running
	switch {
	case old.Framework != "":
		return nil, ofFramework(old)
	case c.Seq != 0 && old.Seq != c.Seq:
		return nil, conflict("job %q was removed, and submitted anew meanwhile: look at it and try again", c.ID)
	case c.IfVersion != 0 && old.Version != c.IfVersion:
		return nil, conflict("job %q is now at version %d, not %d: look at it and try again", c.ID, old.Version, c.IfVersion)
	case old.Stop || old.State.Ended():
		return nil, conflict("job %q is %s: submit it again instead", c.ID, old.State)
	case old.Counts.Pending == 0 && old.Spec.Kind == api.KindBatch:
		return nil, conflict("no task of job %q waits, and what runs is what it began as: `mesita job requeue %s` ends it, and has it wait again", c.ID, c.ID)
	case placed > 0 && old.Spec.Kind != api.KindBatch, old.Counts.Pending == 0:
		return nil, conflict("job %q is a service, of which %s: `mesita apply -f FILE` gives it another version", c.ID, startedText(placed))
	case placed > 0 && moves:
		return nil, conflict("%s of job %q, and a job changes its partition as a whole: `mesita job requeue %s` ends what runs, and has it wait again", startedText(placed), c.ID, c.ID)
	case c.Spec.Name != old.Spec.Name || c.Spec.Kind != old.Spec.Kind || c.Spec.Array != old.Spec.Array || c.Spec.Gang != old.Spec.Gang || c.Spec.Tasks() != old.Spec.Tasks():
		return nil, conflict("job %q would be another: submit that under another name", c.ID)
	case part == nil:
		return nil, api.NotFound("partition", c.Spec.Partition)
	case part.Drain && moves:
		return nil, conflict("partition %q is being removed and takes no new work", part.Path)
	}
	changes := api.Differences(old.Spec, c.Spec)
	if len(changes) == 0 {
		return old, nil
	}
	like := old.Spec
	if moves {
		like = nil
		if err := x.mayWait(c.Spec.Partition, old.Spec.Partition, old.Counts.Pending); err != nil {
			return nil, err
		}
	}
	if err := c.Spec.Within(x.chain(c.Spec.Partition), like); err != nil {
		return nil, err
	}
	j := *old
	j.Version, j.History, j.Spec, j.Filled, j.Updated = old.Version+1, x.pushVersion(old), c.Spec, c.Filled, c.At
	j.Places = x.places(old, &j)
	x.replaceJob(&j)
	x.setWaiting(&j)
	what := make([]string, len(changes))
	for i, ch := range changes {
		if what[i] = ch.String(); moves { // what it was there is not for who sees it here
			what[i] = ch.Field + ": " + cmp.Or(ch.To, "unset")
		}
	}
	x.happened(api.Event{Kind: api.EventJobUpdated, Object: j.ID, Job: j.ID, Message: "waits on in its place with " + strings.Join(what, ", ")})
	return x.job(c.ID)
}

func startedText(n int) string {
	if n == 0 {
		return "no task waits"
	}
	return api.Count(n, "task") + " started"
}

// setWaiting has the waiting tasks of a job that have a row ask for what it asks for.
func (x *tx) setWaiting(j *api.Job) {
	for _, t := range x.jobTasks(j.ID) {
		if !t.Pending() {
			continue
		}
		u := *t
		u.Version, u.Resources, u.Partition = j.Version, j.Spec.Need(), j.Spec.Partition
		x.pending.Delete(x.pendingKey(t))
		x.putTask(&u)
		x.pending.ReplaceOrInsert(x.pendingKey(&u))
	}
}

// JobHold has no task of a job start until it is released; what runs continues. With
// Release it is. Its value is the *api.Job.
type JobHold struct {
	Meta
	ID      string `json:"id"`
	Release bool   `json:"release,omitempty"`
}

func (c *JobHold) apply(x *tx) (any, error) {
	old, err := x.job(c.ID)
	switch {
	case err != nil:
		return nil, err
	case old.Framework != "":
		return nil, ofFramework(old)
	case old.Stop || old.State.Ended():
		return nil, conflict("job %q is %s: nothing of it will start", c.ID, old.State)
	case old.Hold != c.Release:
		return old, nil // it is so already
	}
	j := *old
	j.Hold = !c.Release
	what := "on hold: nothing of it starts until it is released"
	if c.Release {
		what = "released: it waits in its place"
	}
	x.happened(api.Event{Kind: api.EventJobUpdated, Object: j.ID, Job: j.ID, Message: what})
	x.replaceJob(&j)
	return x.job(c.ID)
}

// startsAgain refuses the restart by hand of tasks whose job is on hold: they would end,
// and not start.
func (c *TaskStop) startsAgain(x *tx) error {
	if !c.Move || c.Reason != api.ReasonStopped {
		return nil
	}
	for _, id := range c.IDs {
		job, index, _ := splitTaskID(id)
		j, t := x.jobAt(job), x.taskAt(job, index)
		if j != nil && j.Hold && t != nil && !t.State.Final() {
			return api.RestartOnHold(job, id)
		}
	}
	return nil
}

// JobRequeue ends the attempts of a batch that run, and has their tasks wait again in
// the place that they had. It costs them no retry. Its value is the *api.Job.
type JobRequeue struct {
	Meta
	ID string `json:"id"`
}

func (c *JobRequeue) apply(x *tx) (any, error) {
	old, err := x.job(c.ID)
	switch {
	case err != nil:
		return nil, err
	case old.Spec.Kind != api.KindBatch:
		return nil, conflict("job %q is a %s, which has no end to be put off: `mesita stop TASK --restart` starts a task of it anew", c.ID, old.Spec.Kind)
	case old.Stop || old.State.Ended():
		return nil, conflict("job %q is %s: submit it again instead", c.ID, old.State)
	}
	held := 0
	for _, t := range x.jobTasks(c.ID) {
		if t.Holds() && t.Desired != api.DesiredStop {
			held++
			x.stopTask(t, api.DesiredMove, api.ReasonRequeued)
		}
	}
	if held == 0 {
		return nil, conflict("no task of job %q runs: what waits of it keeps its place", c.ID)
	}
	return x.job(c.ID)
}

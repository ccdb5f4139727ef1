package controller

import (
	"math"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// service keeps the tasks 0 to Count-1 of a service, stops those beyond, and
// moves tasks of an older version to the newest, one at a time and only while
// all others run. One that was told to leave in a while runs until then, and takes
// the newest version when it starts again: the others do not wait for it, unless it
// has too little time left for another to be replaced meanwhile.
func (d *decision) service(j *api.Job) {
	var have, surplus, old []string
	settled := 0
	seen := make([]bool, j.Spec.Tasks())
	for t := range d.view.JobTasks(j.ID) {
		switch {
		case t.Index >= j.Spec.Tasks():
			if t.Desired != api.DesiredStop && !t.State.Final() {
				surplus = append(surplus, t.ID)
			}
			continue
		case (t.Desired == api.DesiredRun || d.stays(j, t)) && t.State == api.TaskRunning:
			settled++
		}
		seen[t.Index] = true
		have = append(have, t.ID)
		if t.Version != j.Version && t.Desired == api.DesiredRun && !t.State.Final() {
			old = append(old, t.ID)
		}
	}
	if len(surplus) > 0 {
		d.add(&fsm.TaskStop{Meta: d.meta(), IDs: surplus, Reason: api.ReasonScaledDown})
	}
	for first := 0; first < len(seen); {
		if seen[first] {
			first++
			continue
		}
		last := first
		for last < len(seen) && !seen[last] && last-first < chunk {
			last++
		}
		d.add(&fsm.TaskCreate{Meta: d.meta(), Job: j.ID, First: first, Count: last - first})
		first = last
	}
	if len(old) > 0 {
		d.replace(j, old, settled, len(have))
	}
}

// startsWithin is how long a task is counted on to take from the end of the one before
// until it runs: its program may have to be fetched first. Nothing bounds it.
const startsWithin = 30 * time.Second

// stays reports whether a task that was told to leave runs for longer than another of its
// job takes to be replaced: to end, with all its grace, and to start.
func (d *decision) stays(j *api.Job, t *api.Task) bool {
	if !t.Leaving() {
		return false
	}
	grace := j.Spec.StopGrace
	if spec := j.SpecFor(t); spec != nil {
		grace = max(grace, spec.StopGrace)
	}
	return t.Leaves.Sub(d.now) > time.Duration(grace)+startsWithin
}

// replace moves the next task to the newest version. One that does not run
// costs nothing to replace; one that does waits until the others run. Of a job on
// hold only those that wait take it: what was ended would not start again.
func (d *decision) replace(j *api.Job, old []string, running, have int) {
	for _, id := range old {
		t := d.view.Task(id)
		if j.Hold && !t.Pending() {
			continue
		}
		if t.State != api.TaskRunning || running == have {
			d.moving[j.ID] = true
			d.add(&fsm.TaskStop{Meta: d.meta(), IDs: []string{id}, Move: true, Reason: api.ReasonReplaced})
			return
		}
	}
}

// lookEvery is how often it is looked for incidents, tokens and uploads that are too old.
const lookEvery = time.Hour

// KeepUploads is how long an upload is kept since no job needs it, or since it was made,
// as far as this leader has seen: a client may be about to submit a job with it, or hold a
// file in which its digest is.
const KeepUploads = 24 * time.Hour

// maxUnused is how many uploads are forgotten at a time, each with an event, and nextUnused
// when the next are.
const (
	maxUnused  = 500
	nextUnused = time.Minute
)

// forget removes what is too old, while the time is to be trusted.
func (c *Controller) forget(v *fsm.View, now time.Time) (out []fsm.Command) {
	c.look = now.Add(lookEvery)
	m := fsm.Meta{At: now, Actor: "controller"}
	old, unused := v.TooOld(m), c.unneeded(v, now)
	switch {
	case old == nil && unused == nil:
		return nil
	case !c.cfg.Forgets():
		c.look = now.Add(unsure)
		return nil
	}
	if old != nil {
		out = append(out, old)
	}
	if unused != nil {
		out = append(out, &fsm.BlobRemove{Meta: m, Digests: unused})
	}
	if len(unused) == maxUnused {
		c.look = now.Add(nextUnused)
	}
	return out
}

// unneeded are uploads that no job has needed for KeepUploads. A new leader begins anew, and
// keeps them longer.
func (c *Controller) unneeded(v *fsm.View, now time.Time) (out []string) {
	since := map[string]time.Time{}
	for _, digest := range v.UnusedUploads(now.Add(-KeepUploads), math.MaxInt) {
		at, seen := c.unused[digest]
		if !seen || at.After(now) {
			at = now
		}
		since[digest] = at
		if now.Sub(at) >= KeepUploads && len(out) < maxUnused {
			out = append(out, digest)
		}
	}
	c.unused = since
	return out
}

// unsure is how often it is asked whether the time is to be trusted by now.
const unsure = 10 * time.Second

// maxReaped is how many rows of tasks one command removes at most, of more than
// one job: nothing else is applied meanwhile, for some 10 ms. A larger job goes at once,
// with no other.
const maxReaped = 3000

// reap forgets ended jobs that are too many or too old, and says when the next
// one will be.
func (c *Controller) reap(v *fsm.View, now time.Time) ([]fsm.Command, time.Time) {
	next := now.Add(time.Hour)
	var ids []string
	rows := 0
	surplus := v.EndedCount() - c.cfg.KeepJobs
	forgets := c.cfg.Forgets()
	tooOld := func(j *api.Job) bool { return forgets && now.Sub(j.Ended) > c.cfg.KeepEnded }
	for j := range v.EndedJobs() {
		old := tooOld(j)
		if !old && len(ids) >= surplus {
			if due := j.Ended.Add(c.cfg.KeepEnded); due.After(now) && due.Before(next) {
				next = due
			} else if !forgets && !due.After(now) {
				next = now.Add(unsure)
			}
			break
		}
		more := j.Counts.Total() - j.NeverMade()
		if len(ids) > 0 && rows+more > maxReaped {
			next = now.Add(10 * time.Millisecond)
			break
		}
		ids = append(ids, j.ID)
		if rows += more; len(ids) >= chunk || rows >= maxReaped {
			next = now.Add(10 * time.Millisecond)
			break
		}
	}
	// A few too many are not worth a log entry each.
	if len(ids) == 0 || surplus > 0 && surplus < c.cfg.KeepJobs/100 && !slices.ContainsFunc(ids[:1], func(id string) bool { return tooOld(v.Job(id)) }) {
		return nil, next
	}
	return []fsm.Command{&fsm.JobRemove{Meta: fsm.Meta{At: now, Actor: "controller"}, IDs: ids}}, next
}

package server

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// A job may have come from a partition of which the caller sees nothing, and its name
// may have been another's. Of what was there it is told nothing: no events, incidents,
// attempts, logs and versions. Where nobody knows where a job was, it was elsewhere.

// readsIn reports whether the caller would see the job in that partition.
func (s *sight) readsIn(j *api.Job, partition string) bool {
	return s.all || s.mayRead(auth.Object{Partition: partition, Job: cmp.Or(j.Spec.Name, j.ID)})
}

// of reports whether the caller sees what is of a job, which it was then, and from
// which of its places on.
func (s *sight) of(job string, then time.Time, from func(*api.JobPlace) bool) bool {
	if !s.job(job) {
		return false
	}
	j := s.view.Job(job)
	if s.all || j == nil {
		return s.all
	}
	if len(j.Places) > 0 {
		return s.place(j, from)
	}
	return !then.Before(s.knownSince(j))
}

// place reports whether the caller would see the job at the last of the places that
// are at or before something.
func (s *sight) place(j *api.Job, from func(*api.JobPlace) bool) bool {
	for i := range slices.Backward(j.Places) {
		if p := &j.Places[i]; from(p) {
			return s.readsIn(j, p.Partition)
		}
	}
	return false
}

// knownSince is since when a job that does not say where it was is known to have been
// where the caller sees it. A version is in its history with the time of its last change.
func (s *sight) knownSince(j *api.Job) time.Time {
	since, next := j.Updated, j.Version
	for _, h := range slices.Backward(j.History) {
		if h.Version != next-1 || h.Spec == nil || !s.readsIn(j, h.Spec.Partition) {
			return since
		}
		since, next = h.Created, h.Version
	}
	if next == 1 && j.Created.Before(since) {
		return j.Created
	}
	return since
}

// version reports whether the caller would see the job where it was as of that version.
func (s *sight) version(j *api.Job, version int) bool {
	if len(j.Places) > 0 {
		return s.place(j, func(p *api.JobPlace) bool { return p.Version <= version })
	}
	spec := j.SpecOf(version)
	return spec != nil && s.readsIn(j, spec.Partition)
}

// allOf reports whether all that a job ever was the caller would see.
func (s *sight) allOf(j *api.Job) bool {
	if s.all {
		return true
	}
	sees, asked := s.past[j]
	if !asked {
		// Of the first places a job that moved often remembers none, nor does one that was
		// made before places were noted.
		sees = len(j.Places) == 0 || j.Places[0].Version == 1
		for _, p := range j.Places {
			sees = sees && s.readsIn(j, p.Partition)
		}
		for v := 1; v <= j.Version && sees && len(j.Places) == 0; v++ {
			sees = s.version(j, v)
		}
		s.past[j] = sees
	}
	return sees
}

// tasks reports whether the caller sees all that the tasks of a job tell.
func (s *sight) tasks(j *api.Job) bool { return j == nil || s.allOf(j) }

// shownTask leaves out of a task the attempts of where the caller does not see its
// job, and how the last of those ended.
func (s *sight) shownTask(t *api.Task) *api.Task {
	if t != nil && t.Framework != nil {
		t = s.shownOwn(t)
	}
	if t == nil || s.all {
		return t
	}
	j := s.view.Job(t.Job)
	if s.tasks(j) {
		return t
	}
	out := *t
	out.Earlier = slices.DeleteFunc(slices.Clone(t.Earlier), func(a api.Attempt) bool { return !s.version(j, a.Version) })
	if s.untold(j, t) {
		out.Reason, out.Message, out.Signal, out.ExitCode = "", "", "", nil
	}
	return &out
}

// untold reports whether what a task says of an end is of where the caller does not see
// its job: until it ends itself, that is its last attempt's.
func (s *sight) untold(j *api.Job, t *api.Task) bool {
	n := len(t.Earlier)
	return !s.version(j, t.Version) || n > 0 && !t.State.Final() && !s.version(j, t.Earlier[n-1].Version)
}

// ranHere reports whether the caller sees the job of a task where it was as the attempt
// of now began, which it may have brought from there.
func (s *sight) ranHere(t *api.Task) bool {
	j := s.view.Job(t.Job)
	return s.tasks(j) || s.version(j, t.Version)
}

// shownEvent is an event that the caller sees, without what its task tells of before.
func (s *sight) shownEvent(e api.Event) api.Event {
	if !s.all {
		e.Hide(s.job)
	}
	e.Task = s.shownTask(e.Task)
	e.Payload = s.shownPayload(e.Payload)
	return e
}

// shownWhy leaves out of a why how attempts ended that the caller does not see.
func (s *sight) shownWhy(w *api.Why, j *api.Job) {
	if s.tasks(j) {
		return
	}
	s.view.JobRuns(j, 0)(func(_ *api.Job, r fsm.TaskRun) bool {
		if t := r.At(j, 0); s.untold(j, t) {
			w.Summary = untoldIn(w.Summary, t)
			for i, h := range w.Hints {
				w.Hints[i] = untoldIn(h, t)
			}
		}
		return true
	})
}

// untoldIn is a sentence about a task without how it ended, which is said last.
func untoldIn(said string, t *api.Task) string {
	before, _, _ := strings.Cut(said, ": ")
	if strings.HasPrefix(said, t.ID+" ") && (t.State.Final() || strings.HasSuffix(before, " ended")) {
		return before + ": where its job was then you may read no logs"
	}
	return said
}

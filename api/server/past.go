package server

import (
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A job may have come from a partition of which the caller sees nothing, and its name
// may have been another's. Of what was there it is told nothing: no events, incidents,
// attempts, logs and versions. Where nobody knows where a job was, it was elsewhere.

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
		return s.Place(j, from)
	}
	return !then.Before(s.KnownSince(j))
}

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
	if j == nil || s.AllOf(j) {
		return t
	}
	out := *t
	out.Earlier = slices.DeleteFunc(slices.Clone(t.Earlier), func(a api.Attempt) bool { return !s.Version(j, a.Version) })
	if s.Untold(j, t) {
		out.Reason, out.Message, out.Signal, out.ExitCode = "", "", "", nil
	}
	return &out
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
	if j == nil || s.AllOf(j) {
		return
	}
	s.view.JobRuns(j, 0)(func(_ *api.Job, r fsm.TaskRun) bool {
		if t := r.At(j, 0); s.Untold(j, t) {
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

package server

import (
	"cmp"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// Lists and streams show a caller what its rights are of: the jobs whose logs it may
// read, and what is about them. What it does not see is not there: to ask for it by
// its id is answered as for one that never was. Nodes, partitions and the cluster
// are everybody's who has a right.

// sight is what a caller sees of one view.
type sight struct {
	id    auth.Identity
	view  *fsm.View
	all   bool
	brief bool            // it does not ask what events are about
	jobs  map[string]bool // that were asked for
	admit.Past
}

func (c *call) sight(v *fsm.View) *sight {
	id := c.ID
	if v != nil && id.Token != "" {
		if t := v.Token(id.Token); t != nil { // as of the view, so that what it shows and the event that it names agree
			now := auth.OfToken(t)
			id.Role, id.Rights = now.Role, now.Rights
		}
	}
	s := &sight{id: id, view: v, all: id.Role == api.RoleNode || auth.May(id, auth.ReadLogs, auth.Object{}) == nil, brief: !c.Shows("payload")}
	if !s.all {
		s.jobs = map[string]bool{}
	}
	s.Past = admit.PastOf(v, id, s.all)
	return s
}

// job reports whether the caller sees a job by its id; of one that is removed nobody
// knows whose it was.
func (s *sight) job(id string) bool {
	if s.all {
		return true
	}
	sees, ok := s.jobs[id]
	if !ok {
		if j := s.view.Job(id); j != nil {
			sees = s.reads(j)
		}
		s.jobs[id] = sees
	}
	return sees
}

// reads reports whether the caller sees a job.
func (s *sight) reads(j *api.Job) bool {
	return s.all || s.mayRead(auth.Object{Partition: j.Spec.Partition, Job: cmp.Or(j.Spec.Name, j.ID)})
}

// task is job for the job of a task.
func (s *sight) task(id string) bool {
	if s.all {
		return true
	}
	t := s.view.Task(id)
	return t != nil && s.job(t.Job)
}

func (s *sight) mayRead(on auth.Object) bool { return auth.May(s.id, auth.ReadLogs, on) == nil }

// event reports whether the caller sees an event.
func (s *sight) event(e *api.Event) bool {
	of, _, _ := strings.Cut(string(e.Kind), ".")
	switch {
	case s.all:
		return true
	case e.Payload.Incident != nil && !s.incident(e.Payload.Incident): // it began where the caller does not see its job
		return false
	case e.Kind == api.EventJobRemoved && e.Payload.Job != nil: // its name may be another's by now
		return s.reads(e.Payload.Job)
	case e.Job != "":
		return s.since(e, e.Job)
	case e.Task != nil:
		return s.since(e, e.Task.Job)
	case of == "job":
		return s.since(e, e.Object)
	case of == "task":
		t := s.view.Task(e.Object)
		return t != nil && s.since(e, t.Job)
	case of == "partition":
		return s.mayRead(auth.Object{Partition: e.Object})
	case of == "framework":
		f := s.view.Framework(e.Object)
		return f != nil && s.framework(f)
	}
	return of == "node" || of == "incident" || of == "cluster" || e.Kind == api.EventsMissed
}

// incident reports whether the caller sees an incident.
func (s *sight) incident(i *api.Incident) bool {
	if s.all || i.Job == "" {
		return true
	}
	return s.of(i.Job, i.Seen, func(p *api.JobPlace) bool { return p.Incident <= i.ID })
}

// since reports whether the caller sees what an event tells of a job.
func (s *sight) since(e *api.Event, job string) bool {
	return s.of(job, e.Time, func(p *api.JobPlace) bool { return p.Event <= e.Index })
}

// names reports whether an id is of something that the caller sees.
func (s *sight) names(id string) bool {
	v := s.view
	switch {
	case v.Node(id) != nil || v.FindNode(id) != nil || v.Partition(id) != nil:
		return true
	case v.Job(id) != nil:
		return s.job(id)
	case v.Task(id) != nil:
		return s.task(id)
	case v.Framework(id) != nil:
		return s.framework(v.Framework(id))
	}
	return s.all && (v.Token(id) != nil || v.Blob(id) != nil)
}

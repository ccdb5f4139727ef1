package server

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// loaded is an event with what it is about. What the store keeps no longer is told as
// it is now, and says so. Who does not ask for it gets none.
func (s *sight) loaded(e api.Event) api.Event {
	if s.brief {
		e.Payload = api.Payload{}
		return e
	}
	noun, _, _ := strings.Cut(string(e.Kind), ".")
	p := &e.Payload
	if *p == (api.Payload{}) && !isGone(e.Kind) {
		s.load(p, &e, noun)
		if *p != (api.Payload{}) {
			p.AsOf = s.view.LastEvent()
		}
	}
	if noun == "task" && p.Job != nil {
		sum := p.Job.Sum()
		p.Job, p.Sum = nil, &sum
	}
	return e
}

// isGone tells events of which there is nothing any more that they are about: what has
// that name now is another. Of a node that was removed there is a row, and of a task
// its job.
func isGone(k api.EventKind) bool {
	return k == api.EventJobRemoved || k == api.EventPartitionGone || k == api.EventIncidentRemoved
}

func (s *sight) load(p *api.Payload, e *api.Event, noun string) {
	switch noun {
	case "job", "task":
		p.Job = s.view.Job(e.Job)
	case "node":
		p.Node = s.view.Node(e.Object)
	case "partition":
		p.Partition = s.view.Partition(e.Object)
	case "incident":
		p.Incident = s.view.Incident(e.Incident)
	}
}

// specSize is about how many bytes of text a job's spec has.
func specSize(j *api.Job) (n int) {
	if j == nil {
		return 0
	}
	for _, a := range j.Spec.Command {
		n += len(a)
	}
	for k, v := range j.Spec.Env {
		n += len(k) + len(v)
	}
	for k, v := range j.Spec.Files {
		n += len(k) + len(v)
	}
	return n
}

// shownPayload is one as the reader may see it, by the same rules as in lists. A job
// goes without its earlier versions, which are many times as much as all else: each was
// told as it was the version.
func (s *sight) shownPayload(p api.Payload) api.Payload {
	if p.Job != nil {
		j := *s.shownJob(p.Job)
		j.History, p.Job = nil, &j
	}
	if s.all {
		return p
	}
	if p.Node != nil {
		p.Node = s.shownNode(p.Node)
	}
	switch {
	case p.Incident == nil:
	case !s.incident(p.Incident): // it began elsewhere
		p.Incident = nil
	default:
		p.Incident = s.shown(p.Incident).(*api.Incident)
	}
	return p
}

// moved reports whether a job came with an event to another partition, and whether the
// reader saw it before and sees it then.
func (s *sight) moved(e *api.Event) (did, saw, sees bool) {
	j := e.Payload.Job
	if s.all || j == nil || e.Task != nil || len(j.Places) == 0 {
		return false, false, false
	}
	is := j.Places[len(j.Places)-1]
	was, known := cameFrom(j, is)
	return known && is.Event == e.Index, known && s.ReadsIn(j, was), s.ReadsIn(j, is.Partition)
}

// cameFrom is where a job was before it came where it is. Of one that was made before
// places were noted, the version before knows.
func cameFrom(j *api.Job, is api.JobPlace) (partition string, known bool) {
	if n := len(j.Places); n > 1 {
		return j.Places[n-2].Partition, true
	}
	if spec := j.SpecOf(is.Version - 1); is.Version > 1 && spec != nil {
		return spec.Partition, true
	}
	return "", false
}

// send sends an event to who follows them, if the reader sees it. A job that moves
// between what the reader sees and what it does not is gone for it, or comes with what
// there is of it, which is told before; so is one of whose places the first is forgotten: with the index of the event before, so that one who was
// cut off in the middle is told of them again.
func (s *sight) send(out exchange.Stream, e *api.Event, want *api.EventFilter, flush bool) error {
	moved, saw, sees := s.moved(e)
	if moved && saw && !sees {
		gone := api.Event{Index: e.Index, Time: e.Time, Kind: api.EventJobHidden, Object: e.Object, Job: e.Job, Message: "it moved to where you may not read its logs"}
		if !want.Match(&gone) {
			return nil
		}
		return sendEvent(out, &gone, flush)
	}
	if !want.Match(e) || !s.event(e) {
		return nil
	}
	cut := moved && saw && pastIsCut(e.Payload.Job)
	if cut {
		anew := api.Event{Index: e.Index - 1, Time: e.Time, Kind: api.EventJobHidden, Object: e.Object, Job: e.Job, Message: "less of its past is shown from now on: what there is of it follows"}
		if err := sendEvent(out, &anew, false); err != nil {
			return err
		}
	}
	if moved && !saw || cut {
		if err := s.come(out, e); err != nil {
			return err
		}
	}
	shown := s.shownEvent(s.loaded(*e))
	return sendEvent(out, &shown, flush)
}

// pastIsCut tells of a job that just moved whether nobody knows any more where it was
// some time ago: it moved often, or for the first time since places are noted. What was
// before is shown no more to who sees only some jobs.
func pastIsCut(j *api.Job) bool { return len(j.Places) == 1 || len(j.Places) >= api.MaxPlaces }

// come sends what there is of a job that the reader sees from an event on. One that is
// made anew has no tasks yet.
func (s *sight) come(out exchange.Stream, e *api.Event) error {
	shown := api.Event{Index: e.Index - 1, Time: e.Time, Job: e.Job, Message: "its job moved to where you may read its logs"}
	if e.Kind != api.EventJobCreated {
		for t := range s.view.MadeTasks(e.Job) {
			shown.Kind, shown.Object, shown.Node, shown.Task = api.EventTaskShown, t.ID, t.Node, s.shownTask(t)
			shown.Payload = api.Payload{AsOf: s.view.LastEvent()}
			if err := sendEvent(out, &shown, false); err != nil {
				return err
			}
		}
	}
	shown.Task = nil
	for i := range s.view.Incidents() {
		if i.Job != e.Job || !s.incident(i) {
			continue
		}
		shown.Kind, shown.Object, shown.Node = api.EventIncidentShown, i.Object, i.Node
		shown.Incident = i.ID
		shown.Payload = s.shownPayload(api.Payload{Incident: i, AsOf: s.view.LastEvent()})
		if err := sendEvent(out, &shown, false); err != nil {
			return err
		}
	}
	return nil
}

// followable refuses to continue after an event if what moved since from or to where the
// reader sees it cannot be told: of what a snapshot brought, only what happened is kept,
// and of a token's rights only what they are now.
func (s *sight) followable(store *fsm.Store, after uint64) error {
	if t := s.view.Token(s.id.Token); t != nil && !s.brief && after < t.RightsSince {
		return api.Errorf(api.CodeConflict, "what this token may see changed by event %d: take the lists again, and continue after the event that they name", t.RightsSince)
	}
	if from := store.PayloadsAfter(); !s.all && after < from {
		return api.Errorf(api.CodeConflict, "what changed in events up to %d is no longer kept: take the lists again, and continue after the event that they name", from)
	}
	return nil
}

package fsm

import (
	"fmt"
	"iter"
	"time"

	"github.com/mesita/mesita/api"
)

var incidentNoun = noun[api.Incident]{
	less:     func(a, b *api.Incident) bool { return a.ID < b.ID },
	watch:    TableIncidents,
	id:       func(n *api.Incident) string { return n.Object },
	revision: func(n *api.Incident) *uint64 { return &n.Revision },
	follow:   (*tx).indexIncident,
	told:     true,
	forms:    []form[api.Incident]{{record: recIncident}},
}

// sameIncident is how soon after its end a failure of the same kind and object
// is the same incident again: a task that crashes each minute is one incident,
// not a thousand.
const sameIncident = 10 * time.Minute

// newestOf is the newest incident of a kind and object, nil if none is kept.
func (t *tables) newestOf(kind api.IncidentKind, object string) *api.Incident {
	last := get(t.newest.BTreeG, &api.Incident{Kind: kind, Object: object})
	if last == nil {
		return nil
	}
	return t.incidents.get(last) // a new level may have rewritten it
}

// openIncident records a failure. One that is still open, or was over just
// now, is counted again instead.
func (x *tx) openIncident(n api.Incident) {
	if old := x.newestOf(n.Kind, n.Object); old != nil {
		switch {
		case !old.Over.IsZero() && !x.justOver(old):
		case x.movedSince(old):
			if old.Over.IsZero() {
				x.end(old, "its job moved to another partition")
			}
		default:
			again := *old
			again.Count, again.Over, again.Message, again.Action, again.Node = max(old.Count, 1)+1, n.Over, n.Message, n.Action, n.Node
			x.incidents.put(x, &again)
			return
		}
	}
	x.pruneIncidents()
	x.incidentN++
	n.ID, n.Seen = x.incidentN, x.At
	x.incidents.put(x, &n)
	x.happened(api.Event{Kind: api.EventIncidentOpened, Object: n.Object, Job: n.Job, Node: n.Node, Payload: api.Payload{Incident: &n}, Message: fmt.Sprintf("%s: %s; %s", n.Kind, n.Message, n.Action)})
}

// movedSince reports whether the job of an incident is in another partition since: who
// saw it there sees nothing of this one, and the other way round.
func (x *tx) movedSince(n *api.Incident) bool {
	j := x.jobAt(n.Job)
	return j != nil && len(j.Places) > 0 && n.ID < j.Places[len(j.Places)-1].Incident
}

// justOver reports whether what was over is the same again. A clock that was set
// back makes it no longer so.
func (x *tx) justOver(n *api.Incident) bool {
	d := x.At.Sub(n.Over)
	return d < sameIncident && (d > -sameIncident || !x.does(IncidentsEnd))
}

// closeIncident records that a failure is over, and what ended it.
func (x *tx) closeIncident(kind api.IncidentKind, object, action string) {
	old := x.newestOf(kind, object)
	if old == nil || !old.Over.IsZero() {
		return
	}
	x.end(old, action)
}

// end makes an incident over.
func (x *tx) end(old *api.Incident, action string) {
	n := *old
	n.Over = x.At
	if action != "" {
		n.Action = action
	}
	x.incidents.put(x, &n)
	x.happened(api.Event{Kind: api.EventIncidentOver, Object: n.Object, Job: n.Job, Node: n.Node, Payload: api.Payload{Incident: &n}, Message: string(n.Kind) + ": " + n.Action})
}

// pruneIncidents forgets the oldest when there are too many. Below the level,
// that is also done when they are too old by the time of this command.
func (x *tx) pruneIncidents() {
	for {
		old := x.incidents.first()
		if old == nil || x.incidents.len() < api.MaxIncidents && (x.does(ForgetByAge) || x.At.Sub(old.Seen) < api.IncidentsKept) {
			return
		}
		x.incidents.delete(x, old)
	}
}

// taskIncident records that an attempt ended as it should not have. It is
// called before it is decided what follows.
func (x *tx) taskIncident(j *api.Job, t *api.Task) {
	if j.Stop || t.Desired == api.DesiredStop || t.Moves() || t.State == api.TaskFinished && j.Spec.Kind != api.KindService {
		return
	}
	if t.Hosted() && x.executor(t.Framework.Framework, t.NodeID, t.Framework.Executor) == nil {
		return // that of its executor tells of it
	}
	kind := api.IncidentTaskFailed
	switch t.Reason {
	case api.ReasonOOM:
		kind = api.IncidentTaskOOM
	case api.ReasonReboot, api.ReasonKeeperLost, api.ReasonNodeLost:
		kind = api.IncidentTaskLost
	}
	message := t.Message
	if message == "" && t.ExitCode != nil {
		message = fmt.Sprintf("exit code %d", *t.ExitCode)
	}
	n := api.Incident{Kind: kind, Object: t.ID, Job: t.Job, Node: t.Node, Message: message, Action: "starts again"}
	if t.Framework != nil {
		n.Action, n.Over = "its framework decides what follows", x.At
	}
	if j.Spec.Kind == api.KindBatch && kind != api.IncidentTaskLost && t.Failures >= j.Spec.Retries {
		n.Action, n.Over = fmt.Sprintf("gave up after attempt %d", t.Attempt), x.At
	}
	x.openIncident(n)
}

// taskKinds are the kinds of incidents that a task may have.
var taskKinds = []api.IncidentKind{api.IncidentTaskFailed, api.IncidentTaskOOM, api.IncidentTaskLost}

// taskIncidentsOver records that a task's failures are over, and why.
func (x *tx) taskIncidentsOver(id, why string) {
	if x.newest.Len() == 0 {
		return
	}
	for _, kind := range taskKinds {
		x.closeIncident(kind, id, why)
	}
}

// Incident is nil if there is none with that id.
func (v *View) Incident(id uint64) *api.Incident { return v.t.incidents.get(&api.Incident{ID: id}) }

// Incidents lists the failures that were seen, the newest first.
func (v *View) Incidents() iter.Seq[*api.Incident] { return v.t.incidents.backward() }

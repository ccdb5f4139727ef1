package api

import (
	"strings"
	"time"
)

// Event is one thing that happened, in the order in which the cluster agreed
// on it. Index grows by one with each event.
type Event struct {
	Extra
	Index   uint64    `json:"index"`
	Time    time.Time `json:"time,omitzero"`
	Kind    EventKind `json:"kind"`
	Object  string    `json:"object"` // the id of what it is about
	Job     string    `json:"job,omitempty"`
	Node    string    `json:"node,omitempty"` // the node's name
	Actor   string    `json:"actor,omitempty"`
	Message string    `json:"message,omitempty"`
	Task    *Task     `json:"task,omitempty"` // as it was after a task event

	Incident uint64 `json:"incident,omitempty"` // the id of the one that it is about, from level 7 on

	Payload Payload `json:"payload,omitzero" codec:"-"` // neither in the log nor in a snapshot
}

// Payload is what an event is about, as it was after the change that the event is of,
// and of what is removed as it was last. Who applies the payloads one after the other
// to what the lists show holds what the lists show.
type Payload struct {
	Job       *Job       `json:"job,omitempty"` // without History
	Sum       *JobSum    `json:"sum,omitempty"` // of a task: what follows for its job
	Node      *Node      `json:"node,omitempty"`
	Partition *Partition `json:"partition,omitempty"`
	Incident  *Incident  `json:"incident,omitempty"`
	// AsOf is the index of the event after which it was so, if what was after this
	// event is no longer kept; 0: it is as it was after this one.
	AsOf uint64 `json:"asOf,omitempty"`
}

// EventKind says what happened.
type EventKind string

// The kinds of events; EventKinds says what they mean. Scripts compare them: append only.
const (
	EventJobCreated         EventKind = "job.created"
	EventJobUpdated         EventKind = "job.updated"
	EventJobScaled          EventKind = "job.scaled"
	EventJobStopped         EventKind = "job.stopped"
	EventJobEnded           EventKind = "job.ended"
	EventJobRemoved         EventKind = "job.removed"
	EventJobHidden          EventKind = "job.hidden"
	EventTaskCreated        EventKind = "task.created"
	EventTaskPlaced         EventKind = "task.placed"
	EventTaskState          EventKind = "task.state"
	EventTaskRequeued       EventKind = "task.requeued"
	EventTaskStop           EventKind = "task.stop"
	EventTaskRemoved        EventKind = "task.removed"
	EventTaskUpdated        EventKind = "task.updated"
	EventTaskShown          EventKind = "task.shown"
	EventIncidentShown      EventKind = "incident.shown"
	EventNodeJoined         EventKind = "node.joined"
	EventNodeState          EventKind = "node.state"
	EventNodeUpdated        EventKind = "node.updated"
	EventNodeRemoved        EventKind = "node.removed"
	EventTokenCreated       EventKind = "token.created"
	EventTokenUsed          EventKind = "token.used"
	EventTokenRevoked       EventKind = "token.revoked"
	EventTokenRights        EventKind = "token.rights"
	EventPartition          EventKind = "partition.set"
	EventPartitionGone      EventKind = "partition.removed"
	EventPartitionMoved     EventKind = "partition.adjusted"
	EventTaskPreempted      EventKind = "task.preempted"
	EventTaskThawed         EventKind = "task.thawed"
	EventIncidentOpened     EventKind = "incident.opened"
	EventIncidentOver       EventKind = "incident.over"
	EventIncidentUpdated    EventKind = "incident.updated"
	EventIncidentRemoved    EventKind = "incident.removed"
	EventOfferMade          EventKind = "offer.made"
	EventOfferGone          EventKind = "offer.gone"
	EventFrameworkConnected EventKind = "framework.connected"
	EventFrameworkUpdated   EventKind = "framework.updated"
	EventFrameworkAway      EventKind = "framework.away"
	EventFrameworkRemoved   EventKind = "framework.removed"
	EventReservation        EventKind = "reservation.changed"
	EventBlobAdded          EventKind = "program.added"
	EventBlobRemoved        EventKind = "program.removed"
	EventClusterCreated     EventKind = "cluster.created"
	EventClusterRestored    EventKind = "cluster.recovered"
	EventClusterLevel       EventKind = "cluster.level"
	EventClusterSet         EventKind = "cluster.set"
	EventCAKey              EventKind = "cluster.cakey"
	EventGossipKey          EventKind = "cluster.gossipkey"
	EventsMissed            EventKind = "events.missed"
)

// About reports whether the event is about that job, task or node, or was caused
// by that user: one whose name says what it is, such as token:ci or user:root.
func (e *Event) About(id string) bool {
	return id == e.Object || id == e.Job || id == e.Node || e.Task != nil && id == e.Task.NodeID || id == e.Actor && e.byUser()
}

// byUser tells a user from a loop, whose name could be a job's.
func (e *Event) byUser() bool { return strings.Contains(e.Actor, ":") }

// Subjects calls f with all ids that the event is About; some may come twice.
func (e *Event) Subjects(f func(id string)) {
	f(e.Object)
	if e.Job != "" && e.Job != e.Object {
		f(e.Job)
	}
	if e.Node != "" {
		f(e.Node)
	}
	if e.Task != nil && e.Task.NodeID != "" {
		f(e.Task.NodeID)
	}
	if e.byUser() {
		f(e.Actor)
	}
}

// EventFilter says which events are wanted. The zero value wants all.
type EventFilter struct {
	For    string    // what they are About
	After  uint64    // only those with a higher index
	Before uint64    // only those with a lower index; 0 = all
	Since  time.Time // not older
	Until  time.Time // not newer
}

// Match reports whether an event is wanted. One that says what is missing is
// about everything.
func (f *EventFilter) Match(e *Event) bool {
	return e.Index > f.After && (f.Before == 0 || e.Index < f.Before) &&
		(f.Since.IsZero() || !e.Time.Before(f.Since)) && (f.Until.IsZero() || !e.Time.After(f.Until)) &&
		(f.For == "" || e.Kind == EventsMissed || e.About(f.For))
}

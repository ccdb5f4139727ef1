package api

import "time"

// Event is one thing that happened, in the order in which the cluster agreed
// on it. Index grows by one with each event.
type Event struct {
	Index   uint64    `json:"index"`
	Time    time.Time `json:"time,omitzero"`
	Kind    EventKind `json:"kind"`
	Object  string    `json:"object"` // the id of what it is about
	Job     string    `json:"job,omitempty"`
	Node    string    `json:"node,omitempty"` // the node's name
	Actor   string    `json:"actor,omitempty"`
	Message string    `json:"message,omitempty"`
	Task    *Task     `json:"task,omitempty"` // as it was after a task event
}

// EventKind says what happened.
type EventKind string

// The kinds of events. Scripts compare them: append only.
const (
	EventJobCreated      EventKind = "job.created"
	EventJobUpdated      EventKind = "job.updated"
	EventJobScaled       EventKind = "job.scaled"
	EventJobStopped      EventKind = "job.stopped"
	EventJobEnded        EventKind = "job.ended"
	EventJobRemoved      EventKind = "job.removed"
	EventTaskCreated     EventKind = "task.created"
	EventTaskPlaced      EventKind = "task.placed"
	EventTaskState       EventKind = "task.state"
	EventTaskRequeued    EventKind = "task.requeued"
	EventTaskStop        EventKind = "task.stop"
	EventTaskRemoved     EventKind = "task.removed"
	EventNodeJoined      EventKind = "node.joined"
	EventNodeState       EventKind = "node.state"
	EventNodeUpdated     EventKind = "node.updated"
	EventNodeRemoved     EventKind = "node.removed"
	EventTokenCreated    EventKind = "token.created"
	EventTokenUsed       EventKind = "token.used"
	EventTokenRevoked    EventKind = "token.revoked"
	EventPartition       EventKind = "partition.set"
	EventPartitionGone   EventKind = "partition.removed"
	EventPartitionMoved  EventKind = "partition.adjusted"
	EventTaskPreempted   EventKind = "task.preempted"
	EventTaskThawed      EventKind = "task.thawed"
	EventIncidentOpened  EventKind = "incident.opened"
	EventIncidentOver    EventKind = "incident.over"
	EventOfferMade       EventKind = "offer.made"
	EventOfferGone       EventKind = "offer.gone"
	EventBlobAdded       EventKind = "program.added"
	EventBlobRemoved     EventKind = "program.removed"
	EventClusterCreated  EventKind = "cluster.created"
	EventClusterRestored EventKind = "cluster.recovered"
)

// About tells whether the event is about that job, task or node.
func (e *Event) About(id string) bool {
	return id == e.Object || id == e.Job || id == e.Node || e.Task != nil && id == e.Task.NodeID
}

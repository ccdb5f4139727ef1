package api

import "time"

// Incident is a failure that was seen: what it was, what was done, and when it
// was over.
type Incident struct {
	Extra
	Revision uint64       `json:"revision,omitempty"` // index of the log entry that changed it last
	ID       uint64       `json:"id"`
	Kind     IncidentKind `json:"kind"`
	Object   string       `json:"object"` // the task or node
	Job      string       `json:"job,omitempty"`
	Node     string       `json:"node,omitempty"` // its name
	Message  string       `json:"message,omitempty"`
	Action   string       `json:"action"`          // what was done
	Count    int          `json:"count,omitempty"` // how often, if it came again before it was over
	Seen     time.Time    `json:"seen,omitzero"`
	Over     time.Time    `json:"over,omitzero"` // zero: it is not
}

// IncidentClose asks to close incidents by hand.
type IncidentClose struct {
	IDs []uint64 `json:"ids"`
}

// Validate checks that there is one, and not too many.
func (r *IncidentClose) Validate() error {
	if len(r.IDs) == 0 || len(r.IDs) > MaxIncidents {
		return FieldErrorf("ids", "%d of them is not within 1 to %d", len(r.IDs), MaxIncidents)
	}
	return nil
}

// IncidentKind says what failed.
type IncidentKind string

// The kinds of incidents. Scripts compare them: append only.
const (
	IncidentNodeLost     IncidentKind = "node-lost"
	IncidentDiskFull     IncidentKind = "disk-full"
	IncidentTaskFailed   IncidentKind = "task-failed"
	IncidentTaskOOM      IncidentKind = "task-oom"
	IncidentTaskLost     IncidentKind = "task-lost"
	IncidentStartsFail   IncidentKind = "starts-fail"   // no task starts on a node
	IncidentNodeAway     IncidentKind = "node-away"     // its daemon does not answer, the parent of its tasks does
	IncidentNodeStopped  IncidentKind = "node-stopped"  // on purpose, and it did not come back
	IncidentOutdated     IncidentKind = "node-outdated" // its program is older than the level of the cluster
	IncidentKeeperHangs  IncidentKind = "keeper-hangs"  // the parent of a node's tasks does not answer its daemon
	IncidentAudit        IncidentKind = "audit-broken"  // a node's audit was changed, or cannot be written
	IncidentClockOff     IncidentKind = "clock-off"     // a node's clock is not that of most
	IncidentStatesDiffer IncidentKind = "states-differ" // of the voters
	IncidentNodeCopied   IncidentKind = "node-copied"   // a second daemon with its identity
	IncidentFlooded      IncidentKind = "node-flooded"  // somebody asks a node for much more than it may have
	IncidentLogBroken    IncidentKind = "log-broken"    // a voter cannot write its Raft log
	IncidentRefilled     IncidentKind = "data-refilled" // a voter had lost something, and was sent it again
)

// Incidents are kept for a month and no longer than there is room.
const (
	IncidentsKept = 30 * 24 * time.Hour
	MaxIncidents  = 10_000
)

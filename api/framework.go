package api

import (
	"slices"
	"time"
)

// Framework is a program outside the cluster that takes offers of room, and decides what
// runs there. What it runs are tasks of a job of its own in each partition that it is in.
type Framework struct {
	Extra
	Revision   uint64    `json:"revision,omitempty"` // index of the log entry that changed it last
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	User       string    `json:"user,omitempty"`      // whom its tasks run as, if they do not say
	Principal  string    `json:"principal,omitempty"` // the name that it gave and proved
	Actor      string    `json:"actor,omitempty"`     // who connected it
	Host       string    `json:"host,omitempty"`
	URL        string    `json:"url,omitempty"` // of its pages
	Partitions []string  `json:"partitions"`    // in which it takes offers
	Failover   Duration  `json:"failover"`      // how long its tasks run on while it is not connected
	Connected  bool      `json:"connected"`
	Session    string    `json:"session,omitempty"` // that it is connected by, or was
	Since      time.Time `json:"since,omitzero"`    // it is connected, or not
	Created    time.Time `json:"created,omitzero"`
	Ended      time.Time `json:"ended,omitzero"` // it was removed, and never comes back
	Reason     string    `json:"reason,omitempty"`
	// Info is what it said of itself, as it was sent: the border to the API by which it
	// came reads it.
	Info []byte `json:"info,omitempty"`
}

// FrameworkStatus is a framework as a reader sees it, without what only the framework
// itself may know, and in those of its partitions that the reader sees.
type FrameworkStatus struct {
	*Framework
	Jobs    []string  `json:"jobs"`             // that have its tasks, one for each partition
	Counts  JobCounts `json:"counts"`           // of these tasks
	Offers  int       `json:"offers"`           // that it has not answered
	Offered Resources `json:"offered,omitzero"` // what is in them
	Held    Resources `json:"held,omitzero"`    // what its tasks hold; not in lists
}

// State is how a framework is, in a word.
func (f *Framework) State() string {
	switch {
	case !f.Ended.IsZero():
		return "removed"
	case f.Connected:
		return "connected"
	}
	return "away"
}

// OfferStatus is an offer as a reader sees it.
type OfferStatus struct {
	*Offer
	Node string `json:"node"` // its name
	Name string `json:"name"` // of the framework
}

// OfferRequest is room on one node that a framework waits for.
type OfferRequest struct {
	Partition string
	NodeID    string // "" = any node
	Need      Resources
}

// The bounds of frameworks.
const (
	MaxFrameworks       = 10_000          // that have not ended
	MaxEndedFrameworks  = 50              // that are remembered
	MaxFrameworkInfo    = 64 << 10        // bytes of Framework.Info
	MaxFrameworkTaskID  = 255             // bytes of an id that a framework chose, also of its own
	MaxFrameworkEnded   = 1000            // tasks of one job of a framework that have ended, and are remembered
	MaxFrameworkUnknown = 10_000          // tasks of one job that have ended, until the framework acknowledges some
	MaxFrameworkUpdates = 16              // changes of a task that wait to be acknowledged
	MaxExecutorUpdate   = 64 << 10        // bytes of ExecutorUpdate.Status
	MaxTaskUpdates      = 128 << 10       // bytes of the updates of a task that wait to be acknowledged, beyond the newest
	MaxFrameworkNews    = Bytes(64 << 20) // of all that a framework has not acknowledged, beyond which it starts nothing
	MaxExecutorTasks    = 1000            // that one executor has at a time, also such as it was not handed yet
)

// In reports whether the framework takes offers in a partition.
func (f *Framework) In(partition string) bool { return slices.Contains(f.Partitions, partition) }

// FrameworkTask is what of a task is its framework's.
type FrameworkTask struct {
	Extra
	Framework string   `json:"framework"`      // its id
	ID        string   `json:"id"`             // by which the framework knows the task
	Name      string   `json:"name,omitempty"` // likewise
	Spec      *JobSpec `json:"spec"`           // its own: the other tasks of its job have others
	Info      []byte   `json:"info,omitempty"` // as the framework sent it; of an executor what it is told of itself
	// Executor is the id by which the framework knows the executor that runs the task, or
	// that the task is.
	Executor   string `json:"executor,omitempty"`
	IsExecutor bool   `json:"isExecutor,omitempty"`
	// Digest is, of an executor, of what its framework says of it: all that it runs has to
	// say the same.
	Digest []byte `json:"digest,omitempty"`
	// Reserved is what of the task's resources is of reservations of its partition, which are
	// charged to that whether they are used or not.
	Reserved []Reserved `json:"reserved,omitempty"`
	GPUs     bool       `json:"gpus,omitempty"` // likewise: it began with access to them, its own or those of what it runs
	// Group is what tasks have in common that are started together, and end together if
	// one of them does not finish; GroupExecutor is the executor that the framework knows
	// them to be of, and which does not exist here.
	Group         string `json:"group,omitempty"`
	GroupExecutor string `json:"groupExecutor,omitempty"`
	Last          []byte `json:"last,omitempty"` // id of the last update of its executor that was taken
	// Updates are what became of it that the framework has not acknowledged, oldest first.
	Updates []FrameworkUpdate `json:"updates,omitempty"`
}

// FrameworkUpdate is a change of a task that its framework is told of until it
// acknowledges it.
type FrameworkUpdate struct {
	Extra
	ID      []byte       `json:"id"` // 16 bytes
	State   TaskState    `json:"state"`
	Reason  Reason       `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
	Healthy *bool        `json:"healthy,omitempty"`
	Check   *ProbeStatus `json:"check,omitempty"`
	Time    time.Time    `json:"time,omitzero"`
	Status  []byte       `json:"status,omitempty"` // as the executor said it: see ExecutorUpdate
	Back    bool         `json:"back,omitempty"`   // its node answers again, and nothing else is new
}

// Hosted reports whether the task has no process of its own: it is handed to the executor
// of its framework on its node.
func (t *Task) Hosted() bool {
	return t.Framework != nil && t.Framework.Executor != "" && !t.Framework.IsExecutor
}

// ExecutorUpdate is what the executor of a framework says of a task that it runs.
type ExecutorUpdate struct {
	ID     []byte `json:"id"`     // 16 bytes that the executor chose, and by which the framework acknowledges it
	Status []byte `json:"status"` // as it was sent, and completed by the node: the border to the API reads it
}

// Validate checks what is bounded of an update.
func (u *ExecutorUpdate) Validate() error {
	switch {
	case len(u.ID) != 16:
		return FieldErrorf("update.id", "has %d bytes, not 16", len(u.ID))
	case len(u.Status) == 0:
		return FieldErrorf("update.status", "is empty")
	case len(u.Status) > MaxExecutorUpdate:
		return FieldErrorf("update.status", "has %d bytes, at most %d are allowed", len(u.Status), MaxExecutorUpdate)
	}
	return nil
}

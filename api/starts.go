package api

import "time"

// StartTrouble is what is known of a node on which starts of tasks failed for
// its own reasons: its disk, its keeper, its cgroups. It is over with the first
// task that starts there again.
type StartTrouble struct {
	Extra
	Failed  []FailedStart `json:"failed"`          // the newest, each of another task
	Since   time.Time     `json:"since,omitzero"`  // the node gets no new tasks; zero: it does
	Again   time.Time     `json:"again,omitzero"`  // when one task is tried there again
	Trial   bool          `json:"trial,omitempty"` // that is now
	Message string        `json:"message,omitempty"`
}

// FailedStart is one of them.
type FailedStart struct {
	Extra
	Task  string    `json:"task"`
	Owner string    `json:"owner,omitempty"` // the user that it is charged to
	At    time.Time `json:"at"`
}

// Stopped reports whether the node gets no new tasks.
func (s *StartTrouble) Stopped() bool { return s != nil && !s.Since.IsZero() && !s.Trial }

// AvoidedNode is a node on which a task of a job could not start, as when its
// program is missing there: the others start elsewhere.
type AvoidedNode struct {
	Extra
	NodeID string    `json:"nodeID"`
	Node   string    `json:"node"`
	Reason Reason    `json:"reason"`
	At     time.Time `json:"at"`
}

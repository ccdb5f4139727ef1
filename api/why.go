package api

import "time"

// Why says why a job or task is in the state it is in.
type Why struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Summary string    `json:"summary"`         // one sentence
	RunAs   string    `json:"runAs,omitempty"` // who its tasks run as
	Nodes   []WhyNode `json:"nodes,omitempty"` // of a pending task: the first reason of each node
	Hints   []string  `json:"hints,omitempty"` // what would change it
	// Obstacles are what keeps a pending task from starting, the first first;
	// Remedies what would start it at once, each by itself. The texts above are
	// made of them.
	Obstacles []Obstacle `json:"obstacles,omitempty"`
	Remedies  []Remedy   `json:"remedies,omitempty"`
	// Nearest is the node that lacks least, Holders who holds what it lacks.
	Nearest  string    `json:"nearest,omitempty"`
	Holders  []string  `json:"holders,omitempty"`
	Holding  []Holder  `json:"holding,omitempty"` // what they are made of
	Estimate time.Time `json:"estimate,omitzero"` // when it starts, if nothing else happens
	Sure     Sure      `json:"sure,omitempty"`    // how sure that is, where the queue says so
}

// Expect takes over what the queue says of the start: nothing, if it knows no time.
func (w *Why) Expect(at time.Time, sure Sure) {
	if w.Estimate, w.Sure = at, sure; at.IsZero() {
		w.Sure = ""
	}
}

// WhyNode is what keeps a task off a node.
type WhyNode struct {
	Node     string   `json:"node"`
	Reason   string   `json:"reason"`
	Obstacle Obstacle `json:"obstacle,omitzero"` // what the reason is made of
}

// Plan is what submitting a spec would come to once nobody had anything more to
// decide, if no task ended by itself meanwhile.
type Plan struct {
	Job       string        `json:"job"`
	Action    string        `json:"action"`            // "create", "update", "nothing"
	Changes   []FieldChange `json:"changes,omitempty"` // of an update
	Tasks     int           `json:"tasks"`
	Fits      int           `json:"fits"`   // tasks that would run then, those that run now included
	Starts    int           `json:"starts"` // of those, started by it
	Waiting   int           `json:"waiting"`
	Obstacles []Obstacle    `json:"obstacles,omitempty"` // what the first of them waits for
	Restarts  []string      `json:"restarts,omitempty"`  // tasks that run now, and would end and start again
	Stops     []string      `json:"stops,omitempty"`     // those that would end
	GiveWay   []GaveWay     `json:"giveWay,omitempty"`   // in their order
	Nodes     []PlanNode    `json:"nodes"`               // where tasks would start
	RunAs     string        `json:"runAs"`               // who they would run as
	Lacks     []string      `json:"lacks,omitempty"`     // digests of what it needs and the cluster does not have: it is refused until they are uploaded
	Warnings  []string      `json:"warnings,omitempty"`
}

// GaveWay is a task from which something would be taken back.
type GaveWay struct {
	Task      string `json:"task"`
	Partition string `json:"partition"`
	Node      string `json:"node"`
	Freeze    bool   `json:"freeze,omitempty"` // it would stop in place, not end
	Cause     string `json:"cause"`
	// Notice is how long before it would be told, by which the room comes later.
	Notice Duration `json:"notice,omitempty"`
}

// PlanNode is how many of a plan's tasks a node would get.
type PlanNode struct {
	Node  string `json:"node"`
	Tasks int    `json:"tasks"`
}

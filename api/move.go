package api

import "time"

// MostLost is how much work a task of a batch may begin anew so that nodes are evened out.
const MostLost = 5 * time.Minute

// Move is a task that would leave its node, or would not.
type Move struct {
	Task    string   `json:"task"`
	Job     string   `json:"job"`
	Attempt int      `json:"attempt"` // that runs now
	From    string   `json:"from"`
	To      string   `json:"to,omitempty"`    // empty: it has no node to go to, stays, or ends
	Stays   bool     `json:"stays,omitempty"` // it runs on where it is
	Ends    bool     `json:"ends,omitempty"`  // it ends there: its framework decides whether another starts
	Why     string   `json:"why,omitempty"`
	Loses   Duration `json:"loses,omitempty"` // work that it begins anew
	Alone   bool     `json:"alone,omitempty"` // no other task of its job runs meanwhile
}

// DrainPlan is what the drain of a node would come to.
type DrainPlan struct {
	Node    string    `json:"node"`
	Moves   []Move    `json:"moves"`
	More    int       `json:"more,omitempty"`    // moves beside those that are listed
	Nowhere int       `json:"nowhere,omitempty"` // tasks that run now, and for which there would be no other node
	GiveWay []GaveWay `json:"giveWay,omitempty"` // in their order
	// Partial: more would happen than is looked at.
	Partial bool `json:"partial,omitempty"`
}

// RebalancePlan is a few moves that even out what nodes hold, in the order in which
// they are made.
type RebalancePlan struct {
	Moves  []Move     `json:"moves"`
	Nodes  []NodeLoad `json:"nodes"`
	Left   []Move     `json:"left,omitempty"` // tasks of the fullest nodes that stay, and why; one of each job
	More   bool       `json:"more,omitempty"` // further moves would help
	Spread float64    `json:"spread"`         // how far apart the fullest and the emptiest node are
	Then   float64    `json:"then"`           // after the moves
}

// NodeLoad is how full a node is: the larger one of the parts of its cpus and of its
// memory that tasks hold, from 0 to 1.
type NodeLoad struct {
	Node string  `json:"node"`
	Now  float64 `json:"now"`
	Then float64 `json:"then"` // after the moves
}

package api

import "time"

// HeaderLevel is, on a request to join and where a node says what it is, the
// highest level that its program knows. It is not a field, as programs from before
// levels refuse fields that they do not know. Those from before level 3 send
// none.
const HeaderLevel = "X-Mesita-Level"

// LevelStatus is the level of the cluster, and what its nodes know.
type LevelStatus struct {
	Level  int         `json:"level"`
	Next   int         `json:"next"`             // what all that count know: more than Level if it can be raised
	At     time.Time   `json:"at,omitzero"`      // when it is raised by itself
	Held   []string    `json:"held,omitempty"`   // names of the nodes that were told to hold it
	Behind []string    `json:"behind,omitempty"` // names of those that know no more than Level, or do not answer
	Nodes  []NodeLevel `json:"nodes"`
}

// NodeLevel is what one node knows.
type NodeLevel struct {
	Name    string    `json:"name"`
	Version string    `json:"version"` // of mesita, as far as is known
	Level   int       `json:"level"`   // the highest that it knows
	State   NodeState `json:"state"`
	Voter   bool      `json:"voter"`
	Answers bool      `json:"answers"`
}

// LevelRequest is a wish about the level: one of the two.
type LevelRequest struct {
	Hold  *bool `json:"hold,omitempty"`  // do not raise it by itself, or do so again
	Raise bool  `json:"raise,omitempty"` // raise it now, if all that count know more
}

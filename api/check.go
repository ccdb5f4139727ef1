package api

// Condition says whether something that was looked at is as it should be.
type Condition string

// Conditions.
const (
	CheckOK   Condition = "ok"
	CheckWarn Condition = "warn" // it works, and may not for long
	CheckFail Condition = "fail"
)

// Check is what was found of one thing that a node, or the cluster, needs.
type Check struct {
	Node  string    `json:"node,omitempty"` // "" is the cluster
	What  string    `json:"what"`
	State Condition `json:"state"`
	Found string    `json:"found"`
	Fix   string    `json:"fix,omitempty"` // what to do about it
}

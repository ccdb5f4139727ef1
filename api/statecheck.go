package api

// StateCheck is what was last found out about whether all voters hold the same
// state.
type StateCheck struct {
	Extra
	Index   uint64        `json:"index"`             // of the log entry after which each voter hashes its state
	Of      uint64        `json:"of,omitempty"`      // the earlier such entry that the answers are of
	Answers []StateAnswer `json:"answers,omitempty"` // by node id
	Odd     []string      `json:"odd,omitempty"`     // ids of voters that differ from most
	Split   bool          `json:"split,omitempty"`   // they differ, and no one is in the majority
}

// StateAnswer is what one voter found.
type StateAnswer struct {
	Extra
	NodeID  string `json:"nodeID"`
	Version string `json:"version"` // of mesita, and which build: only voters of one are compared
	State   string `json:"state"`   // hash of the state
	Log     string `json:"log"`     // hash of all entries since the cluster checks its state
}

// Same reports whether two voters hold the same.
func (a *StateAnswer) Same(b *StateAnswer) bool { return a.State == b.State && a.Log == b.Log }

package cluster

import (
	"github.com/mesita/mesita/cluster/consensus"
)

// changeSelf changes what node.json holds, here and on disk.
func (a *Agent) changeSelf(change func(*nodeFile)) error {
	a.selfMu.Lock()
	defer a.selfMu.Unlock()
	next := *a.self
	change(&next)
	if err := a.dir.save(&next); err != nil {
		return err
	}
	change(a.self) // only what is read under the lock, or before the node runs
	return nil
}

// votedBefore is how far this node had come in Raft; nil if it never took part.
// Nor did it if the cluster that it makes has no entry yet.
func (a *Agent) votedBefore() *consensus.Standing {
	if a.pending != nil {
		return nil
	}
	return a.self.Raft
}

// rememberStanding keeps outside of the raft folder how far this node has come.
func (a *Agent) rememberStanding(s consensus.Standing) error {
	a.selfMu.Lock()
	same := a.self.Raft != nil && *a.self.Raft == s
	a.selfMu.Unlock()
	if same {
		return nil
	}
	return a.changeSelf(func(n *nodeFile) { n.Raft = &s })
}

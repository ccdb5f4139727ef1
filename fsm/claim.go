package fsm

import (
	"fmt"

	"github.com/mesita/mesita/api"
)

// NodeClaim makes one start of a node's daemon, its session, the holder of the
// node's identity, or records that another was turned away: a data folder that
// was copied has the same key. Its value is the *api.Node.
type NodeClaim struct {
	Meta
	ID      string `json:"id"`
	Session string `json:"session"`
	Over    string `json:"over,omitempty"`    // the holder that the decision was made on
	Starts  uint64 `json:"starts,omitempty"`  // of the claimant's folder
	Addr    string `json:"addr,omitempty"`    // where the claimant is
	Refused bool   `json:"refused,omitempty"` // the holder answers
}

func (c *NodeClaim) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	switch {
	case old.State == api.NodeGone:
		return nil, removedNode()
	case old.Session == c.Session:
		return old, nil
	case old.Session != c.Over:
		return nil, conflict("another start of node %s now holds its identity: try again", old.Name)
	case c.Refused:
		x.openIncident(api.Incident{Kind: api.IncidentNodeCopied, Object: old.ID, Node: old.Name,
			Message: fmt.Sprintf("a second daemon with its identity began at %s, while the one at %s answers: the data folder there is a copy", c.Addr, old.Addr),
			Action:  "it was turned away; that machine needs a data folder and a join token of its own"})
		return old, nil
	}
	n := *old
	n.Session, n.DaemonStarts = c.Session, c.Starts
	if old.Session != "" {
		x.closeIncident(api.IncidentNodeCopied, n.ID, "a new start of the node holds its identity")
	}
	x.putNode(&n)
	return &n, nil
}

// checkSession refuses the word of a daemon that no longer holds its node's
// identity. A program that knows no sessions says none.
func checkSession(n *api.Node, session string) error {
	if n.Session == "" || session == "" || session == n.Session {
		return nil
	}
	return &api.Error{Code: api.CodeConflict, Field: api.FieldSession, Message: fmt.Sprintf("another daemon, at %s, holds the identity of node %s", n.Addr, n.Name)}
}

// HoldsSession is nil if a daemon with that session speaks for the node.
func (v *View) HoldsSession(nodeID, session string) error {
	if n := v.Node(nodeID); n != nil {
		return checkSession(n, session)
	}
	return nil
}

// Copied tells what is wrong with the identity of a node, "" if nothing is.
func (v *View) Copied(nodeID string) string {
	if n := v.t.newestOf(api.IncidentNodeCopied, nodeID); n != nil && n.Over.IsZero() {
		return n.Message
	}
	return ""
}

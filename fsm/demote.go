package fsm

import "github.com/mesita/mesita/api"

// NodeDemote takes a node's right to vote, and has the key of the CA changed, which
// that node may have. Its value is the *api.Node.
type NodeDemote struct {
	Meta
	ID string `json:"id"`
}

func (c *NodeDemote) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	switch {
	case err != nil:
		return nil, err
	case old.State == api.NodeGone:
		return nil, conflict("node %s was removed", old.Name)
	case old.WorkerOnly:
		return old, nil
	case old.VoterOnly:
		return nil, conflict("node %s does nothing but vote: remove it with `mesita node rm %s`", old.Name, old.Name)
	}
	others := 0
	for r := range x.nodes.all() {
		if r.node.ID != old.ID && r.node.State != api.NodeGone && !r.node.WorkerOnly {
			others++
		}
	}
	if others == 0 {
		return nil, conflict("no other node may vote: let one with `mesita node promote NAME` first")
	}
	n := *old
	n.WorkerOnly = true
	x.happened(api.Event{Kind: api.EventNodeUpdated, Object: n.ID, Node: n.Name, Message: "may not vote any more: the key of the CA, which it may have, is changed"})
	x.putNode(&n)
	x.oweCA()
	return &n, nil
}

// oweCA has the key of the CA changed, by whoever leads.
func (x *tx) oweCA() {
	if x.authority == nil {
		return
	}
	a := *x.authority
	a.CADue++
	x.authority = &a
	x.touch(TableCluster, x.cluster.ID)
}

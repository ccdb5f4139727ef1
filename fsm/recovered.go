package fsm

import "github.com/mesita/mesita/api"

// ClusterRecovered records that the cluster continues with one voter alone, after
// its majority was lost for good. It changes nothing: the event is all.
type ClusterRecovered struct {
	Meta
	NodeID string `json:"nodeID"` // that voter
	Cause  string `json:"cause"`
}

func (c *ClusterRecovered) apply(x *tx) (any, error) {
	n, err := x.node(c.NodeID)
	if err != nil {
		return nil, err
	}
	if x.cluster == nil {
		return nil, conflict("the cluster is not made yet")
	}
	x.happened(api.Event{Kind: api.EventClusterRestored, Object: x.cluster.ID, Node: n.Name, Message: c.Cause})
	return nil, nil
}

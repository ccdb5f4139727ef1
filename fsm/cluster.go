package fsm

import "github.com/mesita/mesita/api"

// ClusterSet changes what the cluster is to hold of itself. Its value is the
// *api.Cluster.
type ClusterSet struct {
	Meta
	NoLocalAdmin bool `json:"noLocalAdmin,omitempty"`
}

func (c *ClusterSet) apply(x *tx) (any, error) {
	switch {
	case x.cluster == nil:
		return nil, api.Errorf(api.CodeUnavailable, "the cluster is not made yet")
	case x.cluster.NoLocalAdmin == c.NoLocalAdmin:
		return x.cluster, nil
	}
	is := *x.cluster
	is.NoLocalAdmin = c.NoLocalAdmin
	x.cluster = &is
	what := "root of a machine that does not vote is an admin"
	if is.NoLocalAdmin {
		what = "root of a machine that does not vote is no admin any more"
	}
	x.touch(TableCluster, is.ID)
	x.happened(api.Event{Kind: api.EventClusterSet, Object: is.ID, Message: what})
	return &is, nil
}

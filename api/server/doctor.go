package server

import (
	"context"
	"net/url"
	"slices"
	"sort"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
)

// checksAnswer is how checks are listed.
type checksAnswer struct {
	Items []api.Check `json:"items"`
}

func localDoctor(c *call) (any, error) {
	return exchange.ListOf(slices.Values(c.Local.Examine(c.R.Context()))), nil
}

// doctor has each node, or one, look at itself and at the ways to the others.
func doctor(c *call) (any, error) {
	only := ""
	if c.Query.Has("node") {
		n, err := findNode(c.Store.View(), c.Query.Text("node"))
		if err != nil {
			return nil, api.InField("node", err)
		}
		only = n.ID
	}
	out := []api.Check{}
	gone := gather(c, only, func(ctx context.Context, n *api.Node) ([]api.Check, error) {
		if n.ID == c.Cluster.NodeID() {
			return c.Local.Examine(ctx), nil
		}
		var a checksAnswer
		err := c.askAudit(ctx, n, "/v1/local/doctor", url.Values{}, &a)
		return a.Items, err
	}, func(found []api.Check) { out = append(out, found...) })
	sort.SliceStable(out, func(i, j int) bool { return out[i].Node < out[j].Node })
	l := exchange.ListOf(slices.Values(out))
	l.Extra = missing{gone}
	return l, nil
}

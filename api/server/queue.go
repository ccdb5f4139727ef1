package server

import (
	"context"
	"iter"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
)

// listQueue lists what waits. Places count what the caller does not see, too: it is
// served before what it sees.
func listQueue(c *call) (any, error) {
	v, path := c.Store.View(), c.Query.Text("partition")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	if path != "" && v.Partition(path) == nil {
		return nil, noPartition(path)
	}
	var rows iter.Seq2[*api.Job, func() *api.Queued]
	err := c.Ponder(func(ctx context.Context) (err error) {
		v, rows, err = c.Queue.List(ctx, c.Store.View)
		return err
	})
	if err != nil {
		return nil, err
	}
	sees := c.sight(v)
	return exchange.List{Items: func(yield func(any) bool) {
		for j, row := range rows {
			if path != "" && !api.PathWithin(j.Spec.Partition, path) || !sees.job(j.ID) {
				continue
			}
			whole := func() any {
				q := row()
				if !sees.all {
					q.Hide(sees.job)
				}
				if !sees.allOf(j) {
					q.User = "" // who made it elsewhere
				}
				return q
			}
			if !yield(exchange.Many{N: j.Counts.Pending, Whole: whole}) {
				return
			}
		}
	}}, nil
}

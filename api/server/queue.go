package server

import (
	"context"
	"iter"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
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
	shown := func(yield func(*api.Job, func() *api.Queued) bool) {
		for j, row := range rows {
			if (path == "" || api.PathWithin(j.Spec.Partition, path)) && sees.job(j.ID) && !yield(j, row) {
				return
			}
		}
	}
	c.goOn(shown)
	return exchange.List{Total: waitingWithin(v, path, sees.all), Items: func(yield func(any) bool) {
		var before anchors
		for j, row := range shown {
			behind := before
			whole := func() any {
				q := row()
				q.Behind(behind.jobs())
				if !sees.all {
					q.Hide(sees.job)
				}
				if !sees.AllOf(j) {
					q.User = "" // who made it elsewhere
				}
				return q
			}
			if !yield(exchange.Many{N: j.Counts.Pending, Whole: whole}) {
				return
			}
			copy(before[1:], before[:])
			before[0] = j.ID
		}
	}}, nil
}

// waitingWithin counts what waits in a partition and those below it, "" being all, without
// a look at the rows; nil for who does not see all of them.
func waitingWithin(v *fsm.View, path string, all bool) func() int {
	if !all {
		return nil
	}
	return func() (n int) {
		for p := range v.Partitions() {
			if path == "" || api.PathWithin(p.Path, path) {
				n += v.Usage(p.Path).Pending
			}
		}
		return n
	}
}

// anchors are the jobs before a row, the last one first. They stood one behind the
// other, so a page continues behind those that do still: one that stands apart moved back,
// and what is between was told on no page, or another came between. If none waits any
// more it begins with the first row. Rows may be told again, and none is left out that
// stood behind, unless all of them moved back.
type anchors [7]string

func (a *anchors) jobs() []string {
	if i := slices.Index(a[:], ""); i >= 0 {
		return a[:i]
	}
	return a[:]
}

// goOn has the page begin behind what the page before ended with, wherever that is now:
// of its jobs those that are furthest ahead.
func (c *call) goOn(rows iter.Seq2[*api.Job, func() *api.Queued]) {
	after := c.After()
	if after == "" {
		return
	}
	named := api.QueueAnchors(after)
	key := ""
	for j, row := range rows {
		if slices.Contains(named, j.ID) {
			key = api.QueueAfter(row())
		} else if key != "" {
			break
		}
	}
	c.GoOnAfter(key)
}

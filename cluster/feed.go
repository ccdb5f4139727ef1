package cluster

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
)

// feed is what a worker knows of the cluster's state: what concerns it, as of an
// index of the log. It merges the rows that voters send, and refuses those that
// would take it back, since an old list stops tasks that should run.
type feed struct {
	index uint64 // 0 = nothing is known
	have  map[string]api.Assignment
	gone  map[string]bool // ids of nodes that were removed
	told  bool            // gone is all of them
}

// take merges a row. After an error the feed is as before.
func (f *feed) take(r *server.FeedRow) error {
	if r.Index < f.index {
		return fmt.Errorf("a row is of the state at %d, and this node holds that at %d", r.Index, f.index)
	}
	next := maps.Clone(f.have)
	if next == nil {
		next = map[string]api.Assignment{}
	}
	for _, a := range r.Put {
		if a.Task == nil || a.Spec == nil {
			return fmt.Errorf("a row at %d has an assignment without a task or a spec", r.Index)
		}
		next[a.Task.ID] = a
	}
	if r.Begin {
		held := make(map[string]bool, len(r.Held))
		for _, id := range r.Held {
			if _, ok := next[id]; !ok {
				return fmt.Errorf("a row at %d does not say what task %s is", r.Index, id)
			}
			held[id] = true
		}
		maps.DeleteFunc(next, func(id string, _ api.Assignment) bool { return !held[id] })
	}
	for _, id := range r.Over {
		delete(next, id)
	}
	f.index, f.have = r.Index, next
	f.roll(r)
	return nil
}

// list is what this node should run.
func (f *feed) list() []api.Assignment { return slices.Collect(maps.Values(f.have)) }

// roll takes in who belongs to the cluster no more.
func (f *feed) roll(r *server.FeedRow) {
	if r.Begin {
		f.told, f.gone = r.Told, nil
	}
	if len(r.Gone) == 0 {
		return
	}
	gone := maps.Clone(f.gone) // who reads it has the old one
	if gone == nil {
		gone = map[string]bool{}
	}
	for _, id := range r.Gone {
		gone[id] = true
	}
	f.gone = gone
}

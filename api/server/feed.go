package server

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// feedCheck is how often a voter that feeds a node looks whether it still
// belongs to a cluster that decides.
const feedCheck = 2 * time.Second

// FeedRow is one line of a node's feed: what changed of all that the node needs
// to know of the cluster's state. A row without content is a sign of life.
type FeedRow struct {
	Index uint64           `json:"index"`           // of the state that the node is up to date with then; where to continue from
	Begin bool             `json:"begin,omitempty"` // the first row of an answer: what Held does not name is over
	Held  []string         `json:"held,omitempty"`  // with Begin: ids of all tasks that the node should run
	Put   []api.Assignment `json:"put,omitempty"`
	Over  []string         `json:"over,omitempty"` // ids of tasks
	Node  *api.Node        `json:"node,omitempty"` // the node itself, at first and when it changed
	// Bounds are all limits that bound the CPU of what the node should run, at
	// first and when one moved by a tenth; nil: as before.
	Bounds *[]api.CPUBound `json:"bounds,omitempty"`

	// Volumes are the folders of all volumes that the node has to keep, at first and when one
	// was made or destroyed; nil: as before.
	Volumes *[]string `json:"volumes,omitempty"`

	Gone  []string `json:"gone,omitempty"`  // ids of nodes that were removed; with Begin all of them
	Told  bool     `json:"told,omitempty"`  // with Begin: Gone is told, which a program of before does not
	Level int      `json:"level,omitempty"` // of the cluster, with Begin and when it rose

	Ring *api.GossipRing `json:"ring,omitempty"` // with Begin and when it changed
	CA   *api.CARoots    `json:"ca,omitempty"`   // with Begin and when it changed, if it ever did
}

// Feed makes the rows for one node from the views of one voter. Each
// assignment has the index at which it changed last, so it continues after any
// index, and needs no history for it.
type Feed struct {
	node  string
	after uint64
	begun bool
	sent  map[string]api.Assignment
	self  *api.Node

	volumes *[]string
	bounds  Bounds
}

// NewFeed continues after an index, 0 = from the start.
func NewFeed(node string, after uint64) *Feed {
	return &Feed{node: node, after: after, sent: map[string]api.Assignment{}}
}

// Row is what the node lacks of a view, and whether that is anything. The view
// must not be older than the index after which the feed continues.
func (f *Feed) Row(v *fsm.View) (r FeedRow, news bool) {
	r = FeedRow{Index: v.Index(), Begin: !f.begun}
	there := map[string]bool{}
	all := v.Assignments(f.node)
	for _, a := range all {
		id := a.Task.ID
		there[id] = true
		if r.Begin {
			r.Held = append(r.Held, id)
		}
		if old, ok := f.sent[id]; ok && old == a { // values of a view never change
			continue
		}
		if !r.Begin || changedAfter(v, a, f.after) {
			r.Put = append(r.Put, a)
		}
		f.sent[id] = a
	}
	for id := range f.sent {
		if !there[id] {
			r.Over = append(r.Over, id)
			delete(f.sent, id)
		}
	}
	if n := v.Node(f.node); n != f.self {
		r.Node, f.self = n, n
	}
	f.begun = true
	// A state that does not know the node is from before it, and knows none of its volumes.
	if folders := v.VolumeFolders(f.node); f.self != nil && (f.volumes == nil || !slices.Equal(*f.volumes, folders)) {
		r.Volumes, f.volumes = &folders, &folders
	}
	r.Bounds = f.bounds.Of(v, all)
	return r, r.Begin || len(r.Put) > 0 || len(r.Over) > 0 || r.Node != nil || r.Volumes != nil || r.Bounds != nil
}

// Look is a row with what may have changed though nothing of the node's own did,
// and whether that is anything.
func (f *Feed) Look(v *fsm.View) (r FeedRow, news bool) {
	r.Index, r.Bounds = v.Index(), f.bounds.Again(v)
	return r, r.Bounds != nil
}

// changedAfter reports whether an assignment may have changed after an index.
// What changed last below level 1 has no revision, and may.
func changedAfter(v *fsm.View, a api.Assignment, index uint64) bool {
	job := v.Job(a.Task.Job)
	return job == nil || a.Task.Revision == 0 || job.Revision == 0 || max(a.Task.Revision, job.Revision) > index
}

// watchFeed streams its feed to the calling node. Any voter that has applied
// what the node holds may feed it; one that knows nothing yet begins with the
// leader, as an old list would stop tasks.
func watchFeed(c *call) (any, error) {
	after := c.Query.Index("after")
	if err := c.mayFeed(after); err != nil {
		return nil, err
	}
	w := c.Store.WatchKey(c.ID.NodeID, fsm.TableNodeTasks, fsm.TableNodes, fsm.TableReservations)
	defer w.Close()
	out := exchange.NewStream(c.Call)
	if out.Begin(exchange.NDJSON) != nil {
		return exchange.Done{}, nil
	}
	check := time.NewTimer(untilCheck(time.Now()))
	defer check.Stop()
	feed, told := NewFeed(c.ID.NodeID, after), time.Now()
	var roll rollCall
	for {
		var row FeedRow
		news := false
		select {
		case <-c.R.Context().Done():
			return exchange.Done{}, nil
		case <-check.C:
			check.Reset(untilCheck(time.Now()))
			if c.Cluster.LeaderID() == "" {
				return exchange.Done{}, nil // another voter may know more
			}
			v := c.Store.View()
			row, news = feed.Look(v)
			news = news || time.Since(told) >= nodeHeartbeat
			if feed.begun {
				news = roll.add(&row, c.gone.of(v, time.Now()), v) || news
			}
		case <-w.Ready():
			w.Take()
			v := c.Store.View()
			if n := v.Node(c.ID.NodeID); n != nil && n.State == api.NodeGone {
				return exchange.Done{}, nil
			}
			if row, news = feed.Row(v); row.Begin {
				roll.add(&row, c.gone.of(v, time.Now()), v)
				row.Told = v.Does(fsm.Revisions)
			}
		}
		if !news {
			continue
		}
		if out.JSON(row) != nil {
			return exchange.Done{}, nil
		}
		told = time.Now()
	}
}

// untilCheck is the time until the next look. All feeds look at the same moments:
// a voter that feeds many nodes is woken once for all of them.
func untilCheck(now time.Time) time.Duration {
	return feedCheck - time.Duration(now.UnixNano()%int64(feedCheck))
}

// mayFeed reports whether the caller may be fed, and by this node if it holds the
// state up to an index.
func (c *call) mayFeed(after uint64) error {
	if err := c.nodeOnly(); err != nil {
		return err
	}
	if err := c.Store.View().HoldsSession(c.ID.NodeID, c.ID.Session); err != nil {
		return err
	}
	if c.Query.Err != nil {
		return c.Query.Err
	}
	switch has := c.Store.View().Index(); {
	case !c.Cluster.HasReplica() || c.Cluster.LeaderID() == "":
		return api.Errorf(api.CodeUnavailable, "node %s does not follow the log: ask another", c.NodeName)
	case after == 0 && !c.Cluster.IsLeader():
		return api.Errorf(api.CodeUnavailable, "a feed begins with the leader, and node %s is not: ask the leader", c.NodeName)
	case has < after:
		return api.Errorf(api.CodeUnavailable, "node %s has applied the log up to %d, and you hold %d: ask another", c.NodeName, has, after)
	}
	return nil
}

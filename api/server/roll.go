package server

import (
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Member is what a voter knows of a node that another asks about.
type Member struct {
	State   string `json:"state"`             // MemberIn, MemberGone or MemberNever
	Program bool   `json:"program,omitempty"` // it has a task that needs the program that was asked about
	Out     bool   `json:"out,omitempty"`     // the leader says: it may not vote, and takes no part in Raft
}

// What a node may be to a cluster.
const (
	MemberIn    = "member"
	MemberGone  = "removed"
	MemberNever = "none"
)

// getRing tells a node that was away the keys of gossip: without them it hears
// of nobody who could.
func getRing(c *call) (any, error) {
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	a := c.Store.View().Authority()
	if !c.Cluster.HasReplica() || a == nil {
		return nil, api.Errorf(api.CodeUnavailable, "node %s does not know the cluster's state now: ask another", c.NodeName)
	}
	return a.Ring(), nil
}

// getMember answers nodes that have no copy of the state. That a node is not in
// it the leader alone knows.
func getMember(c *call) (any, error) {
	if err := c.nodeOnly(); err != nil {
		return nil, err
	}
	id, v := c.Query.Text("id"), c.Store.View()
	n := v.Node(id)
	switch {
	case n != nil && n.State == api.NodeGone:
		return Member{State: MemberGone}, nil
	case !c.Cluster.HasReplica() || n == nil && !c.Cluster.IsLeader():
		return nil, api.Errorf(api.CodeUnavailable, "node %s does not know all of the cluster's state now: ask the leader", c.NodeName)
	case n == nil:
		return Member{State: MemberNever}, nil
	}
	return Member{State: MemberIn, Program: Needs(v, id, c.Query.Text("program")), Out: n.WorkerOnly && c.Cluster.OutOfRaft(id)}, nil
}

// Needs reports whether a node has a task that needs an upload.
func Needs(v *fsm.View, nodeID, digest string) bool {
	return digest != "" && slices.ContainsFunc(v.Assignments(nodeID), func(a api.Assignment) bool { return a.Spec.Needs(digest) })
}

// goneNodes are the nodes that were removed, the latest last. One list, looked
// up now and then, is for all feeds.
type goneNodes struct {
	mu    sync.Mutex
	at    time.Time
	index uint64
	list  []goneNode
}

type goneNode struct {
	id string
	at uint64 // index of its removal
}

// goneCheck is how old the list may be.
const goneCheck = 500 * time.Millisecond

func (g *goneNodes) of(v *fsm.View, now time.Time) []goneNode {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.index != 0 && (v.Index() <= g.index || now.Sub(g.at) < goneCheck) {
		return g.list
	}
	var list []goneNode
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			list = append(list, goneNode{n.ID, n.Revision})
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].at < list[j].at })
	g.list, g.index, g.at = list, v.Index(), now
	return list
}

// rollCall is what one feed told of who belongs to the cluster.
type rollCall struct {
	begun bool
	last  uint64 // index of the latest removal that was told
	level fsm.Level
	keys  *api.Authority
}

// add puts what is news into a row, and reports whether there is any.
func (r *rollCall) add(row *FeedRow, gone []goneNode, v *fsm.View) (news bool) {
	for _, n := range gone {
		if !r.begun || n.at > r.last {
			row.Gone = append(row.Gone, n.id)
		}
	}
	if r.begun = true; len(gone) > 0 {
		r.last = gone[len(gone)-1].at
	}
	if l := v.Level(); l != r.level {
		row.Level, r.level, news = int(l), l, true
	}
	if a := v.Authority(); a != r.keys && v.Does(fsm.GossipKeys) {
		row.Ring, r.keys, news = a.Ring(), a, true
		if a.CAStep > 0 {
			row.CA = a.CAs()
		}
	}
	return news || len(row.Gone) > 0
}

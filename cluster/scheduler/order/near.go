package order

import "github.com/mesita/mesita/api"

// Starts is what a pass has decided to start so far.
type Starts interface {
	Len() int
	At(i int) (job string, slot int)
}

// Near is where the other jobs are that a job wants to be with, or away from.
type Near struct {
	*api.Neighbours
	nodes  []*api.Node // of the slots
	starts Starts      // what begins beside it
	seen   int         // of that
}

// NewNear begins with where they are in the state.
func NewNear(at *api.Neighbours, nodes []*api.Node, starts Starts) *Near {
	n := &Near{Neighbours: at, nodes: nodes, starts: starts}
	n.follow()
	return n
}

// follow looks at what the pass started since, and reports whether that changes
// where the job may go.
func (n *Near) follow() (changed bool) {
	for ; n.seen < n.starts.Len(); n.seen++ {
		job, slot := n.starts.At(n.seen)
		if n.Note(job, n.nodes[slot]) {
			changed = true
		}
	}
	return changed
}

// Against names the job that keeps the task off a node, and how.
func (n *Near) Against(node *api.Node) (kind api.ObstacleKind, job string) {
	switch _, a := n.Check(node); {
	case a == nil:
		return "", ""
	case a.Away:
		return api.ObstacleAway, a.Job
	default:
		return api.ObstacleNear, a.Job
	}
}

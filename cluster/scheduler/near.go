package scheduler

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// near is where the other jobs are that a job wants to be with, or away from.
type near struct {
	*api.Neighbours
	nodes   []*api.Node // of the slots
	started *started    // what begins beside it
	seen    int         // of that
}

func newNear(v *fsm.View, spec *api.JobSpec, nodes []*api.Node, s *started) *near {
	n := &near{Neighbours: v.Neighbours(spec), nodes: nodes, started: s}
	n.follow()
	return n
}

// follow looks at what the pass started since, and reports whether that changes
// where the job may go.
func (n *near) follow() (changed bool) {
	for ; n.seen < len(n.started.all); n.seen++ {
		x := n.started.all[n.seen]
		if n.Note(x.job.ID, n.nodes[x.slot]) {
			changed = true
		}
	}
	return changed
}

// against names the job that keeps the task off a node, and how.
func (n *near) against(node *api.Node) (kind api.ObstacleKind, job string) {
	switch _, a := n.Check(node); {
	case a == nil:
		return "", ""
	case a.Away:
		return api.ObstacleAway, a.Job
	default:
		return api.ObstacleNear, a.Job
	}
}

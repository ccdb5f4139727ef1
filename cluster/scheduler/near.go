package scheduler

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// near is where the other jobs are that a job wants to be with, or away from.
type near struct {
	wants []api.Affinity
	at    []map[string]bool // for each, the values of its attribute where they are
	self  string

	nodes   []*api.Node // of the slots
	started *started    // what begins beside it
	seen    int         // of that
}

func newNear(v *fsm.View, spec *api.JobSpec, nodes []*api.Node, s *started) *near {
	n := &near{wants: spec.Affinity, self: spec.Name, nodes: nodes, started: s}
	for _, a := range spec.Affinity {
		at := map[string]bool{}
		for t := range v.MadeTasks(a.Job) {
			if t.Holds() {
				if node := v.Node(t.NodeID); node != nil {
					at[placeOf(node, a)] = true
				}
			}
		}
		n.at = append(n.at, at)
	}
	n.follow()
	return n
}

// follow looks at what the pass started since, and reports whether that changes
// where the job may go.
func (n *near) follow() (changed bool) {
	for ; n.seen < len(n.started.all); n.seen++ {
		x := n.started.all[n.seen]
		for i, a := range n.wants {
			if at := placeOf(n.nodes[x.slot], a); a.Job == x.job.ID && !n.at[i][at] {
				n.at[i][at], changed = true, true
			}
		}
	}
	return changed
}

func placeOf(n *api.Node, a api.Affinity) string {
	if a.Attr == "" {
		return n.ID
	}
	return attrOf(n, a.Attr)
}

// check counts the wishes that a node does not meet, and gives the reason if
// it must not be used.
func (n *near) check(node *api.Node) (missed int, reason string) {
	for i, a := range n.wants {
		if n.at[i][placeOf(node, a)] != a.Away {
			continue
		}
		if !a.Away && a.Job == n.self && len(n.at[i]) == 0 {
			continue // the first of a job that wants to be with itself
		}
		if a.Soft {
			missed++
			continue
		}
		if a.Away {
			return missed, "has tasks of " + a.Job + " near it"
		}
		return missed, "has no tasks of " + a.Job + " near it"
	}
	return missed, ""
}

// against names the job that keeps the task off a node, and how.
func (n *near) against(node *api.Node) (kind api.ObstacleKind, job string) {
	for i, a := range n.wants {
		alone := !a.Away && a.Job == n.self && len(n.at[i]) == 0
		if a.Soft || alone || n.at[i][placeOf(node, a)] != a.Away {
			continue
		}
		if a.Away {
			return api.ObstacleAway, a.Job
		}
		return api.ObstacleNear, a.Job
	}
	return "", ""
}

// placed notes a task of the job itself; it tells whether that changes where
// the next may go.
func (n *near) placed(node *api.Node) bool {
	changed := false
	for i, a := range n.wants {
		if a.Job == n.self && !n.at[i][placeOf(node, a)] {
			n.at[i][placeOf(node, a)] = true
			changed = true
		}
	}
	return changed
}

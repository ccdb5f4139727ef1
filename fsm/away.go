package fsm

import (
	"time"

	"github.com/mesita/mesita/api"
)

// NodeAway records that a node's daemon does not answer, or stopped on purpose,
// while the parent of its tasks does. The node gets nothing new, and its tasks
// stay.
type NodeAway struct {
	Meta
	ID    string        `json:"id"`
	State api.NodeState `json:"state"` // unreachable or down
	Since time.Time     `json:"since"` // the node's Since that the decision was made on
}

func (c *NodeAway) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	if c.State != api.NodeUnreachable && c.State != api.NodeDown {
		return nil, conflict("a node cannot be away and %s", c.State)
	}
	if old.State != api.NodeReady && old.State != api.NodeDraining || !old.Since.Equal(c.Since) {
		return nil, conflict("node %s is now %s", old.Name, old.State)
	}
	n := *old
	n.State, n.Since, n.Away, n.Reason = c.State, c.At, true, "its daemon is away; its tasks run on"
	if c.State == api.NodeDown {
		n.Reason = "was stopped; its tasks run on"
	}
	x.happened(api.Event{Kind: api.EventNodeState, Object: n.ID, Node: n.Name, Message: n.State.String() + ": " + n.Reason})
	x.nodeIncidents(old, &n)
	x.putNode(&n)
	x.dropOffers(n.ID, "its daemon is away")
	return &n, nil
}

// NodeRelease gives up on attempts on a node that is away: they start
// elsewhere, and end there once the node hears of it. Its value is how many
// were given up.
type NodeRelease struct {
	Meta
	ID       string    `json:"id"`
	Since    time.Time `json:"since"` // the node's Since that the decision was made on
	Attempts []Victim  `json:"attempts"`
}

func (c *NodeRelease) apply(x *tx) (any, error) {
	n, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	if !n.Away || !n.Since.Equal(c.Since) {
		return nil, conflict("node %s is now %s", n.Name, n.State)
	}
	released := 0
	for _, a := range c.Attempts {
		t := x.taskAt(a.Job, a.Index)
		if t == nil || t.NodeID != n.ID || t.Attempt != a.Attempt || t.State.Final() || x.onlyOnce(t) {
			continue
		}
		why := "the daemon of node " + t.Node + " was away for too long"
		if t.State == api.TaskStaging && x.does(PlainWords) {
			why = "node " + t.Node + " had not begun it when its daemon went away"
		}
		x.lose(t, api.TaskUnreachable, why)
		released++
	}
	return released, nil
}

// replaceLost ends the attempts on a node that is lost or removed, so that they
// start elsewhere. What may run only once waits for a node that may come back.
func (x *tx) replaceLost(n *api.Node) {
	state := api.TaskUnreachable
	if n.State == api.NodeGone {
		state = api.TaskGoneByOperator
	}
	for _, t := range x.nodeTaskList(n.ID) {
		if t.Framework != nil { // it may have ended with its executor, or its group
			if t = x.taskAt(t.Job, t.Index); t.State.Final() {
				continue
			}
		}
		switch {
		case n.State == api.NodeGone || !x.onlyOnce(t):
			x.lose(t, state, "node "+t.Node+" was lost")
		case t.Framework != nil:
			x.outOfReach(t)
		}
	}
	x.dropOffers(n.ID, "node lost")
	if n.State == api.NodeGone {
		x.dropReservations(n)
	}
}

// onlyOnce reports whether a task must not start elsewhere while the node it is
// on may still run it.
func (x *tx) onlyOnce(t *api.Task) bool {
	j := x.jobAt(t.Job)
	if t.Framework != nil { // also what was told to end: its framework is told whether it has
		return j != nil && !j.Stop
	}
	return j != nil && j.Spec.AtMostOnce && !endsHere(j, t)
}

// endsHere reports whether an attempt that ends is not followed by another.
func endsHere(j *api.Job, t *api.Task) bool {
	return j == nil || j.Stop || t.Desired == api.DesiredStop
}

// lose ends an attempt that cannot be asked about.
func (x *tx) lose(t *api.Task, state api.TaskState, why string) {
	lost := *t
	lost.State, lost.Reason, lost.Message, lost.Ended = state, api.ReasonNodeLost, why, x.At
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &lost, Message: lost.Message})
	j := x.jobAt(t.Job)
	if t.Framework != nil {
		if !lost.State.Final() {
			lost.State = api.TaskLost
		}
		x.endTask(t, &lost, nil)
		return
	}
	if endsHere(j, t) {
		lost.State = api.TaskLost
		x.endTask(t, &lost, nil)
		return
	}
	x.accountEnd(j, t, &lost, nil)
	x.requeue(&lost, time.Time{})
	if j.Spec.Gang > 0 {
		x.breakGang(j.ID, &lost)
	}
}

// outOfReach notes that nobody knows how a framework's task is while its node does not
// answer. It stays where it is, and tells once its node is back.
func (x *tx) outOfReach(old *api.Task) {
	if !old.State.CanBecome(api.TaskUnreachable) {
		return
	}
	t := *old
	t.State, t.Reason, t.Message = api.TaskUnreachable, api.ReasonNodeLost, "node "+t.Node+" does not answer"
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: t.Message})
	x.putTask(&t)
}

// inReach has framework's tasks be as they were before their node did not answer: it says
// hello once it follows what it has to run, and tells of each that has ended.
func (x *tx) inReach(nodeID string) {
	if !x.does(Frameworks) {
		return
	}
	for _, old := range x.nodeTaskList(nodeID) {
		if old.Framework == nil || old.State != api.TaskUnreachable {
			continue
		}
		t := *old
		t.State, t.Reason, t.Message = api.TaskRunning, api.ReasonNone, "node "+t.Node+" answers again"
		switch {
		case t.Started.IsZero():
			t.State, t.Message = api.TaskStaging, ""
		case t.Desired == api.DesiredStop:
			t.State, t.Reason = api.TaskKilling, api.ReasonStopped
		}
		x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: t.Message})
		x.putTask(&t)
	}
}

func (x *tx) dropOffers(nodeID, why string) {
	for _, o := range x.offersWhere(func(o *api.Offer) bool { return o.NodeID == nodeID }) {
		x.endOffer(o, why)
	}
}

package fsm

import (
	"time"

	"github.com/mesita/mesita/api"
)

// Victim is one attempt that is to give way.
type Victim struct {
	Job     string `json:"job"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
}

// TaskPreempt takes resources back: its victims end and start again when there
// is room, or are frozen in place. A victim that changed meanwhile, or had to
// give way within its partition's minRuntime, is left out. Its value is how
// many were told.
type TaskPreempt struct {
	Meta
	Victims []Victim `json:"victims"`
	Freeze  bool     `json:"freeze,omitempty"`
	Cause   string   `json:"cause"` // for whom
}

func (c *TaskPreempt) apply(x *tx) (any, error) {
	n := 0
	for _, v := range c.Victims {
		t := x.taskAt(v.Job, v.Index)
		if t == nil || t.Attempt != v.Attempt || !t.Holds() || t.Desired != api.DesiredRun && (c.Freeze || t.Desired != api.DesiredFreeze) || !x.mayPreempt(t) {
			continue
		}
		u := *t
		u.Preempted = c.At
		desired, how := api.DesiredMove, "ends and waits again, "
		if c.Freeze {
			desired, how = api.DesiredFreeze, "stops in place, "
		}
		x.happened(api.Event{Kind: api.EventTaskPreempted, Object: t.ID, Job: t.Job, Node: t.Node, Task: &u, Message: how + c.Cause})
		x.putTask(&u)
		if x.stopTask(&u, desired, api.ReasonPreempted) {
			n++
		}
	}
	return n, nil
}

func (x *tx) mayPreempt(t *api.Task) bool {
	p := x.partitions.get(&api.Partition{Path: t.Partition})
	return p == nil || t.Preempted.IsZero() || x.At.Sub(t.Preempted) >= time.Duration(p.MinRuntime)
}

// TaskThaw lets frozen tasks go on. One for whose cpus there is no room is
// left out. Its value is how many go on.
type TaskThaw struct {
	Meta
	Victims []Victim `json:"victims"`
}

func (c *TaskThaw) apply(x *tx) (any, error) {
	n := 0
	for _, v := range c.Victims {
		t := x.taskAt(v.Job, v.Index)
		if t == nil || t.Attempt != v.Attempt || t.Desired != api.DesiredFreeze || !t.Holds() {
			continue
		}
		u := *t
		u.Desired, u.Reason = api.DesiredRun, api.ReasonNone
		if t.Frozen {
			row := x.rowAt(t.NodeID)
			if row == nil || row.free().CPUs < t.Resources.CPUs {
				continue
			}
			u.Frozen, u.FrozenFor, u.FrozenAt = false, u.FrozenFor+api.Duration(c.At.Sub(t.FrozenAt)), time.Time{}
		}
		x.happened(api.Event{Kind: api.EventTaskThawed, Object: u.ID, Job: u.Job, Node: u.Node, Task: &u, Message: "there is room for its cpus again"})
		x.putTask(&u)
		n++
	}
	return n, nil
}

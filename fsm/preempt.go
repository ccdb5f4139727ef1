package fsm

import (
	"time"

	"github.com/mesita/mesita/api"
)

// Victim is one attempt that is to be preempted.
type Victim struct {
	Job     string `json:"job"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
}

// TaskPreempt takes resources back: its victims end and start again when there
// is room, or are frozen in place. One that runs in a partition that gives notice
// is told first, with the rest of its gang, and ends by TaskLeave: see notice. A
// victim that changed meanwhile, or was preempted within its partition's
// minRuntime, is left out. Its value is how many were told.
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
		freeze := c.Freeze && (t.Framework == nil || t.Framework.Executor == "") // an executor has to answer, and what it runs has no process
		if by := x.notice(t); !freeze && !by.IsZero() {
			x.giveNotice(&u, by, api.ReasonPreempted, "ends and waits again "+leavesText(by)+c.Cause)
			x.noticeGang(&u)
			n++
			continue
		}
		desired, how := api.DesiredMove, "ends and waits again, "
		if freeze {
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

// notice is when a task that is to be preempted gets its stop signal, zero if it does
// at once. A frozen one cannot heed a notice, one that does not run yet has nothing
// to save, and an older node would not pass it on.
func (x *tx) notice(t *api.Task) (by time.Time) {
	p, row := x.partitions.get(&api.Partition{Path: t.Partition}), x.rowAt(t.NodeID)
	if p == nil || p.Notice == 0 || t.State != api.TaskRunning || t.Desired != api.DesiredRun || row == nil || !x.nodeDoes(Notices, row.node) {
		return by
	}
	return x.At.Add(time.Duration(p.Notice))
}

// giveNotice tells a task that it has to leave by then. That is not taken back if the room
// is not needed any more: its program may have begun to end.
func (x *tx) giveNotice(u *api.Task, by time.Time, why api.Reason, message string) {
	u.Desired, u.Reason, u.Leaves = api.DesiredLeave, why, &by
	x.happened(api.Event{Kind: api.EventTaskPreempted, Object: u.ID, Job: u.Job, Node: u.Node, Task: u, Message: message})
	x.putTask(u)
}

// noticeGang tells the others of a gang of which one has to leave: they end with it.
func (x *tx) noticeGang(t *api.Task) {
	if j := x.jobAt(t.Job); j == nil || j.Spec.Gang == 0 {
		return
	}
	for _, o := range x.jobTasks(t.Job) {
		if !x.notice(o).IsZero() {
			u := *o
			x.giveNotice(&u, *t.Leaves, api.ReasonGang, "ends and waits again "+leavesText(*t.Leaves)+"with the rest of its gang")
		}
	}
}

// TaskLeave ends tasks that were told some time before, once that is over. One that
// was told so again, or otherwise, is left out. Its value is how many were told.
type TaskLeave struct {
	Meta
	Victims []Victim `json:"victims"`
}

func (c *TaskLeave) apply(x *tx) (any, error) {
	n := 0
	for _, v := range c.Victims {
		t := x.taskAt(v.Job, v.Index)
		if t == nil || t.Attempt != v.Attempt || !t.Leaving() || !t.Holds() || c.At.Before(*t.Leaves) {
			continue
		}
		u := *t
		u.Preempted = c.At // it is left alone from its end on
		x.putTask(&u)
		if x.stopTask(&u, api.DesiredMove, u.Reason) {
			n++
		}
	}
	return n, nil
}

// leavesText is how an event says when a task gets its stop signal.
func leavesText(by time.Time) string { return "at " + by.UTC().Format("15:04:05") + " UTC, " }

func (x *tx) mayPreempt(t *api.Task) bool {
	p := x.partitions.get(&api.Partition{Path: t.Partition})
	return p == nil || t.Preempted.IsZero() || x.At.Sub(t.Preempted) >= time.Duration(p.MinRuntime)
}

// TaskThaw lets frozen tasks continue. One for whose cpus there is no room is
// left out. Its value is how many continue.
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
			row, need := x.rowAt(t.NodeID), t.Thawed().CPUs
			if row == nil || need > 0 && row.free().CPUs < need || need == 0 && !x.does(Frameworks) && row.free().CPUs < 0 {
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

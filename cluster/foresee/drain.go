package foresee

import (
	"context"
	"sort"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Why a task stays on a node that is drained.
const (
	staysToEnd   = "it runs to its end"
	toldOfEnd    = "its framework is told, and decides what follows"
	staysOnHold  = "its job is on hold"
	staysForNext = "it moves once the others of its job run"
	staysSilent  = "its node does not answer"
	atDeadline   = "at the deadline, unless it has ended"
	notLooked    = "not looked at: more would happen before"
)

// Drain says where the tasks of a node would go if it were drained; with a deadline, also
// those that it would end then.
func (p Planner) Drain(ctx context.Context, v *fsm.View, id string, deadline bool) (*api.DrainPlan, error) {
	now := p.Now()
	cmd := &fsm.NodeDrain{Meta: fsm.Meta{At: now, Actor: "plan"}, ID: id, Drain: true}
	x, err := after(ctx, v, p.Engine(v), now, cmd)
	if err != nil {
		return nil, err
	}
	first := x.fork.View()
	if deadline {
		due := *cmd
		due.By = now
		if err := x.then(ctx, &due); err != nil {
			return nil, err
		}
	}
	d := &drained{Planner: p, future: x, reasons: map[string]string{}, plan: &api.DrainPlan{Node: v.Node(id).Name, Moves: []api.Move{}, Partial: x.partial}}
	x.engine.Update(x.fork.View(), x.fork.Take(), false)
	for was := range v.NodeTasks(id) {
		if was.State.Final() {
			continue
		}
		m := d.move(v, was)
		if t := first.TaskOf(was.Job, was.Index); m.To != "" && t != nil && t.Attempt == was.Attempt {
			m.Why = atDeadline
		}
		d.plan.Moves = append(d.plan.Moves, m)
	}
	sort.SliceStable(d.plan.Moves, func(i, j int) bool { return rank(d.plan.Moves[i]) < rank(d.plan.Moves[j]) })
	d.plan.More = max(0, len(d.plan.Moves)-maxListed)
	d.plan.Moves = d.plan.Moves[:len(d.plan.Moves)-d.plan.More]
	d.plan.GiveWay = x.gave[:min(len(x.gave), maxListed)]
	return d.plan, nil
}

// then has one more command happen, and lets all decide what follows.
func (x *future) then(ctx context.Context, cmd fsm.Command) error {
	short, cancel := context.WithTimeout(ctx, maxLooking)
	defer cancel()
	if _, err := x.fork.Do(cmd); err != nil {
		return err
	}
	x.settle(short)
	return context.Cause(ctx)
}

// rank puts first what there is no node for, as a list may be cut.
func rank(m api.Move) int {
	switch {
	case m.To == "" && !m.Stays && !m.Ends:
		return 0
	case m.Stays || m.Ends:
		return 1
	}
	return 2
}

type drained struct {
	Planner
	*future
	plan    *api.DrainPlan
	reasons map[string]string // why a task waits, by job
}

// move is what becomes of a task of the node.
func (d *drained) move(v *fsm.View, was *api.Task) api.Move {
	m := api.Move{Task: was.ID, Job: was.Job, Attempt: was.Attempt, From: was.Node}
	switch t := d.fork.View().TaskOf(was.Job, was.Index); {
	case was.Framework != nil && (t == nil || t.State.Final()):
		m.Ends, m.Why = true, toldOfEnd
	case t == nil || t.State.Final():
		m.Why = "it was told to end"
		m.Stays = true
	case t.Attempt == was.Attempt:
		m.Stays = true
		m.Why = d.stays(v, t)
		if m.Why == staysForNext && !was.Frozen {
			d.plan.Nowhere++
		}
	case t.Holds() && t.Node != "":
		m.To = t.Node
	default:
		m.Why = d.waits(t)
		if !was.Frozen {
			d.plan.Nowhere++
		}
	}
	return m
}

// stays is why a task is not moved.
func (d *drained) stays(v *fsm.View, t *api.Task) string {
	n, j := v.Node(t.NodeID), v.Job(t.Job)
	switch {
	case d.partial:
		return notLooked
	case n != nil && n.State != api.NodeReady && n.State != api.NodeDraining:
		return staysSilent
	case j == nil || j.Spec.Kind != api.KindService:
		return staysToEnd
	case j.Hold:
		return staysOnHold
	}
	return staysForNext
}

// waits is why a task has no node to go to; of a job it is looked for once.
func (d *drained) waits(t *api.Task) string {
	if text, ok := d.reasons[t.Job]; ok {
		return text
	}
	text := "there is not enough free"
	if len(d.reasons) < maxExplained {
		if why, err := d.ExplainBy(d.engine, d.fork.View(), t.ID); err == nil {
			text = why.Reason()
		}
	}
	d.reasons[t.Job] = text
	return text
}

package scheduler

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// freezeAttr is the attribute by which a node says that it cannot freeze.
const freezeAttr = "isolation.freeze"

// stuck ends the tasks that could not be frozen, as a process that hangs in the
// kernel must not keep what is owed; and those that were frozen for too long, which
// keep their memory and come to no end.
func (x *preemption) stuck() {
	hang := &fsm.TaskPreempt{Meta: fsm.Meta{At: x.now, Actor: "scheduler"}, Cause: "it could not be frozen"}
	old := &fsm.TaskPreempt{Meta: hang.Meta, Cause: "it was frozen for as long as its partition lets it be"}
	for v := range x.view.FrozenTasks() {
		part := x.view.Partition(v.Partition)
		if v.Desired != api.DesiredFreeze || part == nil {
			continue
		}
		due := v.Preempted.Add(time.Duration(part.MinRuntime))
		if v.Frozen {
			due = later(due, v.FrozenAt.Add(part.FrozenAtMost()))
		}
		one := fsm.Victim{Job: v.Job, Index: v.Index, Attempt: v.Attempt}
		switch {
		case x.thawed[v.ID]:
			continue
		case due.After(x.now):
			x.again(due)
			continue
		case v.Frozen:
			old.Victims = append(old.Victims, one)
		default:
			hang.Victims = append(hang.Victims, one)
		}
		x.chosen[v.ID] = true
	}
	for _, c := range []*fsm.TaskPreempt{hang, old} {
		if len(c.Victims) > 0 {
			x.cmds = append(x.cmds, c)
		}
	}
}

// freezable reports whether a task can be frozen without harm. It gives its CPUs
// back, and those that are its own would be another's when it thaws; and clients of
// a service would find its ports open, and hang. An executor has to answer, and what it runs
// has no process of its own.
func (x *preemption) freezable(v *api.Task) bool {
	if v.Framework != nil && v.Framework.Executor != "" {
		return false
	}
	j := x.view.Job(v.Job)
	return v.Resources.Pins == 0 && (len(v.Ports) == 0 || j != nil && j.Spec.Kind != api.KindService)
}

// thaw lets the next frozen task of a partition continue that has room for its
// cpus, and whose node is not to be empty. It is false when there is none.
func (p *pass) thaw(t *turn) bool {
	if !t.listed {
		t.listed = true
		for v := range p.view.FrozenTasks() {
			if v.Partition == t.q.part.Path && v.Frozen && v.Desired == api.DesiredFreeze {
				t.frozen = append(t.frozen, v)
			}
		}
		slices.SortStableFunc(t.frozen, func(a, b *api.Task) int { return a.Preempted.Compare(b.Preempted) })
	}
	for len(t.frozen) > 0 {
		v := t.frozen[0]
		t.frozen = t.frozen[1:]
		need := api.Resources{CPUs: v.Thawed().CPUs}
		i, ok := p.e.slots.Of(v.NodeID)
		if !ok || p.e.slots.Node[i].Drain || need.CPUs > 0 && !p.e.slots.Free[i].Fits(need) || !p.leavesClaims(t, nil, v.Job, i, need) || p.round.Room(v.Partition, need) != "" || !p.frozenMayUse(t, v, i, need) {
			continue
		}
		p.e.slots.Take(i, need)
		p.thawed[v.ID] = true
		p.round.Charge(v.Partition, need)
		p.cmds = append(p.cmds, &fsm.TaskThaw{Meta: fsm.Meta{At: p.now, Actor: "scheduler"}, Victims: []fsm.Victim{{Job: v.Job, Index: v.Index, Attempt: v.Attempt}}})
		return true
	}
	return false
}

// frozenMayUse reports whether cpus are not held for someone who is entitled to
// them, or whose job outranks the frozen task's.
func (p *pass) frozenMayUse(t *turn, v *api.Task, slot int, need api.Resources) bool {
	for _, h := range p.held[slot] {
		if h.Extra[slot].Fits(need) {
			continue
		}
		if h.Entitled {
			return false
		}
		l, j := p.e.jobs[h.Job], p.view.Job(v.Job)
		if h.Path == v.Partition && l != nil && l.entry != nil && j != nil && p.outranks(t.q.part, l.entry.job, j, v.Ran(p.now)) {
			return false
		}
	}
	return true
}

package foresee

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// maxListed bounds the tasks and nodes that a plan names of each kind.
const maxListed = 1000

// Planner plans jobs, and answers as the scheduler's does.
type Planner struct{ scheduler.Planner }

// Plan says what a command that gives a job that spec would come to; with no
// command, that nothing would change.
func (p Planner) Plan(ctx context.Context, v *fsm.View, s *api.JobSpec, cmd fsm.Command) (*api.Plan, error) {
	plan := &api.Plan{Job: s.Name, Action: "nothing", Tasks: s.Tasks(), RunAs: s.RunsAs()}
	old := v.Job(s.Name)
	if cmd == nil {
		if old != nil {
			plan.Fits = old.Counts.Running + old.Counts.Starting
		}
		return plan, nil
	}
	now := p.Now()
	first := v.Trial(cmd)
	if first.Err != nil {
		return nil, first.Err
	}
	id := first.Value.(*api.Job).ID
	if old = v.Job(id); old != nil {
		plan.Job = id
	}
	x, err := after(ctx, v, p.Engine(v), now, cmd)
	if err != nil {
		return nil, err
	}
	switch {
	case old == nil || old.State.Ended():
		plan.Action = "create"
	default:
		if plan.Changes = api.Differences(old.Spec, s); len(plan.Changes) > 0 {
			plan.Action = "update"
		}
	}
	x.tasks(v, id, plan)
	p.waits(x, id, plan)
	plan.GiveWay = x.gave[:min(len(x.gave), maxListed)]
	if len(x.gave) > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%s would be preempted", api.Count(len(x.gave), "task")))
	}
	for _, near := range s.Affinity {
		if !near.Away && !near.Soft && near.Job != s.Name && v.Job(near.Job) == nil {
			plan.Warnings = append(plan.Warnings, api.WarnNoJob(near.Job))
		}
	}
	plan.Warnings = append(plan.Warnings, vainWishes(v, s)...)
	if x.partial {
		plan.Warnings = append(plan.Warnings, onlyBegins)
	}
	return plan, nil
}

// vainWishes are the comparisons of a spec's prefer that compare with nothing on any
// node: unlike conditions, they keep no task from starting, so nobody would notice.
func vainWishes(v *fsm.View, s *api.JobSpec) (out []string) {
	for _, c := range s.Prefer {
		wish, text := &api.JobSpec{TaskSpec: api.TaskSpec{Placing: api.Placing{Constraints: []api.Constraint{c}}}}, ""
		for n := range v.Nodes() {
			why := n.Incomparable(nil, wish)
			if why == "" {
				text = ""
				break
			}
			text = cmp.Or(text, fmt.Sprintf("no node meets the wish %s: of %s, %s", c, n.Name, why))
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

// tasks compares a job's tasks with what they are now.
func (x *future) tasks(v *fsm.View, id string, plan *api.Plan) {
	nodes := map[string]int{}
	is := x.fork.View()
	for t := range is.MadeTasks(id) {
		if !t.Holds() || t.Desired != api.DesiredRun {
			continue
		}
		plan.Fits++
		if was := v.TaskOf(id, t.Index); was == nil || !was.Holds() || was.Attempt != t.Attempt {
			plan.Starts++
			nodes[t.Node]++
		}
	}
	for was := range v.MadeTasks(id) {
		if !was.Holds() {
			continue
		}
		switch t := is.TaskOf(id, was.Index); {
		case t == nil || t.State.Final() || t.Desired == api.DesiredStop:
			plan.Stops = append(plan.Stops, was.ID)
		case t.Attempt != was.Attempt:
			plan.Restarts = append(plan.Restarts, was.ID)
		}
	}
	plan.Stops, plan.Restarts = plan.Stops[:min(len(plan.Stops), maxListed)], plan.Restarts[:min(len(plan.Restarts), maxListed)]
	for _, name := range slices.Sorted(maps.Keys(nodes))[:min(len(nodes), maxListed)] {
		plan.Nodes = append(plan.Nodes, api.PlanNode{Node: name, Tasks: nodes[name]})
	}
}

// waits says how many tasks of a job would wait, and what for.
func (p Planner) waits(x *future, id string, plan *api.Plan) {
	j := x.fork.View().Job(id)
	if j == nil || j.Counts.Pending == 0 {
		return
	}
	plan.Waiting = j.Counts.Pending
	x.engine.Update(x.fork.View(), x.fork.Take(), false)
	why, err := p.ExplainBy(x.engine, x.fork.View(), id)
	if err == nil && len(why.Obstacles) > 0 {
		plan.Obstacles = why.Obstacles
	}
	plan.Warnings = append(plan.Warnings, plan.Waits())
}

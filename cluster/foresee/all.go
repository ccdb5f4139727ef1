package foresee

import (
	"context"
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// maxExplained bounds the jobs of one plan of which it is said why they would wait.
const maxExplained = 100

// PlanAll says what a command that changes several jobs together would come to, by
// their names. Who is preempted, and that not all is looked at, is said with the first.
func (p Planner) PlanAll(ctx context.Context, v *fsm.View, cmd *fsm.ApplyAll) (map[string]*api.Plan, error) {
	x, err := after(ctx, v, p.Engine(v), p.Now(), cmd)
	if err != nil {
		return nil, err
	}
	plans := map[string]*api.Plan{}
	var first *api.Plan
	explained := 0
	add := func(s *api.JobSpec) {
		plan := &api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks(), RunAs: s.RunsAs()}
		if old := v.Job(s.Name); old != nil && !old.State.Ended() {
			plan.Action, plan.Changes = "update", api.Differences(old.Spec, s)
		}
		x.tasks(v, s.Name, plan)
		j := x.fork.View().Job(s.Name)
		switch {
		case j == nil || j.Counts.Pending == 0:
		case explained < maxExplained:
			explained++
			p.waits(x, s.Name, plan)
		default:
			plan.Waiting = j.Counts.Pending
		}
		for _, near := range s.Affinity {
			if !near.Away && !near.Soft && x.fork.View().Job(near.Job) == nil {
				plan.Warnings = append(plan.Warnings, api.WarnNoJob(near.Job))
			}
		}
		if plans[s.Name] = plan; first == nil {
			first = plan
		}
	}
	for _, u := range cmd.Updates {
		add(u.Spec)
	}
	for _, c := range cmd.Creates {
		add(c.Spec)
	}
	if first == nil {
		return plans, nil
	}
	first.GiveWay = x.gave[:min(len(x.gave), maxListed)]
	if len(x.gave) > 0 {
		first.Warnings = append(first.Warnings, fmt.Sprintf("%s would be preempted", api.Count(len(x.gave), "task")))
	}
	if x.partial {
		first.Warnings = append(first.Warnings, onlyBegins)
	}
	return plans, nil
}

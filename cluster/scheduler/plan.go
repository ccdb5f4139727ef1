package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// maxPlanNodes bounds the nodes that a plan names.
const maxPlanNodes = 1000

// Plan says where the tasks of a spec would go now.
func (p Planner) Plan(v *fsm.View, s *api.JobSpec) *api.Plan {
	plan := &api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks(), RunAs: s.RunsAs()}
	meta := fsm.Meta{At: p.Now(), Actor: "plan"}
	var cmd fsm.Command = &fsm.JobCreate{Meta: meta, Spec: s}
	if old := v.Job(s.Name); s.Name != "" && old != nil && !old.State.Ended() {
		plan.Action = "update"
		cmd = &fsm.JobScale{Meta: meta, ID: old.ID, Count: s.Tasks()}
		plan.Fits = min(plan.Tasks, old.Counts.Live()-old.Counts.Pending)
	}
	trial := v.Trial(cmd)
	if trial.Err != nil {
		plan.Warnings = append(plan.Warnings, trial.Err.Error())
		return plan
	}
	j := trial.Value.(*api.Job)
	w := trial.View
	if j.Spec.Kind == api.KindService && j.Counts.Live() < s.Tasks() {
		w = w.Trial(&fsm.TaskCreate{Meta: meta, Job: j.ID, Count: s.Tasks()}).View
	}
	e := NewEngine(p.Begin)
	e.Update(w, nil, true)
	x := newPass(e, p.Now())
	x.watch = &watch{job: j.ID}
	x.run()
	counts := map[string]int{}
	victims := 0
	for _, c := range x.cmds {
		switch c := c.(type) {
		case *fsm.TaskPlace:
			for i := range c.Placements {
				if c.Placements[i].Job == j.ID {
					counts[w.Node(c.Placements[i].NodeID).Name]++
					plan.Fits++
				}
			}
		case *fsm.TaskPreempt:
			if strings.HasPrefix(c.Cause, "for job "+j.ID+" ") {
				victims += len(c.Victims)
			}
		}
	}
	if victims > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%s of others would give way", api.Count(victims, "task")))
	}
	for _, name := range slices.Sorted(maps.Keys(counts))[:min(len(counts), maxPlanNodes)] {
		plan.Nodes = append(plan.Nodes, api.PlanNode{Node: name, Tasks: counts[name]})
	}
	if wait := plan.Tasks - plan.Fits; wait > 0 {
		reason := "there is not enough free"
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d of %s would wait: %s", wait, api.Count(plan.Tasks, "task"), reason))
	}
	return plan
}

package scheduler

import (
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Planner answers what would happen and why something did not. It only reads.
type Planner struct{ Now func() time.Time }

// CheckFits refuses a spec of which no node could hold one task even if it
// were empty, and says by how much.
func (p Planner) CheckFits(v *fsm.View, s *api.JobSpec) error {
	need := s.Need()
	nodes := 0
	var reasons []string
	for n := range v.Nodes() {
		if n.State == api.NodeGone || n.VoterOnly {
			continue
		}
		if n.Resources.CPUs == 0 {
			return nil // it has not reported yet: nobody knows
		}
		nodes++
		if !meetsAll(n, s) {
			continue
		}
		over := excess(n.Resources, need)
		if over == "" {
			return nil
		}
		reasons = append(reasons, n.Name+" "+over)
	}
	switch {
	case nodes == 0:
		return nil // a cluster that has no node for work yet: the task waits
	case len(reasons) == 0:
		return api.Errorf(api.CodeDoesNotFit, "no node meets %s: see `mesita node ls -o wide` for their attributes", constraintList(s))
	}
	return api.Errorf(api.CodeDoesNotFit, "one task is more than any node has: %s; ask for less, or add a bigger node", strings.Join(reasons[:min(len(reasons), 3)], "; "))
}

func meetsAll(n *api.Node, s *api.JobSpec) bool {
	for _, c := range s.Constraints {
		if !c.Match(n.Name, n.Attrs) {
			return false
		}
	}
	return true
}

func constraintList(s *api.JobSpec) string {
	var out []string
	for _, c := range s.Constraints {
		out = append(out, c.String())
	}
	return strings.Join(out, ", ")
}

// excess says by how much need is over what a node has, "" if it is not.
func excess(has, need api.Resources) string {
	short, ok := has.Missing(need)
	if ok {
		return ""
	}
	by := ""
	switch short.Resource {
	case "cpus":
		by = (need.CPUs - has.CPUs).String()
	case "mem":
		by = (need.Mem - has.Mem).String()
	case "disk":
		by = (need.Disk - has.Disk).String()
	case "gpus":
		by = fmt.Sprint(need.GPUs - has.GPUs)
	default:
		return fmt.Sprintf("lacks %s %s (has %s)", short.Resource, short.Need, short.Have)
	}
	return fmt.Sprintf("has %s %s of %s, %s too few", short.Have, short.Resource, short.Need, by)
}

// Plan says where the tasks of a spec would go now.
func (p Planner) Plan(v *fsm.View, s *api.JobSpec) *api.Plan {
	plan := &api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks()}
	wanted := plan.Tasks
	if old := v.Job(s.Name); s.Name != "" && old != nil && !old.State.Ended() {
		plan.Action = "update"
		wanted = max(0, wanted-old.Counts.Live())
		plan.Fits = plan.Tasks - wanted
	}
	nodes := candidates(v)
	counts := map[string]int{}
	task := &api.Task{ID: "plan"}
	for range wanted {
		c := choose(nodes, s, s.Need(), func(c *candidate) int { return counts[c.node.ID] })
		if c == nil {
			plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d of %d tasks would wait: there is not enough free", plan.Tasks-plan.Fits, plan.Tasks))
			break
		}
		need := s.Need()
		_, need.Ports = pickPorts(s, task, c.free.Ports)
		c.free = c.free.Minus(need)
		counts[c.node.ID]++
		plan.Fits++
	}
	for _, c := range nodes {
		if counts[c.node.ID] > 0 {
			plan.Nodes = append(plan.Nodes, api.PlanNode{Node: c.node.Name, Tasks: counts[c.node.ID]})
		}
	}
	return plan
}

// Explain says why a job or task is in its state.
func (p Planner) Explain(v *fsm.View, id string) (*api.Why, error) {
	if t := v.Task(id); t != nil {
		return p.explainTask(v, t), nil
	}
	j := v.Job(id)
	if j == nil {
		return nil, api.Errorf(api.CodeNotFound, "no job or task %q: see `mesita ps -a`", id)
	}
	for t := range v.PendingTasks(j) {
		return p.explainTask(v, t), nil
	}
	why := &api.Why{ID: id, State: j.State.String(), Summary: fmt.Sprintf("%s is %s: %d running, %d starting, %d finished, %d failed", id,
		j.State, j.Counts.Running, j.Counts.Starting, j.Counts.Finished, j.Counts.Failed)}
	for t := range v.JobTasks(id) {
		if t.State.Final() && t.State != api.TaskFinished {
			why.Hints = append(why.Hints, ended(t))
		}
		if len(why.Hints) == 3 {
			break
		}
	}
	return why, nil
}

func (p Planner) explainTask(v *fsm.View, t *api.Task) *api.Why {
	why := &api.Why{ID: t.ID, State: t.State.String()}
	j := v.Job(t.Job)
	switch {
	case t.State.Final():
		why.Summary = ended(t)
		why.Hints = []string{"mesita logs " + t.ID + " shows what it printed"}
	case !t.Pending():
		why.Summary = fmt.Sprintf("%s is on %s (%s)", t.ID, t.Node, strings.ToLower(strings.TrimPrefix(t.State.String(), "TASK_")))
		if t.Desired != api.DesiredRun {
			why.Summary += " and was told to " + t.Desired.String() + ": " + string(t.Reason)
		}
	case t.NotBefore.After(p.Now()):
		why.Summary = fmt.Sprintf("%s waits %s before attempt %d; attempt %d ended: %s", t.ID, t.NotBefore.Sub(p.Now()).Round(time.Second),
			t.Attempt, t.Attempt-1, reasonText(t))
	default:
		p.explainWait(v, j, t, why)
	}
	return why
}

// explainWait lists the first reason of each node against a pending task.
func (p Planner) explainWait(v *fsm.View, j *api.Job, t *api.Task, why *api.Why) {
	spec := j.SpecOf(t.Version)
	fits := false
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		reason := unavailable(n)
		if reason == "" {
			reason = reject(n, v.Free(n.ID), spec, t.Resources)
		}
		if reason == "" {
			reason, fits = "has room", true
		}
		why.Nodes = append(why.Nodes, api.WhyNode{Node: n.Name, Reason: reason})
	}
	switch {
	case fits:
		why.Summary = t.ID + " is about to start"
	case len(why.Nodes) == 0:
		why.Summary = t.ID + " is waiting: the cluster has no node for work"
		why.Hints = append(why.Hints, "add one with `mesita node join`")
	default:
		why.Summary = t.ID + " is waiting: no node can take it now"
		why.Hints = append(why.Hints, "it starts by itself when a node has room; `mesita top` shows who uses what")
	}
}

func ended(t *api.Task) string {
	return fmt.Sprintf("%s %s: %s", t.ID, strings.ToLower(strings.TrimPrefix(t.State.String(), "TASK_")), reasonText(t))
}

func reasonText(t *api.Task) string {
	switch {
	case t.Message != "":
		return t.Message
	case t.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *t.ExitCode)
	case t.Reason != "":
		return string(t.Reason)
	}
	return "no reason was given"
}

package allocator

import (
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Planner answers what partitions hold and are entitled to, and what changing
// one would do. It only reads.
type Planner struct{ Now func() time.Time }

// Status lists all partitions by path with their numbers.
func (Planner) Status(v *fsm.View) []api.PartitionStatus {
	t := newTree(v)
	fair := t.fairShares(v)
	oldest, leaving := map[string]time.Time{}, map[string]int{}
	for t := range v.LeavingTasks() {
		leaving[t.Partition]++
	}
	var out []api.PartitionStatus
	for p := range v.Partitions() {
		c := t.parts[p.Path]
		s := api.PartitionStatus{Partition: p, PartitionUsage: v.Usage(p.Path), Capacity: pool(v, p.Path),
			Share: fsm.Dominant(c.used, t.capacity), Fair: fair[c]}
		s.Allocated, s.Offered, s.Leaving = c.used.Minus(c.offered), c.offered, leaving[p.Path]
		for j := range v.PendingJobs(p.Path) {
			if j.Hold {
				continue
			}
			oldest[p.Path] = j.Created
			break
		}
		s.Oldest = oldest[p.Path]
		for k, g := range p.Guaranteed().Each {
			if used := amountOf(c.used, k); used < g {
				s.Lent = s.Lent.With(k, g-used)
			} else if used > g {
				s.Borrowed = s.Borrowed.With(k, used-g)
			}
		}
		s.Warnings = warnings(v, p.Path)
		out = append(out, s)
	}
	addBelow(out)
	return out
}

// addBelow adds the counts of children to their parents; the sums of resources
// have them already.
func addBelow(all []api.PartitionStatus) {
	at := map[string]int{}
	for i := range all {
		at[all[i].Path] = i
	}
	for i := len(all) - 1; i >= 0; i-- { // children sort after their parent
		up, ok := at[all[i].Parent()]
		if !ok {
			continue
		}
		u, c := &all[up].PartitionUsage, &all[i].PartitionUsage
		u.Pending, u.Running, u.Starting, u.Frozen = u.Pending+c.Pending, u.Running+c.Running, u.Starting+c.Starting, u.Frozen+c.Frozen
		u.Wanted, u.Held = u.Wanted.Add(c.Wanted), u.Held+c.Held
		all[up].Leaving += all[i].Leaving
		if o := all[i].Oldest; !o.IsZero() && (all[up].Oldest.IsZero() || o.Before(all[up].Oldest)) {
			all[up].Oldest = o
		}
	}
}

// pool is what the nodes that a partition may use have.
func pool(v *fsm.View, path string) api.Resources {
	p := v.Eligible(path)
	if len(p.Nodes) == 0 {
		return v.Capacity()
	}
	var sum api.Resources
	for n := range v.Nodes() {
		if n.State != api.NodeGone && !n.VoterOnly && p.Uses(n) {
			r := n.Resources
			r.Ports = nil
			sum = sum.Add(r)
		}
	}
	return sum
}

func warnings(v *fsm.View, path string) (out []string) {
	p := v.Eligible(path)
	if len(p.Nodes) > 0 {
		found := false
		for n := range v.Nodes() {
			found = found || n.State != api.NodeGone && !n.VoterOnly && p.Uses(n)
		}
		if !found {
			out = append(out, "no node matches its selector: nothing will run in it; see `mesita node ls -o wide` for attributes")
		}
	}
	has := pool(v, path)
	for k, g := range p.Guaranteed().Each {
		if whole := amountOf(has, k); whole < g {
			out = append(out, fmt.Sprintf("its guarantee of %s is more than the %s that its nodes have", api.AmountText(k, g), api.FormatAmount(k, whole)))
		}
	}
	return out
}

// Plan says what making or changing a partition would do.
func (pl Planner) Plan(v *fsm.View, cmd *fsm.PartitionPut) (api.PartitionChange, error) {
	trial := v.Trial(cmd)
	if trial.Err != nil {
		return api.PartitionChange{}, trial.Err
	}
	next := trial.View.Partition(cmd.Partition.Path)
	c := api.PartitionChange{Partition: next, Action: "create", Warnings: warnings(trial.View, next.Path)}
	if v.Partition(next.Path) != nil {
		c.Action = "update"
	}
	return c, nil
}

// PlanRemove says what removing a partition would do; with drain, also one with
// work in it.
func (pl Planner) PlanRemove(v *fsm.View, path string, drain bool) (api.PartitionChange, error) {
	trial := v.Trial(&fsm.PartitionRemove{Meta: fsm.Meta{At: pl.Now()}, Path: path, Drain: drain})
	if trial.Err != nil {
		return api.PartitionChange{}, trial.Err
	}
	return api.PartitionChange{Partition: v.Partition(path), Action: "remove"}, nil
}

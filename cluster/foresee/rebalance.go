package foresee

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Bounds of a plan that evens out nodes: how often the scheduler is asked where a task
// would go, and how many that stay it names.
const (
	maxAsked = 400
	maxLeft  = 20
)

// slight is what rounding may make of a difference of loads.
const slight = 1e-9

// Rebalance says which tasks to move, at most so many, so that nodes are filled more
// evenly. A move is one that the scheduler makes by itself once the task is told to: to
// where it wants the task, with nobody preempted and nothing else started by it. It never
// leaves the new node fuller than the old one, which therefore gets emptier: the fullest
// node never gets fuller, so this ends, within a task of even. A task moves once at most.
func (p Planner) Rebalance(ctx context.Context, v *fsm.View, partition string, most int) (*api.RebalancePlan, error) {
	short, cancel := context.WithTimeout(ctx, maxLooking)
	defer cancel()
	x := p.future(v)
	x.settle(short)
	b := &balance{Planner: p, was: v, base: x.fork.View(), partition: partition, now: p.Now()}
	plan := &api.RebalancePlan{Moves: []api.Move{}}
	before := loadsOf(b.base)
	for {
		next, m := b.next(short)
		if next == nil {
			break
		}
		if len(plan.Moves) == most {
			plan.More = true
			break
		}
		b.base = next
		plan.Moves = append(plan.Moves, m)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	plan.More = plan.More || short.Err() != nil || b.asked >= maxAsked
	plan.Left = b.left
	then := map[string]float64{}
	after := loadsOf(b.base)
	for _, l := range after {
		then[l.id] = l.load
	}
	for _, l := range before {
		plan.Nodes = append(plan.Nodes, api.NodeLoad{Node: l.name, Now: l.load, Then: then[l.id]})
	}
	plan.Spread, plan.Then = spread(before), spread(after)
	return plan, nil
}

// future is the state as it will be, of which nothing is decided yet.
func (p Planner) future(v *fsm.View) *future {
	x := &future{fork: v.Fork(), engine: p.Engine(v), now: p.Now()}
	x.engine.Decide(x.now) // as the leader has: it knows for whom room is held
	return x
}

// balance looks for moves, one after the other.
type balance struct {
	Planner
	was       *fsm.View // as it is
	base      *fsm.View // after the moves that were found
	partition string
	now       time.Time
	asked     int
	left      []api.Move
}

// load is how full a node is.
type load struct {
	id, name string
	has      api.Resources
	held     api.Resources
	load     float64
}

// with is the load with what is added, and without what is taken.
func (l load) with(add, take api.Resources) float64 {
	return fullness(l.has, l.held.Add(add).Minus(take))
}

// fullness is the larger one of the parts of cpus and memory that are held.
func fullness(has, held api.Resources) (most float64) {
	if has.CPUs > 0 {
		most = float64(held.CPUs) / float64(has.CPUs)
	}
	if has.Mem > 0 {
		most = max(most, float64(held.Mem)/float64(has.Mem))
	}
	return most
}

// loadsOf are those of the nodes that take tasks, the fullest first.
func loadsOf(v *fsm.View) []load {
	var out []load
	for n := range v.Nodes() {
		if !n.Schedulable() {
			continue
		}
		ledger, _ := v.Ledger(n.ID)
		l := load{id: n.ID, name: n.Name, has: n.Resources, held: ledger.Allocated.Add(ledger.Reclaiming)}
		l.load = fullness(l.has, l.held)
		out = append(out, l)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].load > out[j].load || out[i].load == out[j].load && out[i].name < out[j].name
	})
	return out
}

// spread is how far apart the fullest and the emptiest are.
func spread(all []load) float64 {
	if len(all) == 0 {
		return 0
	}
	return all[0].load - all[len(all)-1].load
}

// next is the state after the next move; nil: there is none.
func (b *balance) next(ctx context.Context) (*fsm.View, api.Move) {
	b.left = nil
	loads := loadsOf(b.base)
	for _, from := range loads {
		asked := map[string]bool{} // jobs, whose tasks are alike
		for _, t := range b.candidates(from, loads) {
			if asked[t.Job] {
				continue
			}
			if ctx.Err() != nil || b.asked >= maxAsked {
				return nil, api.Move{}
			}
			asked[t.Job] = true
			m := b.describe(t)
			next, why := b.try(ctx, t)
			if why == "" {
				m.To = next.TaskOf(t.Job, t.Index).Node
				m.Why = fmt.Sprintf("%s is %.0f%% full, %s %.0f%%", from.name, 100*from.load, m.To, 100*loadOf(loads, m.To))
				return next, m
			}
			b.stays(m, why)
		}
	}
	return nil, api.Move{}
}

func loadOf(all []load, name string) float64 {
	i := slices.IndexFunc(all, func(l load) bool { return l.name == name })
	if i < 0 {
		return 0
	}
	return all[i].load
}

// describe is a move without its end.
func (b *balance) describe(t *api.Task) api.Move {
	m := api.Move{Task: t.ID, Job: t.Job, Attempt: t.Attempt, From: t.Node}
	if j := b.base.Job(t.Job); j.Spec.Kind == api.KindService {
		m.Alone = j.Counts.Running < 2
	} else {
		m.Loses = api.Duration(b.now.Sub(t.Started).Round(time.Second))
	}
	return m
}

// stays notes why a task that would even nodes out stays; of each job once.
func (b *balance) stays(m api.Move, why string) {
	if len(b.left) < maxLeft && !slices.ContainsFunc(b.left, func(o api.Move) bool { return o.Job == m.Job }) {
		m.Stays, m.Why, m.Loses, m.Alone = true, why, 0, false
		b.left = append(b.left, m)
	}
}

// candidates are the tasks of a node that may move, and whose move some node would let
// be a gain; those that lose least by it first, of alike ones the largest.
func (b *balance) candidates(from load, loads []load) []*api.Task {
	var out []*api.Task
	for t := range b.base.NodeTasks(from.id) {
		if b.partition != "" && !api.PathWithin(t.Partition, b.partition) || !gains(from, loads, t.Resources) {
			continue
		}
		if why := b.immovable(t); why != "" {
			if why != unsaid {
				b.stays(api.Move{Task: t.ID, Job: t.Job, Attempt: t.Attempt, From: t.Node}, why)
			}
			continue
		}
		out = append(out, t)
	}
	cost := func(t *api.Task) (alone int, lost float64) {
		switch j := b.base.Job(t.Job); {
		case j.Spec.Kind != api.KindService:
			return 2, b.now.Sub(t.Started).Seconds() * float64(t.Resources.CPUs)
		case j.Counts.Running < 2:
			return 1, 0
		}
		return 0, 0
	}
	slices.SortStableFunc(out, func(x, y *api.Task) int {
		ax, lx := cost(x)
		ay, ly := cost(y)
		return cmp.Or(cmp.Compare(ax, ay), cmp.Compare(lx, ly), cmp.Compare(fullness(from.has, y.Resources), fullness(from.has, x.Resources)))
	})
	return out
}

// gains reports whether some node would not be fuller with so much more than the node
// without it, which has to get emptier by it.
func gains(from load, loads []load, need api.Resources) bool {
	left := from.with(api.Resources{}, need)
	if left > from.load-slight {
		return false
	}
	return slices.ContainsFunc(loads, func(l load) bool { return l.id != from.id && l.with(need, api.Resources{}) <= left+slight })
}

// unsaid is why a task stays of which nobody needs to be told.
const unsaid = "-"

// immovable is why a task is not to be moved, "" if it may be.
func (b *balance) immovable(t *api.Task) string {
	j, was := b.base.Job(t.Job), b.was.TaskOf(t.Job, t.Index)
	if j == nil || j.Stop || was == nil || was.Attempt != t.Attempt || was.State != api.TaskRunning || was.Desired != api.DesiredRun {
		return unsaid // it comes or goes, or was moved
	}
	if part := b.base.Partition(t.Partition); part != nil && part.Placement == api.PlacePack {
		return "partition " + part.Path + " packs its tasks on few nodes"
	}
	switch {
	case t.Frozen:
		return "it is frozen"
	case j.Hold:
		return staysOnHold
	case t.Healthy != nil && !*t.Healthy:
		return "it is not healthy yet"
	case t.Framework != nil:
		return "its framework decides where it runs"
	case j.Spec.AtMostOnce:
		return "it runs at most once"
	case j.Spec.Gang > 0:
		return "it is of a gang"
	case j.Spec.Kind == api.KindService && (t.Version != j.Version || j.Counts.Running < j.Spec.Tasks()):
		return "not all tasks of its job run as they are to"
	case j.Spec.Kind != api.KindService && b.now.Sub(t.Started) > api.MostLost:
		return "it would begin " + api.Duration(b.now.Sub(t.Started).Round(time.Minute)).String() + " of work anew"
	}
	return ""
}

// try is the state once a task was told to move; otherwise why it stays.
func (b *balance) try(ctx context.Context, t *api.Task) (next *fsm.View, why string) {
	b.asked++
	x := b.future(b.base)
	others := false
	x.placed = func(p *fsm.TaskPlace) {
		for i := range p.Placements {
			others = others || p.Placements[i].Job != t.Job || p.Placements[i].Index != t.Index
		}
	}
	if _, err := x.fork.Do(&fsm.TaskStop{Meta: fsm.Meta{At: b.now, Actor: "plan"}, IDs: []string{t.ID}, Move: true, Reason: api.ReasonStopped}); err != nil {
		return nil, err.Error()
	}
	x.settle(ctx)
	v := x.fork.View()
	is := v.TaskOf(t.Job, t.Index)
	switch {
	case x.partial:
		return nil, notLooked
	case len(x.gave) > 0:
		return nil, "others would be preempted for it"
	case others:
		return nil, "others wait for the room that it would leave"
	case is == nil || is.Pending():
		return nil, "it would have to wait for room"
	case is.NodeID == t.NodeID:
		return nil, "the scheduler would start it there again"
	}
	now, then := loadsOf(b.base), loadsOf(v)
	if left := loadOf(then, t.Node); left > loadOf(now, t.Node)-slight || loadOf(then, is.Node) > left+slight {
		return nil, "it would go to " + is.Node + ", which would be fuller than " + t.Node
	}
	return v, ""
}

package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// maxKinds bounds the kinds of jobs that are looked at for whether any node could
// ever take them.
const maxKinds = 1000

// Backlog observes all jobs: what keeps each from starting that a pass tries, and
// how many it tried.
type Backlog struct {
	// Tried is how often a job was tried.
	Tried int
	// Deaf has it only count.
	Deaf bool

	unobserved
	found  map[string]api.Obstacle // by job
	full   map[*order.Class]api.Obstacle
	never  map[string]api.Obstacle // by kind: what keeps it off nodes even if those were empty
	below  map[string]api.Obstacle // what is kept below limits for others, by job
	taking map[string]int
}

// NewBacklog is one that has seen nothing.
func NewBacklog() *Backlog {
	return &Backlog{found: map[string]api.Obstacle{}, full: map[*order.Class]api.Obstacle{}, never: map[string]api.Obstacle{}, below: map[string]api.Obstacle{}, taking: map[string]int{}}
}

// DecideBefore is Decide with somebody who looks on.
func (e *Engine) DecideBefore(now time.Time, b *Backlog) (cmds []fsm.Command, next time.Time) {
	return e.decide(now, b)
}

// Obstacle is what keeps a job waiting, as far as it was tried; one of no kind: it
// was not, those before it were enough.
func (b *Backlog) Obstacle(job string) api.Obstacle {
	if b.taking[job] > 0 {
		return api.Obstacle{Kind: api.ObstacleTaking}
	}
	return b.found[job]
}

// Jobs are those of which there is an obstacle.
func (b *Backlog) Jobs() map[string]bool {
	out := make(map[string]bool, len(b.found)+len(b.taking))
	for id := range b.found {
		out[id] = true
	}
	for id := range b.taking {
		out[id] = true
	}
	return out
}

func (b *Backlog) tried(*entry) { b.Tried++ }

func (b *Backlog) passed(e *entry, ready bool, until time.Time) {
	switch gang := e.job.Spec.Gang; {
	case b.Deaf:
	case !ready && gang > 0:
		b.found[e.job.ID] = api.Obstacle{Kind: api.ObstacleParts, Gang: gang}
	case !ready:
		b.found[e.job.ID] = api.Obstacle{Kind: api.ObstacleBackoff, Until: until}
	default:
		b.found[e.job.ID] = b.full[e.class]
	}
}

func (b *Backlog) kept(j *api.Job, by *reserve.Quota, of string) {
	if !b.Deaf {
		b.below[j.ID] = api.Obstacle{Kind: api.ObstacleQuota, Partition: of, Job: by.Job, Until: by.At}
	}
}

func (b *Backlog) barred(j *api.Job, by []fsm.RunningBar) {
	if !b.Deaf && len(by) > 0 {
		b.found[j.ID] = ofBar(by[0])
	}
}

func (b *Backlog) taken(j *api.Job, n int) {
	if !b.Deaf {
		b.taking[j.ID] += n
	}
}

func (b *Backlog) blocked(p *pass, t *turn, limit bool) {
	if b.Deaf {
		return
	}
	j := t.entry.job
	if o, told := p.leaving(j.ID); told {
		b.found[j.ID] = o
		return
	}
	if !limit {
		o := b.noRoom(p, t)
		b.found[j.ID], b.full[t.seat.Class] = o, o
		return
	}
	if hits := p.hits(t.q.part.Path, j.Spec.Need().Times(max(1, j.Spec.Gang))); hits != nil {
		b.found[j.ID] = hits[0].obstacle()
		return
	}
	b.found[j.ID] = b.below[j.ID]
}

// noRoom is what keeps the current job from all nodes.
func (b *Backlog) noRoom(p *pass, t *turn) api.Obstacle {
	spec, need := t.entry.job.Spec, t.seat.Class.Need
	if o := b.unable(p, t); o.Kind != "" {
		return o
	}
	for _, i := range slices.Sorted(maps.Keys(p.held)) {
		if t.seat.Class.May(i) && order.Lacks(p.e.slots.Free[i], need, t.seat.Class.AnyPorts) == "" {
			if o := p.heldFor(t.entry, t.q.part.Path, need, i); o != nil {
				return *o
			}
		}
	}
	if near := t.seat.Class.Near; near != nil {
		for i, n := range p.e.slots.Node {
			if kind, job := near.Against(n); kind != "" && !t.seat.Class.May(i) {
				if kind == api.ObstacleNear && p.view.Job(job) == nil {
					kind = api.ObstacleNoJob
				}
				return api.Obstacle{Kind: kind, Job: job}
			}
		}
	}
	if spec.Gang > 0 {
		return api.Obstacle{Kind: api.ObstacleGang, Gang: spec.Gang}
	}
	return api.Obstacle{Kind: api.ObstacleFull}
}

// unable is what keeps the tasks of the current job from all nodes even if those
// were empty, of no kind if nothing does.
func (b *Backlog) unable(p *pass, t *turn) api.Obstacle {
	spec := t.entry.job.Spec
	key := fmt.Sprint(order.Key(t.q.part, spec), "|", spec.Gang)
	o, known := b.never[key]
	if !known && len(b.never) < maxKinds {
		o = neverOn(&p.e.slots, t.q.part, spec)
		b.never[key] = o
	}
	return o
}

func neverOn(slots *order.Slots, part *api.Partition, spec *api.JobSpec) api.Obstacle {
	need, ports := spec.Need(), spec.AnyPorts()
	r := reserve.Request{Need: need, Want: max(1, spec.Gang), AtMostOne: ports > 0, Fits: func(left api.Resources) bool { return order.Lacks(left, need, ports) == "" }}
	out, room := api.Obstacle{Kind: api.ObstacleOut}, 0
	for i, n := range slots.Node {
		if fsm.Unfit(n, part, spec) != "" || !r.Fits(slots.Whole[i]) {
			continue
		}
		if text := unavailable(n); text != "" {
			out.Detail = cmp.Or(out.Detail, text)
			out.Nodes = append(out.Nodes, n.Name)[:min(3, len(out.Nodes)+1)]
			continue
		}
		if room += r.Count(slots.Whole[i]); room >= r.Want {
			return api.Obstacle{}
		}
	}
	switch {
	case len(slots.Node) == 0:
		return api.Obstacle{Kind: api.ObstacleNoNodes}
	case len(out.Nodes) > 0:
		return out
	}
	return api.Obstacle{Kind: api.ObstacleNever}
}

// Kept is when the jobs can start for which room is kept on nodes or below limits,
// as far as that is known.
func (e *Engine) Kept() map[string]time.Time {
	out := map[string]time.Time{}
	for _, h := range e.holds {
		out[h.Job] = h.At
	}
	for _, q := range e.quotas {
		if !q.Blind {
			out[q.Job] = q.At
		}
	}
	maps.DeleteFunc(out, func(_ string, at time.Time) bool { return at.IsZero() })
	return out
}

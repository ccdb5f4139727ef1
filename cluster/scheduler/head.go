package scheduler

import (
	"maps"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// A task that is wider than what its partition is entitled to might wait for ever
// by weights alone: after the longer of an hour and so many times its --time, the
// room that is kept for it is kept from all but guarantees. That is reckoned since
// its job was made, which the state tells: what was first meanwhile, or another
// leader, do not begin it anew. Of a backlog of such tasks each waits so long after
// the one before that was let in so, or weights would mean nothing to it.
const (
	leastLate = time.Hour
	timesLate = 10
)

// maxMarks bounds how many names there may be averages of for each that there is.
const maxMarks = 4

// advance counts the shares since the last pass.
func (p *pass) advance() {
	e := p.e
	if e.heads == nil {
		e.heads, e.shares = map[string]*reserve.Head{}, reserve.Averages{}
	}
	seconds := e.shares.Advance(p.now)
	for _, h := range e.heads {
		h.Advance(seconds)
	}
	if seconds > 0 || e.shares.Len() == 0 {
		p.count()
	}
}

// count says what the shares are from now on.
func (p *pass) count() {
	n := 0
	for name, share := range p.round.Shares() {
		p.e.shares.Set(name, share)
		n++
	}
	if p.e.shares.Len() > maxMarks*n+64 { // partitions come and go
		p.e.heads, p.e.shares = map[string]*reserve.Head{}, reserve.Averages{}
	}
}

// waits notes that the current task of a partition is the first that waits for
// room on nodes, or below a limit.
func (p *pass) waits(t *turn) {
	path, j, index, attempt := t.q.part.Path, t.entry.job, 0, 0
	if u := t.tasks.peek(); u != nil {
		index, attempt = u.index, u.attempt
	}
	h := p.e.heads[path]
	if !h.Is(j.ID, index, attempt) {
		h = reserve.NewHead(j.ID, index, attempt, p.now, &p.e.shares, h)
		p.e.heads[path] = h
	}
	if h.Began = p.e.since(path, j, h); !h.Late && !p.now.Before(h.Began.Add(latest(j))) {
		h.Late = p.wide(path, j)
	}
	t.head = h
}

// wide reports whether a job's task is more than what its partition is entitled to.
func (p *pass) wide(path string, j *api.Job) bool {
	return fsm.Dominant(j.Spec.Need().Times(max(1, j.Spec.Gang)), p.view.Capacity()) > p.round.Fair(path)
}

// since is when the wait of a partition's first task began that is bounded.
func (e *Engine) since(path string, j *api.Job, h *reserve.Head) time.Time {
	if last := e.late[path]; last != nil && !last.head.Is(h.Job, h.Index, h.Attempt) && last.at.After(j.Created) {
		return last.at
	}
	return j.Created
}

// letIn is the last task of a partition that started because it was late.
type letIn struct {
	head *reserve.Head
	at   time.Time
}

// startsLate notes that a task starts which was late.
func (p *pass) startsLate(path string, c fsm.Placement) {
	if h := p.e.heads[path]; h != nil && h.Late && h.Is(c.Job, c.Index, c.Attempt) {
		p.e.late[path] = &letIn{h.Clone(), p.now}
	}
}

// latest is how long a job waits at most that is wider than its partition is
// entitled to.
func latest(j *api.Job) time.Duration { return max(leastLate, timesLate*bound(j.Spec)) }

// settle keeps what the pass found out of those who wait first for the next one.
func (p *pass) settle() {
	for _, kind := range []bool{false, true} {
		for path, h := range maps.Clone(p.e.kept(kind)) {
			if t := p.turns[path]; t == nil || t.first == nil || t.first.job.ID != h.Job || kind && p.e.holds[path] == nil {
				p.drop(h)
			}
		}
	}
	for path, q := range maps.Clone(p.e.quotas) {
		if t := p.turns[path]; t == nil || t.first == nil || t.first.job.ID != q.Job || !t.limited {
			p.dropQuota(q, true)
		}
	}
	maps.DeleteFunc(p.e.late, func(path string, _ *letIn) bool { return p.e.queues[path] == nil })
	for path, h := range p.e.heads {
		t := p.turns[path]
		if t == nil || t.head != h {
			delete(p.e.heads, path)
			continue
		}
		h.Idles(p.idle(p.e.holds[path]) + p.idle(p.e.more[path]) + p.idleBelow(p.e.quotas[path]))
	}
	p.tally()
	p.count()
}

// idle is the dominant share of what a hold keeps of what is free.
func (p *pass) idle(h *reserve.Hold) float64 {
	return fsm.Dominant(p.leftOf(h), p.view.Capacity())
}

// leftOf is what a hold keeps of what is free.
func (p *pass) leftOf(h *reserve.Hold) api.Resources {
	if h == nil {
		return api.Resources{}
	}
	return h.Idle(func(slot int) api.Resources { return p.e.slots.Free[slot] })
}

// keepsOut reports whether room that is held is kept from a job's task, as far as
// it matters whose they are: not from that which it is held for, always from
// others of its partition, and from other partitions as guarantees say, or else
// weights.
func (p *pass) keepsOut(h *reserve.Hold, path string, e *entry, need api.Resources) bool {
	if h.More && h.Path == path {
		return false
	}
	return p.goesBefore(&h.Kept, func() float64 { return p.idle(h) }, path, e, need)
}

// goesBefore is keepsOut of any reservation, of which so much is idle.
func (p *pass) goesBefore(h *reserve.Kept, idle func() float64, path string, e *entry, need api.Resources) bool {
	switch {
	case h.Job == e.job.ID:
		return false
	case h.Path == path:
		return true
	case p.precedes(h.Path, h.Whole, path, need):
		return true
	case p.isAhead(path, h.Path, need):
		return false
	}
	owner, own := p.e.heads[h.Path], p.e.heads[path]
	if own != nil && own.Job == e.job.ID && own.Late && (owner == nil || !owner.Late || own.Began.Before(owner.Began)) {
		return false
	}
	return owner != nil && (owner.Late || p.behind(owner, h.Path, path, idle()))
}

// precedes reports whether a guarantee puts what a partition asks for before what another
// one does: it covers that, and no guarantee covers the other, or the other is served
// later. If each of two were kept from the room of the other, both would wait for ever.
func (p *pass) precedes(path string, need api.Resources, other string, theirs api.Resources) bool {
	return p.isAhead(path, other, need) && (!p.isAhead(other, path, theirs) || p.round.Sooner(path, other))
}

// behind reports whether the partition of one that waits first has less than
// another one, by weight.
func (p *pass) behind(h *reserve.Head, path, other string, idle float64) bool {
	names, weights, shares, ok := p.round.Apart(path, other)
	return ok && h.KeepsOut(&p.e.shares, reserve.Side{Name: names[0], Weight: weights[0], Share: shares[0]}, reserve.Side{Name: names[1], Weight: weights[1], Share: shares[1]}, idle)
}

// outstands reports whether one that waits first takes the place of another, whose
// room is not kept from it.
func (p *pass) outstands(h *reserve.Head, path string, o *reserve.Kept) bool {
	if p.precedes(path, o.Need, o.Path, o.Need) || h.Late {
		return true
	}
	return p.behind(h, path, o.Path, 0)
}

package scheduler

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
)

// maxHoldNodes bounds the nodes looked at for one hold: those that lack least.
const maxHoldNodes = 64

// hold keeps room for a job, if that can help it.
func (p *pass) hold(t *turn, e *entry) {
	path := t.q.part.Path
	h := p.e.holds[path] // renewed when the pass began
	c := p.e.classOf(e, t.q)
	if h == nil || h.Job != e.job.ID {
		p.drop(h)
		p.drop(p.e.more[path])
		h = p.compete(t, e, c, p.candidates(e, c), false)
	}
	if h != nil && h.Own && len(p.turns) > 1 && p.e.more[path] == nil {
		p.compete(t, e, c, p.candidates(e, c), true)
	}
}

// compete keeps room for a job. Where it competes with what is kept for others,
// only one of them is: the job's, if that is not kept out and would keep them out.
func (p *pass) compete(t *turn, e *entry, c *order.Class, slots []int, more bool) *reserve.Hold {
	yields := map[*reserve.Hold]bool{}
	h := p.findHold(e, t.q, c, slots, more, func(o *reserve.Hold) bool {
		y, known := yields[o]
		if !known {
			y = o.Path != t.q.part.Path && !p.keepsOut(o, t.q.part.Path, e, c.Need) && p.outstands(t.head, t.q.part.Path, &o.Kept)
			yields[o] = y
		}
		return y
	})
	if h == nil {
		return nil
	}
	for i := range h.Tasks {
		for _, o := range slices.Clone(p.held[i]) {
			if yields[o] && !h.Extra[i].Fits(o.Need.Times(o.Tasks[i])) {
				p.drop(o)
			}
		}
	}
	p.keep(h)
	return h
}

// renew computes a hold of an earlier pass anew, on the same nodes, if they can
// still help.
func (p *pass) renew(h *reserve.Hold, l *live) {
	c := p.e.classOf(l.entry, l.queue)
	var slots []int
	for _, id := range h.Nodes {
		if i, ok := p.e.slots.Of(id); ok && c.May(i) {
			slots = append(slots, i)
		}
	}
	if n := p.findHold(l.entry, l.queue, c, slots, h.More, nobody); n != nil {
		p.keep(n)
	}
}

// kept is the holds of one kind, by partition.
func (e *Engine) kept(more bool) map[string]*reserve.Hold {
	if e.holds == nil {
		e.holds = map[string]*reserve.Hold{}
	}
	if e.more == nil {
		e.more = map[string]*reserve.Hold{}
	}
	if more {
		return e.more
	}
	return e.holds
}

func (p *pass) keep(h *reserve.Hold) {
	p.e.kept(h.More)[h.Path] = h
	for i := range h.Tasks {
		p.held[i] = append(p.held[i], h)
	}
}

func (p *pass) drop(h *reserve.Hold) {
	if h == nil {
		return
	}
	delete(p.e.kept(h.More), h.Path)
	p.freed = true
	for i := range h.Tasks {
		p.held[i] = slices.DeleteFunc(p.held[i], func(x *reserve.Hold) bool { return x == h })
	}
}

// candidates lists the slots that could take the job's tasks one day, those
// that lack least first.
func (p *pass) candidates(e *entry, c *order.Class) []int {
	type candidate struct {
		slot int
		lack float64
	}
	most := maxHoldNodes
	if g := e.job.Spec.Gang; g > 0 {
		most = max(most, 2*g)
	}
	best := make([]candidate, 0, most) // the least lack first, then the first slot
	for i := range p.e.slots.Node {
		if !c.May(i) {
			continue
		}
		x := candidate{i, c.Lack(i)}
		if len(best) == most && x.lack >= best[most-1].lack || !c.CouldTake(i) {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, x, func(a, b candidate) int {
			if a.lack <= b.lack {
				return -1
			}
			return 1
		})
		best = slices.Insert(best[:min(len(best), most-1)], at, x)
	}
	out := make([]int, len(best))
	for k, x := range best {
		out[k] = x.slot
	}
	return out
}

// request is so many tasks of a class at once.
func request(c *order.Class, want int) reserve.Request {
	return reserve.Request{Need: c.Need, Want: want, AtMostOne: c.AnyPorts > 0,
		Fits: func(left api.Resources) bool { return order.Lacks(left, c.Need, c.AnyPorts) == "" }}
}

// nobody yields.
func nobody(*reserve.Hold) bool { return false }

// findHold finds when and where a job can start once tasks end, in the order
// of their estimated ends; nil if it cannot even then.
// What is on offer that it may take back is free to it, and holds that yield to it are
// not there. With more, the partition's own
// tasks do not count as ending.
func (p *pass) findHold(e *entry, q *queue, c *order.Class, slots []int, more bool, yields func(*reserve.Hold) bool) *reserve.Hold {
	r := request(c, max(1, e.job.Spec.Gang))
	rooms, ends := make([]reserve.Room, 0, len(slots)), p.e.ends[:0]
	gives := p.givesWay(e, q, c.Need)
	for _, i := range slots {
		left := p.leftWithout(p.mayEnd(q.part.Path, i, c.Need, c.Need.Times(r.Want)), i)
		for _, o := range p.held[i] {
			if yields(o) {
				continue
			}
			left = left.Minus(o.Need.Times(o.Tasks[i]))
		}
		for _, o := range p.claims[i] {
			if o.job != e.job.ID {
				left = left.Minus(o.need)
			}
		}
		rooms = append(rooms, reserve.Room{Slot: i, Left: left})
		ends = p.releases(ends, i, q.part.Path, gives)
	}
	if more {
		ends = slices.DeleteFunc(ends, func(r reserve.Release) bool { return r.Own })
	}
	h := reserve.Find(r, rooms, ends, p.now)
	clear(ends)
	p.e.ends = ends[:0]
	if h == nil {
		return nil
	}
	h.More = more
	h.Job, h.Path, h.Entitled = e.job.ID, q.part.Path, p.entitled(q.part.Path, c.Need.Times(r.Want))
	for _, i := range slots {
		if h.Tasks[i] > 0 {
			h.Nodes = append(h.Nodes, p.e.slots.Node[i].ID)
		}
	}
	return h
}

// givesWay tells of which tasks a job may take what it needs, once they were
// left alone for as long as they must be.
func (p *pass) givesWay(e *entry, q *queue, need api.Resources) func(v *api.Task, j *api.Job) bool {
	lent := map[string]bool{} // by partition
	return func(v *api.Task, j *api.Job) bool {
		if v.Partition == q.part.Path {
			return q.part.Preempt != api.PreemptNever && p.outranks(q.part, e.job, j, v.Ran(p.now))
		}
		ok, known := lent[v.Partition]
		if !known {
			part := p.view.Partition(v.Partition)
			ok = part != nil && part.Preempt != api.PreemptNever && p.mayReclaim(q.part.Path, v.Partition, need, need)
			lent[v.Partition] = ok
		}
		return ok
	}
}

// releases adds what the tasks of a slot will give back, as one of that partition
// sees it, those that this pass
// starts with them. Services never do, but where they are preempted.
func (p *pass) releases(out []reserve.Release, slot int, path string, gives func(v *api.Task, j *api.Job) bool) []reserve.Release {
	var j *api.Job
	for t := range p.view.NodeTasks(p.e.slots.Node[slot].ID) {
		if j == nil || j.ID != t.Job {
			j = p.view.Job(t.Job)
		}
		if j == nil {
			continue
		}
		at, known := p.endOf(t, j)
		hoped := leaves(t)
		if !t.Leaving() && gives(t, j) {
			due := p.now.Add(time.Second)
			if part := p.view.Partition(t.Partition); part != nil {
				if !t.Preempted.IsZero() {
					due = later(due, t.Preempted.Add(time.Duration(part.MinRuntime)))
				}
				due = due.Add(time.Duration(part.Notice))
			}
			if !known || at.IsZero() || due.Before(at) {
				at, known, hoped = due, true, true
			}
		}
		if known {
			out = append(out, reserve.Release{At: at, Slot: slot, Held: t.Held(), Own: t.Partition == path, Grace: graceOf(j.SpecFor(t)), Hoped: hoped})
		}
	}
	for x := range p.e.started.on(slot) {
		if r, ends := p.release(x); ends {
			r.Own = x.job.Spec.Partition == path
			out = append(out, r)
		}
	}
	return out
}

// endOf is when a task will end: zero if nobody knows when, false if it is not
// known to end at all.
func (p *pass) endOf(t *api.Task, j *api.Job) (at time.Time, ends bool) {
	if leaves(t) {
		return later(p.now.Add(time.Second), leavesAt(t)), true
	}
	if j.Spec.Kind != api.KindBatch {
		return time.Time{}, false
	}
	if d := bound(j.SpecFor(t)); d > 0 {
		at = p.now.Add(max(d-t.Ran(p.now), time.Second)) // one that is overdue is about to end
	}
	return at, true
}

// leaves reports whether a task was told to end, now or in a while.
func leaves(t *api.Task) bool {
	return t.Desired == api.DesiredStop || t.Desired == api.DesiredMove || t.Leaving()
}

// leavesAt is when a task that was told to end gets its stop signal, zero: it did.
func leavesAt(t *api.Task) time.Time {
	if t.Leaving() {
		return *t.Leaves
	}
	return time.Time{}
}

// graceOf is how long a task may take to end after it was told to.
func graceOf(s *api.JobSpec) time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(s.StopGrace)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mayUse reports whether a task may go to a slot in which room is held.
func (p *pass) mayUse(t *turn, slot int, need api.Resources) bool {
	if !p.leavesClaims(t, t.entry, t.entry.job.ID, slot, need) {
		return false
	}
	for _, h := range p.held[slot] {
		if !p.endsBefore(t.entry.job, h) && !h.Extra[slot].Fits(need) && !p.isLoan(t, &h.Kept) && p.keepsOut(h, t.q.part.Path, t.entry, need) {
			return false
		}
	}
	return true
}

// isLoan reports whether the holder can take back what a task of the current job
// gets, and will not want it before the task was worth starting.
func (p *pass) isLoan(t *turn, h *reserve.Kept) bool {
	part := t.q.part
	if part.Preempt == api.PreemptNever || !h.At.IsZero() && h.At.Sub(p.now) < time.Duration(part.MinRuntime) {
		return false
	}
	if h.Path != part.Path {
		return p.mayReclaim(h.Path, part.Path, h.Need, api.Resources{})
	}
	l := p.e.jobs[h.Job]
	return l != nil && l.entry != nil && p.outranks(part, l.entry.job, t.entry.job, 0)
}

// mayClaim reports whether what is taken back on a slot would be the job's. It
// must not rely on when tasks end there: that is what is to change.
func (p *pass) mayClaim(t *turn, e *entry, slot int, need api.Resources) bool {
	for _, h := range p.held[slot] {
		if p.keepsOut(h, t.q.part.Path, e, need) {
			return false
		}
	}
	return true
}

func (p *pass) endsBefore(j *api.Job, h *reserve.Hold) bool { return p.endsBy(j, h.At) }

// endsBy reports whether a job that starts now ends by then, at a known time.
func (p *pass) endsBy(j *api.Job, at time.Time) bool {
	d := bound(j.Spec)
	return d > 0 && !at.IsZero() && !p.now.Add(d).After(at)
}

// backfilled takes a task that stays beyond the start of a held job off what
// is left then.
func (p *pass) backfilled(t *turn, slot int, need api.Resources) {
	for _, h := range p.held[slot] {
		if h.Job != t.entry.job.ID && !p.endsBefore(t.entry.job, h) && !p.isLoan(t, &h.Kept) {
			h.Extra[slot] = h.Extra[slot].Minus(need)
		}
	}
}

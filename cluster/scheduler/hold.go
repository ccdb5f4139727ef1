package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// hold is room kept for the first job of a partition that does not fit: the
// reservation of EASY backfilling (Lifka, The ANL/IBM SP Scheduling System,
// JSSPP 1995). Others may use it only if they end before, or if enough is left
// then.
type hold struct {
	job      string
	path     string
	seq      int // older holds go first
	need     api.Resources
	entitled bool
	at       time.Time             // when the job can start; zero: when tasks of unknown length end
	tasks    map[int]int           // how many of the job's tasks each slot will take
	extra    map[int]api.Resources // what is left of each slot then
	nodes    []string              // of the slots, which may be numbered anew
	fresh    bool                  // it counts on the end of what this pass starts
}

// until says how long something is held.
func until(at time.Time) string {
	if at.IsZero() {
		return "until its tasks end"
	}
	return "until " + at.Format("15:04")
}

// maxHoldNodes bounds the nodes looked at for one hold: those that lack least.
const maxHoldNodes = 64

// hold keeps room for a job, if that can help it.
func (p *pass) hold(t *turn, e *entry) {
	old := p.e.holds[t.q.part.Path]
	if old != nil && old.job == e.job.ID {
		return // it was renewed when the pass began
	}
	p.drop(old)
	c := p.e.classOf(e, t.q)
	if h := p.findHold(e, t.q, c, p.candidates(e, c)); h != nil {
		p.e.clock++
		h.seq = p.e.clock
		p.keep(h)
	}
}

// renew computes a hold of an earlier pass anew, on the same nodes, if they can
// still help.
func (p *pass) renew(h *hold, l *live) {
	c := p.e.classOf(l.entry, l.queue)
	var slots []int
	for _, id := range h.nodes {
		if i, ok := p.e.slots.ids[id]; ok && c.ok[i] {
			slots = append(slots, i)
		}
	}
	n := p.findHold(l.entry, l.queue, c, slots)
	if n != nil {
		n.seq = h.seq
		p.keep(n)
	}
}

func (p *pass) keep(h *hold) {
	if p.e.holds == nil {
		p.e.holds = map[string]*hold{}
	}
	p.e.holds[h.path] = h
	for i := range h.tasks {
		p.held[i] = append(p.held[i], h)
	}
}

func (p *pass) drop(h *hold) {
	if h == nil {
		return
	}
	delete(p.e.holds, h.path)
	p.freed = true
	for i := range h.tasks {
		p.held[i] = slices.DeleteFunc(p.held[i], func(x *hold) bool { return x == h })
	}
}

// candidates lists the slots that could take the job's tasks one day, those
// that lack least first.
func (p *pass) candidates(e *entry, c *class) []int {
	type cand struct {
		i    int
		lack float64
	}
	var all []cand
	for i := range c.s.node {
		if !c.ok[i] || !c.s.node[i].Resources.Fits(c.need) {
			continue
		}
		f, most := &c.s.free[i], &c.s.most
		lack := missing(int64(c.need.CPUs-f.CPUs), int64(most.CPUs)) + missing(int64(c.need.Mem-f.Mem), int64(most.Mem)) + missing(c.need.GPUs-f.GPUs, most.GPUs)
		all = append(all, cand{i, lack})
	}
	slices.SortStableFunc(all, func(a, b cand) int { return cmp.Compare(a.lack, b.lack) })
	n := maxHoldNodes
	if g := e.job.Spec.Gang; g > 0 {
		n = max(n, 2*g)
	}
	out := make([]int, 0, n)
	for _, x := range all[:min(n, len(all))] {
		out = append(out, x.i)
	}
	return out
}

func missing(lack, most int64) float64 {
	if lack <= 0 || most <= 0 {
		return 0
	}
	return float64(lack) / float64(most)
}

// release is resources that come back.
type release struct {
	at    time.Time // zero: nobody knows when
	slot  int
	held  api.Resources
	fresh bool // of a task that starts in this pass
}

// compare orders by time, those of which nobody knows it last.
func (r release) compare(o release) int {
	if r.at.IsZero() != o.at.IsZero() {
		if r.at.IsZero() {
			return 1
		}
		return -1
	}
	return r.at.Compare(o.at)
}

// findHold finds when and where a job can start once tasks end, in the order
// of their estimated ends; nil if it cannot even then.
func (p *pass) findHold(e *entry, q *queue, c *class, slots []int) *hold {
	want := max(1, e.job.Spec.Gang)
	h := &hold{job: e.job.ID, path: q.part.Path, need: c.need, tasks: map[int]int{}, extra: map[int]api.Resources{}, at: p.now}
	h.entitled = p.round.Entitled(h.path, times(c.need, want))
	left := map[int]api.Resources{}
	room := map[int]int{}
	total := 0
	var ends []release
	gives := p.givesWay(e, q, c.need)
	for _, i := range slots {
		left[i] = c.s.free[i]
		for _, o := range p.held[i] {
			left[i] = left[i].Minus(times(o.need, o.tasks[i]))
		}
		for _, o := range p.claims[i] {
			if o.job != e.job.ID {
				left[i] = left[i].Minus(o.need)
			}
		}
		room[i] = countFits(left[i], c, want)
		total += room[i]
		ends = p.releases(ends, i, gives)
	}
	slices.SortStableFunc(ends, release.compare)
	for _, r := range ends {
		if total >= want && (r.at.IsZero() || !r.at.Equal(h.at)) {
			break // what comes back at the same time is left to others
		}
		left[r.slot] = left[r.slot].Add(r.held)
		n := countFits(left[r.slot], c, want)
		total += n - room[r.slot]
		room[r.slot], h.at = n, r.at
		h.fresh = h.fresh || r.fresh
	}
	if total < want {
		return nil
	}
	for _, i := range slots {
		n := min(room[i], want)
		if n == 0 {
			continue
		}
		h.tasks[i], h.extra[i] = n, left[i].Minus(times(c.need, n))
		h.nodes = append(h.nodes, c.s.node[i].ID)
		if want -= n; want == 0 {
			break
		}
	}
	return h
}

func countFits(left api.Resources, c *class, most int) int {
	n := 0
	for n < most && lacks(left, c.need, c.anyPorts) == "" {
		left = left.Minus(c.need)
		if c.anyPorts > 0 {
			most = 1 // how many more ports fit is not worth counting
		}
		n++
	}
	return n
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
			ok = part != nil && part.Preempt != api.PreemptNever && p.round.MayReclaim(q.part.Path, v.Partition, need, need)
			lent[v.Partition] = ok
		}
		return ok
	}
}

// releases adds what the tasks of a slot will give back, those that this pass
// starts with them. Services never do, but where they give way.
func (p *pass) releases(out []release, slot int, gives func(v *api.Task, j *api.Job) bool) []release {
	for t := range p.view.NodeTasks(p.e.slots.node[slot].ID) {
		j := p.view.Job(t.Job)
		if j == nil {
			continue
		}
		at, known := p.endOf(t, j)
		if gives(t, j) {
			due := p.now.Add(time.Second)
			if part := p.view.Partition(t.Partition); !t.Preempted.IsZero() && part != nil {
				due = later(due, t.Preempted.Add(time.Duration(part.MinRuntime)))
			}
			if !known || at.IsZero() || due.Before(at) {
				at, known = due, true
			}
		}
		if known {
			out = append(out, release{at: at, slot: slot, held: t.Held()})
		}
	}
	for x := range p.e.started.on(slot) {
		if r, ends := p.release(x); ends {
			out = append(out, r)
		}
	}
	return out
}

// endOf is when a task will end: zero if nobody knows when, false if it is not
// known to end at all.
func (p *pass) endOf(t *api.Task, j *api.Job) (at time.Time, ends bool) {
	if t.Desired == api.DesiredStop || t.Desired == api.DesiredMove {
		return p.now.Add(time.Second), true
	}
	if j.Spec.Kind != api.KindBatch {
		return time.Time{}, false
	}
	if d := bound(j); d > 0 {
		at = p.now.Add(max(d-t.Ran(p.now), time.Second)) // one that is overdue is about to end
	}
	return at, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mayUse tells whether a task may go to a slot in which room is held.
func (p *pass) mayUse(t *turn, slot int, need api.Resources) bool {
	if !p.leavesClaims(t, t.entry, t.entry.job.ID, slot, need) {
		return false
	}
	for _, h := range p.held[slot] {
		if h.fresh && h.path != t.q.part.Path {
			continue // as the round goes on, all partitions have their share first
		}
		if !p.goesFirst(t, t.entry, h, need) && !p.endsBefore(t.entry.job, h) && !h.extra[slot].Fits(need) && !p.isLoan(t, h) {
			return false
		}
	}
	return true
}

// isLoan tells whether the holder can take back what a task of the current job
// gets, and will not want it before the task was worth starting.
func (p *pass) isLoan(t *turn, h *hold) bool {
	part := t.q.part
	if part.Preempt == api.PreemptNever || !h.at.IsZero() && h.at.Sub(p.now) < time.Duration(part.MinRuntime) {
		return false
	}
	if h.path != part.Path {
		return p.round.MayReclaim(h.path, part.Path, h.need, api.Resources{})
	}
	l := p.e.jobs[h.job]
	return l != nil && l.entry != nil && p.outranks(part, l.entry.job, t.entry.job, 0)
}

// mayClaim tells whether what is taken back on a slot would be the job's. It
// must not rely on when tasks end there: that is what is to change.
func (p *pass) mayClaim(t *turn, e *entry, slot int, need api.Resources) bool {
	for _, h := range p.held[slot] {
		if !p.goesFirst(t, e, h, need) {
			return false
		}
	}
	return true
}

// goesFirst tells whether a job's task need not stand back for a hold: it is
// the job's own, or younger than that, or for what its partition was not
// promised while the task's was.
func (p *pass) goesFirst(t *turn, e *entry, h *hold, need api.Resources) bool {
	if own := p.e.holds[t.q.part.Path]; h.job == e.job.ID || own != nil && own.job == e.job.ID && own.seq < h.seq {
		return true
	}
	return !h.entitled && p.round.Ahead(t.q.part.Path, h.path, need)
}

func (p *pass) endsBefore(j *api.Job, h *hold) bool { return p.endsBy(j, h.at) }

// endsBy tells whether a job that starts now ends by then, at a known time.
func (p *pass) endsBy(j *api.Job, at time.Time) bool {
	d := bound(j)
	return d > 0 && !at.IsZero() && !p.now.Add(d).After(at)
}

// backfilled takes a task that stays beyond the start of a held job off what
// is left then.
func (p *pass) backfilled(t *turn, slot int, need api.Resources) {
	for _, h := range p.held[slot] {
		if h.job != t.entry.job.ID && !p.endsBefore(t.entry.job, h) && !p.isLoan(t, h) {
			h.extra[slot] = h.extra[slot].Minus(need)
		}
	}
}

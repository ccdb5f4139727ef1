package scheduler

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// batch is how many placements go into one command.
const batch = 512

// maxPlaced is how many tasks one pass places at most: what it decided is on
// its way to the voters while the next one decides.
const maxPlaced = 32 * batch

// maxBlocked is how many jobs that cannot start a pass looks past in each
// partition, so that a long backlog on a full cluster costs a bounded time.
const maxBlocked = 256

// pass is one decision over one view.
type pass struct {
	e       *Engine
	view    *fsm.View
	now     time.Time
	round   Round
	turns   map[string]*turn
	held    map[int][]*reserve.Hold // room held, by slot
	claims  map[int][]*claim        // and what is being taken back
	limits  map[string]*limit       // and room kept below limits, by partition
	thawed  map[string]bool         // tasks
	loans   loans                   // what is on offer
	rescind recalled                // of that, what the next placement ends
	running *fsm.Tally              // what runs, and was started, where that is bounded
	ahead   []*turn                 // those whose first counts in it before it was started
	freed   bool                    // some of it no more, which others had to pass by
	open    *fsm.TaskPlace
	placed  int
	cmds    []fsm.Command
	next    time.Time
	ends    map[string]time.Duration // estimates of the jobs asked for in this pass
	looks   observer
	whole   bool // it continues however much is placed
}

// turn is a partition's place in its queue during a pass.
type turn struct {
	q       *queue
	cur     *cursor
	entry   *entry // the job being placed
	seat    *order.Seat
	tasks   *units
	kept    map[*entry]interrupted
	blocked int
	capped  map[string]bool // users of whom no more may run
	first   *entry          // the first job that did not fit
	head    *reserve.Head   // and its task, if room is kept for it
	limited bool            // it was a limit that it lacks room below
	waiting []*entry
	frozen  []*api.Task // those of the partition that may continue
	listed  bool
	packed  *packing
}

// interrupted is the turn of a job that another user came before.
type interrupted struct {
	seat  *order.Seat
	tasks *units
}

func newPass(e *Engine, now time.Time) *pass {
	e.now, e.started = now, newStarted(len(e.slots.Node), e.started)
	p := &pass{e: e, view: e.view, now: now, round: e.begin(e.view), turns: map[string]*turn{}, held: map[int][]*reserve.Hold{}, claims: map[int][]*claim{}, limits: map[string]*limit{}, thawed: map[string]bool{}, ends: map[string]time.Duration{}, looks: unobserved{}, running: e.view.Tally(), loans: e.lent()}
	p.renewClaims()
	p.advance()
	for _, more := range []bool{false, true} {
		old := maps.Clone(e.kept(more))
		clear(e.kept(more))
		for _, path := range slices.Sorted(maps.Keys(old)) {
			h := old[path]
			if l := e.jobs[h.Job]; l != nil && l.entry != nil && l.part == h.Path {
				p.renew(h, l)
			}
		}
	}
	p.renewQuotas()
	return p
}

func (p *pass) run() {
	for path := p.round.Next(); path != ""; path = p.round.Next() {
		if p.placed >= maxPlaced && !p.whole {
			p.pause()
			return
		}
		if !p.serve(path) {
			p.round.Done(path)
		}
	}
	p.flush()
	p.settle()
	p.preempt()
}

// pause ends a pass that has decided enough for now; the next one continues at
// once.
func (p *pass) pause() {
	p.flush()
	for _, t := range p.turns {
		if t.seat != nil {
			p.leave(t)
		}
	}
	p.next = p.now
}

func (p *pass) turn(path string) *turn {
	t := p.turns[path]
	if t == nil {
		q := p.e.queues[path]
		if q == nil {
			return nil
		}
		t = &turn{q: q, cur: newCursor(q, func(user string) float64 { return p.e.userUse(q, user, p.now) })}
		p.turns[path] = t
	}
	return t
}

// serve places the next task of a partition, or the next gang. It is false
// when the partition can use nothing more.
func (p *pass) serve(path string) bool {
	p.e.trim()
	t := p.turn(path)
	if t == nil {
		return false
	}
	if p.thaw(t) {
		return true
	}
	for {
		if t.entry == nil && !p.nextJob(t) {
			return false
		}
		if barred, all := p.barred(t); all {
			return false
		} else if barred {
			continue
		}
		if t.entry.job.Spec.Gang > 0 {
			if p.gang(t) {
				return true
			}
			if p.over(t) {
				return false
			}
			continue
		}
		u := t.tasks.peek()
		if u == nil {
			p.leave(t)
			continue
		}
		if !p.hasRoom(t, u.need) {
			if p.block(t, true) {
				return false
			}
			continue
		}
		i, more := p.pickOrRecall(t, u, u.need)
		if i < 0 {
			p.restore(p.rescind)
			p.rescind = nil
			if p.block(t, false) {
				return false
			}
			continue
		}
		p.rescind = append(p.rescind, more...)
		p.place(t, u, i)
		t.tasks.pop()
		p.charged(t, u.need)
		return true
	}
}

// charged counts a placement, and lets another user go first if it is now
// entitled to.
func (p *pass) charged(t *turn, need api.Resources) {
	p.round.Charge(t.q.part.Path, need)
	if t.q.users != nil && t.cur.charge(t.entry.job.Owner(), fsm.Dominant(need, p.view.Capacity())) {
		t.cur.back(t.entry)
		if t.kept == nil {
			t.kept = map[*entry]interrupted{}
		}
		t.kept[t.entry] = interrupted{t.seat, t.tasks}
		p.leave(t)
	}
}

// nextJob opens the next job that has a task to place now.
func (p *pass) nextJob(t *turn) bool {
	for e := t.cur.next(); e != nil; e = t.cur.next() {
		if t.blocked >= maxBlocked {
			return false
		}
		if t.capped[p.running.Owner(e.job)] {
			continue
		}
		if k, ok := t.kept[e]; ok {
			t.entry, t.seat, t.tasks = e, k.seat, k.tasks
			t.seat.Enter()
			return true
		}
		p.looks.tried(e)
		if t.first != nil && !p.looks.asks(e.job) && e.class.IsFull() {
			p.looks.passed(e, true, time.Time{})
			t.waiting = append(t.waiting, e)
			t.blocked++
			continue
		}
		units, again := newUnits(p.view, e.job, p.now)
		if _, at := p.view.Avoids(e.job, p.now); again.IsZero() || !at.IsZero() && at.Before(again) {
			again = at
		}
		if !again.IsZero() && (p.next.IsZero() || again.Before(p.next)) {
			p.next = again
		}
		if units.peek() == nil {
			p.looks.passed(e, false, again)
			continue
		}
		t.entry, t.tasks, t.seat = e, units, order.NewSeat(p.e.classOf(e, t.q), e.job, p.nodesOf(e.job.ID))
		t.seat.Enter()
		return true
	}
	return false
}

// nodesOf yields where the tasks of a job are that hold something.
func (p *pass) nodesOf(job string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for t := range p.view.MadeTasks(job) {
			if t.Holds() && !yield(t.NodeID) {
				return
			}
		}
	}
}

// leave ends the work on the current job.
func (p *pass) leave(t *turn) {
	t.seat.Leave()
	t.entry, t.seat = nil, nil
}

// block notes that the current job cannot continue, and leaves it. The first one
// gets room held for it. It is true when nothing behind it may start.
func (p *pass) block(t *turn, limit bool) (strict bool) {
	e := t.entry
	p.looks.blocked(p, t, limit)
	if t.first == nil && !limit && p.takeOver(t, e) {
		return false
	}
	t.waiting = append(t.waiting, e)
	t.blocked++
	if t.first == nil {
		t.first = e
		if limit {
			strict = p.keepQuota(t, e)
		} else {
			p.dropQuota(p.e.quotas[t.q.part.Path], true)
			p.waits(t)
			p.hold(t, e)
		}
		p.keepTurn(t, e)
	}
	p.leave(t)
	return strict || p.over(t)
}

// takeOver gives the room that was held for a job which is no longer the first
// to the one that is, and reports whether that can start there at once.
func (p *pass) takeOver(t *turn, e *entry) bool {
	old := p.e.holds[t.q.part.Path]
	if old == nil || old.Job == e.job.ID {
		return false
	}
	p.waits(t)
	p.hold(t, e)
	h := p.e.holds[t.q.part.Path]
	if h == nil || h.Job != e.job.ID || !h.At.Equal(p.now) {
		return false
	}
	t.seat.Leave() // it may look again at the slots that were barred
	t.seat.Enter()
	return true
}

func (p *pass) over(t *turn) bool { return t.blocked >= maxBlocked }

// place puts a task on a slot.
func (p *pass) place(t *turn, u *unit, i int) {
	spec := t.entry.job.SpecOf(u.version)
	need := u.need
	c := fsm.Placement{Job: t.entry.job.ID, Index: u.index, Attempt: u.attempt, NodeID: p.e.slots.Node[i].ID, Rescind: p.rescind.ids()}
	p.rescind = nil
	if len(spec.Ports) > 0 {
		c.Ports, need.Ports = pickPorts(spec, t.entry.job.ID, u, p.e.slots.Free[i].Ports)
		c.Resources = &need
	}
	p.backfilled(t, i, need)
	p.startsLate(t.q.part.Path, c)
	p.tallyStart(t.q.part.Path, c)
	p.endClaim(t.entry.job.ID, i)
	p.usedQuota(t, need)
	p.running.Add(t.entry.job, 1)
	p.e.slots.Take(i, need)
	p.e.started.add(t.entry.job, i)
	t.seat.Taken(i)
	if p.open == nil {
		p.open = &fsm.TaskPlace{Meta: fsm.Meta{At: p.now, Actor: "scheduler"}}
	}
	p.open.Placements = append(p.open.Placements, c)
	p.placed++
	if len(p.open.Placements) >= batch && t.entry.job.Spec.Gang == 0 {
		p.flush()
	}
}

func (p *pass) flush() {
	if p.open != nil {
		p.cmds = append(p.cmds, p.open)
		p.open = nil
	}
}

// estimate is how long a task of a job runs, zero if nobody knows.
func (p *pass) estimate(j *api.Job) time.Duration {
	d, ok := p.ends[j.ID]
	if !ok {
		d = p.view.Estimate(j.Spec)
		p.ends[j.ID] = d
	}
	return d
}

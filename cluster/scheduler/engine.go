package scheduler

import (
	"iter"
	"math"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// Round says which partition is served next as resources are handed out, and
// who may take from whom. The allocator has one.
type Round interface {
	// Next is the partition to serve next, "" when nobody is left.
	Next() string
	// Done takes a partition out of the round.
	Done(partition string)
	// Room says why a partition may not hold so much more, "" if it may.
	Room(partition string, need api.Resources) string
	// Held is what a partition holds, with all below it.
	Held(partition string) api.Resources
	Charge(partition string, need api.Resources)
	Refund(partition string, held api.Resources)
	// Entitled reports whether a guarantee covers so much more for a partition.
	Entitled(partition string, need api.Resources) bool
	// Ahead reports whether such a guarantee is not the other's too.
	Ahead(partition, other string, need api.Resources) bool
	// Sooner reports whether a partition is served before another one as things are.
	Sooner(partition, other string) bool
	// MayReclaim reports whether winner may take need from a victim that loses
	// lost.
	MayReclaim(winner, victim string, need, lost api.Resources) bool
	// MayRecall tells the same of what is on offer to a framework of the other.
	MayRecall(winner, other string, need, lost api.Resources) bool
	// Over lists the partitions that hold more than their limit.
	Over() []string
	Shares
}

// Shares is what a Round says of weights.
type Shares interface {
	// Shares yields what is served by weight: names, and dominant shares by weight.
	Shares() iter.Seq2[string, float64]
	// Apart is where weights decide between two partitions: the names that stand
	// for them there, with their weights and shares. It is false if they do not.
	Apart(a, b string) (names [2]string, weights, shares [2]float64, ok bool)
	// Share is the dominant share that a partition's own jobs hold.
	Share(partition string) float64
	// Fair is the dominant share that a partition is entitled to now.
	Fair(partition string) float64
}

// Begin starts a round over a view.
type Begin func(v *fsm.View) Round

// maxRetries bounds the passes of one decision.
const maxRetries = 3

// Engine decides placements. It follows the views that Update is given; it is
// used from one goroutine.
type Engine struct {
	begin   Begin
	view    *fsm.View
	now     time.Time // of the pass
	slots   order.Slots
	book    *order.Book
	queues  map[string]*queue
	jobs    map[string]*live
	held    map[string]map[string]float64 // partition, user: dominant share of what runs now
	fixed   map[string]api.Resources      // partition: held by tasks that have no end
	running map[string]map[string]bool    // partition: jobs with tasks that run
	parents map[string]bool               // partitions that others are below
	holds   map[string]*reserve.Hold      // room held for the first blocked job, by partition
	more    map[string]*reserve.Hold      // and so that it can have more, where that counts on what it has
	quotas  map[string]*reserve.Quota     // and below limits
	heads   map[string]*reserve.Head      // those first ones, also where no room can be held
	shares  reserve.Averages
	late    map[string]*letIn // who was let in last though weights were against it, by partition
	claims  []*claim          // what is being taken back, and for whom
	fresh   bool              // that is not known of what an earlier leader took back
	started *started          // what the pass starts
	tallies *Tallies          // nil: nothing is counted

	ends []reserve.Release // of no hold: room for those of the next that is looked for
}

// live is a job that has not ended.
type live struct {
	job     string
	running bool
	entry   *entry // if it waits
	queue   *queue
	part    string
	user    string
	share   float64
	fixed   *api.Resources // what tasks hold that have no end, nil: nothing
}

// NewEngine makes an engine that has seen nothing yet.
func NewEngine(begin Begin) *Engine {
	e := &Engine{begin: begin, fresh: true, late: map[string]*letIn{}, started: newStarted(0, nil)}
	e.book = order.NewBook(&e.slots, order.MaxBytes)
	return e
}

// Count has the engine count in tallies from now on.
func (e *Engine) Count(t *Tallies) { e.tallies = t }

// Update follows the state to a newer view of which those objects changed;
// with all set, anything may have. The changes are those of jobs, nodes, rooms
// and partitions.
func (e *Engine) Update(v *fsm.View, changes map[fsm.Change]struct{}, all bool) {
	e.view = v
	if all || e.queues == nil {
		e.reload()
		return
	}
	for ch := range changes {
		if ch.Table == fsm.TablePartitions {
			e.reload() // rare, and everything may depend on it
			return
		}
	}
	renumber := false
	for ch := range changes {
		switch ch.Table {
		case fsm.TableNodes, fsm.TableRooms:
			renumber = !e.slots.Refresh(v, ch.ID) || renumber
		case fsm.TableJobs:
			e.refreshJob(ch.ID)
		}
	}
	if renumber || !e.slots.GiveBack(v) {
		e.slots.Load(v)
	}
}

func (e *Engine) reload() {
	e.slots.Load(e.view)
	e.queues, e.held, e.fixed = map[string]*queue{}, map[string]map[string]float64{}, map[string]api.Resources{}
	e.running = map[string]map[string]bool{}
	e.book = order.NewBook(&e.slots, e.book.Max)
	e.parents = map[string]bool{}
	for p := range e.view.Partitions() {
		e.parents[p.Parent()] = true
		e.queues[p.Path] = newQueue(e.view.Eligible(p.Path), e.perUser(p))
	}
	e.jobs = make(map[string]*live, e.view.LiveCount())
	for j := range e.view.LiveJobs() {
		e.addJob(j, nil)
	}
}

// perUser reports whether it is bounded what runs of one user in a partition.
func (e *Engine) perUser(p *api.Partition) bool {
	for ; p != nil; p = e.view.Partition(p.Parent()) {
		if p.MaxRunningPerUser > 0 {
			return true
		}
	}
	return false
}

// refreshJob puts a job into its queue, or takes it out, and keeps the sums.
func (e *Engine) refreshJob(id string) {
	old := e.jobs[id]
	if old != nil {
		if old.entry != nil {
			old.queue.remove(old.entry)
		}
		e.sum(old, -1)
		delete(e.jobs, id)
	}
	if j := e.view.Job(id); j != nil {
		e.addJob(j, old)
	}
}

// addJob puts a job into its queue if it waits, and keeps the sums; old is what was
// known of it before, nil: nothing.
func (e *Engine) addJob(j *api.Job, old *live) {
	q := e.queues[j.Spec.Partition]
	if q == nil {
		return
	}
	if q.learn(e.view, j.Spec); j.State.Ended() {
		return
	}
	running := j.Counts.Running + j.Counts.Starting
	waits := j.Counts.Pending > 0 && !j.Stop && !j.Hold
	var l *live
	if waits { // both at once: there may be many
		both := new(struct {
			live
			entry
		})
		l, both.live.entry = &both.live, &both.entry
	} else {
		l = new(live)
	}
	l.job, l.running, l.part, l.queue = j.ID, running > 0, j.Spec.Partition, q
	if q.users != nil {
		l.user = j.Owner()
		l.share = float64(running) * fsm.Dominant(j.Spec.Need(), e.view.Capacity())
	}
	if running > 0 && j.Spec.Kind != api.KindBatch {
		fixed := j.Spec.Need().Times(running)
		l.fixed = &fixed
	}
	if waits {
		l.entry.job, l.entry.seq = j, j.Seq
		if old != nil && old.entry != nil && old.entry.job.Spec == j.Spec {
			l.entry.class = old.entry.class
		}
		q.put(e.view, l.entry, l.share)
	}
	e.sum(l, 1)
	e.jobs[j.ID] = l
}

func (e *Engine) sum(l *live, sign float64) {
	if l.share != 0 {
		if e.held[l.part] == nil {
			e.held[l.part] = map[string]float64{}
		}
		if e.held[l.part][l.user] += sign * l.share; math.Abs(e.held[l.part][l.user]) < 1e-9 {
			delete(e.held[l.part], l.user)
		}
	}
	switch jobs := e.running[l.part]; {
	case !l.running:
	case sign < 0:
		delete(jobs, l.job)
	case jobs == nil:
		e.running[l.part] = map[string]bool{l.job: true}
	default:
		jobs[l.job] = true
	}
	if l.fixed != nil {
		if sign > 0 {
			e.fixed[l.part] = e.fixed[l.part].Add(*l.fixed)
		} else {
			e.fixed[l.part] = e.fixed[l.part].Minus(*l.fixed)
		}
	}
}

// userUse is what a user had of a fair partition: on average over its half
// life, and now.
func (e *Engine) userUse(q *queue, user string, now time.Time) float64 {
	window := time.Duration(q.part.HalfLife).Seconds() / math.Ln2
	return e.view.Used(q.part, user, now)/window + e.held[q.part.Path][user]
}

// classOf finds or makes the order of nodes for a job's tasks.
func (e *Engine) classOf(en *entry, q *queue) *order.Class {
	c := en.class
	if c == nil || c.Own() || len(en.job.Avoid) > 0 {
		if c = e.ownClass(q.part, en.job, en.job.Spec); c == nil {
			c = e.book.Find(q.part, en.job.Spec)
		}
		en.class = c
	}
	e.book.Use(c)
	return c
}

// ownClass makes the class of a job that needs one to itself, nil if it needs none.
func (e *Engine) ownClass(part *api.Partition, j *api.Job, spec *api.JobSpec) *order.Class {
	avoid, _ := e.view.Avoids(j, e.now)
	if len(spec.Affinity) == 0 && avoid == nil {
		return nil
	}
	c := order.NewClass(&e.slots, part, spec)
	c.Avoid = avoid
	if len(spec.Affinity) > 0 {
		c.Near = order.NewNear(e.view.Neighbours(spec), e.slots.Node, e.started)
	}
	return c
}

// trim forgets orders of nodes that were not used for long, if there are too many.
func (e *Engine) trim() {
	e.book.Trim(func(yield func(*order.Class) bool) {
		for _, l := range e.jobs {
			if l.entry != nil && l.entry.class != nil && !yield(l.entry.class) {
				return
			}
		}
	})
}

// Decide places what fits, holds room for what comes next, and names what must
// be preempted; next is when to decide again without a change (zero: not needed).
// It changes nothing itself.
func (e *Engine) Decide(now time.Time) (cmds []fsm.Command, next time.Time) {
	return e.decide(now, unobserved{})
}

func (e *Engine) decide(now time.Time, looks observer) (cmds []fsm.Command, next time.Time) {
	if e.view.PendingCount() == 0 && e.view.FrozenCount() == 0 && e.view.LeavingCount() == 0 && len(e.over()) == 0 {
		e.holds, e.more, e.quotas, e.heads, e.claims = nil, nil, nil, nil, nil
		e.tallies.rest(now)
		return nil, time.Time{}
	}
	p := e.pass(now, looks, false)
	return p.cmds, p.next
}

// pass is what Decide decides, on and on if it is to be whole; somebody may look.
func (e *Engine) pass(now time.Time, looks observer, whole bool) *pass {
	p := newPass(e, now)
	p.looks, p.whole = looks, whole
	p.run()
	// Who was served before a hold was given up looks again. With commands it
	// does so once they took effect.
	for range maxRetries {
		if !p.freed || len(p.cmds) > 0 {
			break
		}
		p = newPass(e, now)
		p.looks, p.whole = looks, whole
		p.run()
	}
	return p
}

func (e *Engine) over() []string {
	for _, q := range e.queues {
		if !q.part.Limit.IsZero() {
			return e.begin(e.view).Over()
		}
	}
	return nil
}

// Holds is how often room is held for a job since the last pass, or on its way to
// one.
func (e *Engine) Holds() int { return len(e.holds) + len(e.claims) }

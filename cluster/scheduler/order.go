package scheduler

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Bounds of an order: after how many tasks one more at a time is passed, lest a long
// backlog take long, and how often all that runs has ended.
const (
	grain          = 10_000
	maxGenerations = 100
)

// Place is what comes next in an order.
type Place struct {
	Job   *api.Job
	Tasks int
	First bool // none of the job's are before these
	// Limit is what has it stand behind all that can continue, nil if nothing does. What
	// it needs is that of the first one there.
	Limit *api.Obstacle
}

// ordering is what waits as rounds and queues serve it, one task after the other, if
// nothing is in the way but room.
type ordering struct {
	*pass
	lines   map[string]*line
	served  int
	passed  float64                  // of the cluster, in this generation
	run     []ran                    // and where that counts in the tally
	lent    map[string]api.Resources // what is on offer and not taken back, by partition
	enough  bool                     // some could not continue in it as enough run
	renewed bool
	yield   func(Place) bool
	nth     int  // generation
	barred  bool // of this generation some stand behind all others
	pause   bool // nobody wants to hear of more for now
	over    bool
}

// Order is what waits in an engine, in its order. The engine must not change while it is
// read.
type Order struct{ o *ordering }

// InOrder is the order in which what waits is served as room comes. What is
// passed counts as held, by shares, guarantees, limits, fair users and bounds of what
// runs, until as much of it was passed as the cluster has, or enough run of all that is
// left: then all before that has ended, but what has no end. Who is at a limit or a
// bound stands behind all that can continue till then.
func (e *Engine) InOrder(now time.Time) *Order {
	o := &ordering{pass: &pass{e: e, view: e.view, now: now, round: e.begin(e.view), running: e.view.Tally()}, lines: map[string]*line{}, nth: 1}
	o.lend()
	return &Order{o}
}

// Continue yields what comes next until that returns false, which it may continue after;
// it is false itself once nothing more does.
func (x *Order) Continue(yield func(Place) bool) bool {
	o := x.o
	o.yield = yield
	for lasts := o.e.lasting(); !o.over; o.nth++ {
		limits := o.nth < maxGenerations
		more, went, paused := o.generation(limits, lasts)
		switch {
		case paused:
			return true
		case !went || !limits:
			o.over = true
			return false
		case !more && !(o.enough && (o.passed > 0 || !o.renewed)):
			o.nth = maxGenerations - 1 // only limits are in the way, and nobody knows of ends
		}
		o.renew()
	}
	return false
}

// ran is what a job got in a generation.
type ran struct {
	job *api.Job
	n   int
}

// lend counts what is on offer as held, but by those with jobs that wait: they take it
// back before they wait for room.
func (o *ordering) lend() {
	o.lent = map[string]api.Resources{}
	for p := range o.view.Partitions() {
		offered := o.view.Usage(p.Path).Offered
		if q := o.e.queues[p.Path]; q != nil && q.size > 0 {
			o.round.Refund(p.Path, offered)
		} else if !offered.Equal(api.Resources{}) {
			o.lent[p.Path] = offered
		}
	}
}

// recall takes back what is on offer to partitions until limits leave so much to
// another, which may take it; nothing if that does not help.
func (o *ordering) recall(path string, need api.Resources) bool {
	var taken []string
	for _, other := range slices.Sorted(maps.Keys(o.lent)) {
		if !o.round.MayRecall(path, other, need, need.Least(o.lent[other])) {
			continue
		}
		o.round.Refund(other, o.lent[other])
		if taken = append(taken, other); o.round.Room(path, need) == "" {
			for _, other := range taken {
				delete(o.lent, other)
			}
			return true
		}
	}
	for _, other := range taken {
		o.round.Charge(other, o.lent[other])
	}
	return false
}

// lasting is the share of the cluster that is held by what has no end.
func (e *Engine) lasting() float64 {
	var sum api.Resources
	for _, held := range e.fixed {
		sum = sum.Add(held)
	}
	return fsm.Dominant(sum, e.view.Capacity())
}

// renew begins a generation: what ran has ended, and what was on offer is not any more.
func (o *ordering) renew() {
	o.round, o.passed, o.enough, o.barred, o.lent = o.e.begin(o.view), 0, false, false, nil
	for p := range o.view.Partitions() {
		u := o.view.Usage(p.Path)
		o.round.Refund(p.Path, u.Charged().Minus(o.e.fixed[p.Path]))
	}
	for _, r := range o.run {
		o.running.Add(r.job, -r.n)
	}
	if o.run = o.run[:0]; !o.renewed {
		o.running, o.renewed = o.view.TallyLasting(), true
	}
	for _, l := range o.lines {
		l.uncap()
	}
}

// generation passes tasks until as many were passed as there is room for, or none can
// continue; then more is false. went is false if nothing stands behind those, and paused
// true if nobody wants to hear of more for now.
func (o *ordering) generation(limits bool, lasts float64) (more, went, paused bool) {
	for path := o.round.Next(); path != ""; path = o.round.Next() {
		if o.pause {
			o.pause = false
			return false, true, true
		}
		l := o.line(path)
		u := l.next(!limits)
		if u == nil {
			o.round.Done(path)
			continue
		}
		s := u.head()
		n, need := min(s.left, 1+o.served/grain), s.entry.job.Spec.Need()
		if s.entry.job.Spec.Gang > 0 {
			n = s.left
		}
		if limits {
			if n = o.mayRun(s.entry.job, n); n == 0 {
				o.barred, o.enough = true, true
				if l.wait(o.running.Bars(s.entry.job, max(1, s.entry.job.Spec.Gang)), u) {
					o.round.Done(path)
				}
				continue
			}
			if n = o.allowed(path, s.entry, need, n); n == 0 {
				o.barred = true
				if l.bar(o, path, u) {
					o.round.Done(path)
				}
				continue
			}
		}
		o.pause = !o.yield(Place{Job: s.entry.job, Tasks: n, First: !s.begun, Limit: l.limitOf(s.entry)})
		o.served += n
		if o.running.Counts(s.entry.job) {
			o.running.Add(s.entry.job, n)
			o.run = append(o.run, ran{s.entry.job, n})
		}
		o.round.Charge(path, need.Times(n))
		share := fsm.Dominant(need, o.view.Capacity())
		l.serve(u, n, share)
		if o.passed += float64(n) * share; limits && o.passed+lasts >= 1 {
			return true, true, false
		}
	}
	for _, l := range o.lines {
		o.barred = o.barred || len(l.barred) > 0
	}
	return false, o.barred, false
}

// allowed is how many tasks limits leave room for, of so many.
func (o *ordering) allowed(path string, e *entry, need api.Resources, n int) int {
	for n > 0 && o.round.Room(path, need.Times(n)) != "" && !o.recall(path, need.Times(n)) {
		if n /= 2; e.job.Spec.Gang > 0 {
			return 0
		}
	}
	return n
}

// mayRun is how many tasks of a job may run more, of so many; of a gang all or none.
func (o *ordering) mayRun(j *api.Job, n int) int {
	for n > 0 && len(o.running.Bars(j, n)) > 0 {
		if n /= 2; j.Spec.Gang > 0 {
			return 0
		}
	}
	return n
}

// line is the queue of one partition.
type line struct {
	fair   bool
	users  users                    // who has something in it
	capped []*user                  // of whom enough run in this generation
	limit  *api.Obstacle            // that the first ones came to
	barred []standing               // what limits never leave enough for
	limits map[*entry]*api.Obstacle // and which
}

// standing is a job of which something is left.
type standing struct {
	entry *entry
	rank  float64
	left  int
	begun bool
}

func (o *ordering) line(path string) *line {
	l := o.lines[path]
	if l != nil {
		return l
	}
	l = &line{limits: map[*entry]*api.Obstacle{}}
	o.lines[path] = l
	q := o.e.queues[path]
	switch {
	case q == nil || q.size == 0: // a user without a next job has no place
	case q.users == nil && o.running.PerUser(path):
		l.users = byUser(q.order, o.running)
	case q.users == nil:
		l.users = users{newUser("", 0, q.order)}
	default:
		l.fair = true
		for name, t := range q.users {
			heap.Push(&l.users, newUser(name, o.e.userUse(q, name, o.now), t))
		}
	}
	return l
}

// next is the user whose turn it is, nil if nobody has any left; at last those that
// were barred.
func (l *line) next(last bool) *user {
	if len(l.users) > 0 {
		return l.users[0]
	}
	if !last || len(l.barred) == 0 {
		return nil
	}
	l.users, l.barred, l.fair = users{{again: l.barred}}, nil, false
	heap.Init(&l.users[0].again)
	return l.users[0]
}

// moved has the user whose turn it was stand where it belongs.
func (l *line) moved() {
	if u := l.users[0]; len(u.rest)+len(u.again) == 0 {
		heap.Pop(&l.users)
	} else {
		heap.Fix(&l.users, 0)
	}
}

// wait notes that no more of a user's next job may run. It is true if that holds for
// all of its partition until some have ended; a gang that is larger than what may run
// is passed, and stands behind all.
func (l *line) wait(bars []fsm.RunningBar, u *user) bool {
	all := false
	for _, b := range bars {
		if u.head().entry.job.Spec.Gang > b.Most {
			l.barred = append(l.barred, u.head())
			u.pop()
			l.moved()
			return len(l.barred) >= maxBlocked
		}
		all = all || !b.PerUser
	}
	if !all {
		l.capped = append(l.capped, heap.Pop(&l.users).(*user))
	}
	return all
}

// uncap has those continue of whom enough ran.
func (l *line) uncap() {
	for _, u := range l.capped {
		heap.Push(&l.users, u)
	}
	l.capped = nil
}

// bar notes that a user's next job is at a limit. It is true if none of its partition
// passes it: what the limit leaves is for the first, unless it is one that the limit
// never leaves enough.
func (l *line) bar(o *ordering, path string, u *user) (strict bool) {
	s := u.head()
	strict = o.newQuota(s.entry, path) != nil
	if strict && l.limit != nil {
		return true
	}
	var limit *api.Obstacle
	if hits := o.hits(path, s.entry.job.Spec.Need().Times(max(1, s.entry.job.Spec.Gang))); hits != nil {
		hit := hits[0].obstacle()
		limit = &hit
	}
	if strict {
		limit.Later, l.limit = true, limit
		return true
	}
	u.pop()
	l.moved()
	l.barred, l.limits[s.entry] = append(l.barred, s), limit
	return len(l.barred) >= maxBlocked
}

func (l *line) limitOf(e *entry) *api.Obstacle {
	if own := l.limits[e]; own != nil {
		return own
	}
	return l.limit
}

// serve counts what a user's next job got, which in a fair partition ranks it, and
// its user, by what they have.
func (l *line) serve(u *user, n int, share float64) {
	s := u.head()
	rank := s.rank
	if l.fair {
		u.use += float64(n) * share
		c := s.entry.job.Counts
		rank = float64(c.Running+c.Starting+c.Pending-s.left+n) * share
	}
	defer l.moved()
	left := standing{entry: s.entry, rank: rank, left: s.left - n, begun: true}
	switch {
	case left.left == 0:
		u.pop()
	case u.begun():
		u.again[0] = left
		heap.Fix(&u.again, 0)
	default:
		u.rest = u.rest[1:]
		heap.Push(&u.again, left)
	}
}

// user is who takes turns in a fair partition. In others it is all; or each, whose next
// jobs are in their common order, where it is bounded what runs of one.
type user struct {
	name  string
	each  bool
	use   float64
	rest  []*entry
	again standings // those of which something was served
}

func newUser(name string, use float64, t *entries) *user {
	u := &user{name: name, use: use, rest: make([]*entry, 0, t.Len())}
	t.Ascend(func(e *entry) bool {
		u.rest = append(u.rest, e)
		return true
	})
	return u
}

func byUser(t *entries, c *fsm.Tally) (out users) {
	of := map[string]*user{}
	t.Ascend(func(e *entry) bool {
		name := c.Owner(e.job)
		u := of[name]
		if u == nil {
			u = &user{name: name, each: true}
			of[u.name], out = u, append(out, u)
		}
		u.rest = append(u.rest, e)
		return true
	})
	return out // in the order of their first jobs
}

// head is the next job.
func (u *user) head() standing {
	if u.begun() {
		return u.again[0]
	}
	e := u.rest[0]
	return standing{entry: e, rank: e.rank, left: e.job.Counts.Pending}
}

// begun reports whether the next job is one of again.
func (u *user) begun() bool {
	if len(u.again) == 0 || len(u.rest) == 0 {
		return len(u.again) > 0
	}
	return u.again[0].before(&standing{entry: u.rest[0], rank: u.rest[0].rank})
}

func (u *user) pop() {
	if u.begun() {
		heap.Pop(&u.again)
	} else {
		u.rest = u.rest[1:]
	}
}

func (s *standing) before(o *standing) bool {
	return s.rank < o.rank || s.rank == o.rank && s.entry.seq < o.entry.seq
}

type users []*user

func (x users) Len() int      { return len(x) }
func (x users) Swap(i, j int) { x[i], x[j] = x[j], x[i] }
func (x users) Less(i, j int) bool {
	if x[i].each {
		a, b := x[i].head(), x[j].head()
		return a.before(&b)
	}
	return x[i].use < x[j].use || x[i].use == x[j].use && x[i].name < x[j].name
}
func (x *users) Push(v any) { *x = append(*x, v.(*user)) }
func (x *users) Pop() any {
	last := len(*x) - 1
	v := (*x)[last]
	*x = (*x)[:last]
	return v
}

type standings []standing

func (x standings) Len() int           { return len(x) }
func (x standings) Swap(i, j int)      { x[i], x[j] = x[j], x[i] }
func (x standings) Less(i, j int) bool { return x[i].before(&x[j]) }
func (x *standings) Push(v any)        { *x = append(*x, v.(standing)) }
func (x *standings) Pop() any {
	last := len(*x) - 1
	v := (*x)[last]
	*x = (*x)[:last]
	return v
}

package scheduler

import (
	"math"
	"time"

	"github.com/google/btree"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/fsm"
)

// entry is a job that has tasks waiting.
type entry struct {
	job   *api.Job
	seq   uint64  // of the job
	rank  float64 // by the partition's policy; the smallest goes first
	class *order.Class
}

func (e *entry) before(o *entry) bool {
	if e.rank != o.rank {
		return e.rank < o.rank
	}
	return e.seq < o.seq
}

type entries = btree.BTreeG[*entry]

// queue is the waiting jobs of one partition in the order of its policy.
type queue struct {
	part  *api.Partition
	order *entries            // nil with the fair policy, which
	users map[string]*entries // keeps one per user
	alike map[string]*alike   // nil unless the policy goes by run times
	size  int
}

// alike is the waiting jobs that run the same, and how long that was found to
// take when they were ranked.
type alike struct {
	learned time.Duration
	entries map[*entry]struct{}
}

func newQueue(part *api.Partition) *queue {
	q := &queue{part: part}
	if part.Policy == api.PolicyFair {
		q.users = map[string]*entries{}
	} else {
		q.order = newEntries()
	}
	if part.Policy == api.PolicySJF || part.Policy == api.PolicySRTF {
		q.alike = map[string]*alike{}
	}
	return q
}

func newEntries() *entries { return btree.NewG(16, (*entry).before) }

// of is where a job stands among others.
func (q *queue) of(j *api.Job) *entries {
	if q.users == nil {
		return q.order
	}
	user := j.Owner()
	t := q.users[user]
	if t == nil {
		t = newEntries()
		q.users[user] = t
	}
	return t
}

// put ranks a job, and those that run the same; more is added to its rank.
func (q *queue) put(v *fsm.View, e *entry, more float64) {
	q.learn(v, e.job.Spec)
	e.rank = rank(q.part, v, e.job) + more
	q.of(e.job).ReplaceOrInsert(e)
	q.size++
	if q.alike == nil {
		return
	}
	key := fsm.RuntimeKey(e.job.Spec)
	a := q.alike[key]
	if a == nil {
		a = &alike{coarse(v.Learned(e.job.Spec)), map[*entry]struct{}{}}
		q.alike[key] = a
	}
	a.entries[e] = struct{}{}
}

// learn ranks the jobs that run the same as that spec anew, if by now it is
// known to take another time.
func (q *queue) learn(v *fsm.View, spec *api.JobSpec) {
	if q.alike == nil {
		return
	}
	a, d := q.alike[fsm.RuntimeKey(spec)], coarse(v.Learned(spec))
	if a == nil || a.learned == d {
		return
	}
	a.learned = d
	for e := range a.entries {
		q.order.Delete(e)
		e.rank = rank(q.part, v, e.job)
		q.order.ReplaceOrInsert(e)
	}
}

func (q *queue) remove(e *entry) {
	t := q.of(e.job)
	t.Delete(e)
	q.size--
	if q.alike != nil {
		key := fsm.RuntimeKey(e.job.Spec)
		if a := q.alike[key]; a != nil {
			if delete(a.entries, e); len(a.entries) == 0 {
				delete(q.alike, key)
			}
		}
	}
	if q.users != nil && t.Len() == 0 {
		delete(q.users, e.job.Owner())
	}
}

// unknown is the run time, in seconds, by which jobs are ordered of which nobody
// knows it: the longest there is.
const unknown = math.MaxInt64 / 1e9

// coarse rounds a run time to a sixth or so, as what was learned moves a little
// with each run.
func coarse(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(math.Exp2(math.Round(4*math.Log2(float64(d))) / 4))
}

// rank is a job's place by a policy, in seconds. A job that waits gains one step
// per aging time, and all gain at the same rate: so what counts is when it would
// have had none to gain, and a queue need not be sorted again as time passes. A
// step is one of priority, or half the run time: a job that takes 2ⁿ times as long
// as others is passed by those that come within n aging times, and by none after.
func rank(part *api.Partition, v *fsm.View, j *api.Job) float64 {
	switch part.Policy {
	case api.PolicySJF, api.PolicySRTF:
		d, steps := time.Duration(j.Spec.Time), math.Log2(unknown)
		if j.Spec.Kind == api.KindBatch {
			if l := coarse(v.Learned(j.Spec)); l > 0 && (d == 0 || l < d) {
				d = l
			}
		}
		if d > 0 {
			steps = math.Log2(d.Seconds())
		}
		return aged(part, j, steps)
	case api.PolicyPriority:
		return aged(part, j, -float64(j.Spec.Priority))
	}
	return 0
}

// aged is the time of a job's submission, later by so many steps.
func aged(part *api.Partition, j *api.Job, steps float64) float64 {
	return float64(j.Created.UnixNano())/1e9 + steps*time.Duration(part.Aging).Seconds()
}

// cursor walks through a queue once in a pass.
type cursor struct {
	q     *queue
	last  *entry
	users []*userCursor
}

type userCursor struct {
	name string
	use  float64
	last *entry
	t    *entries
}

// newCursor starts at the head. The use of each user is asked once; what the
// pass gives it is added by charge.
func newCursor(q *queue, use func(user string) float64) *cursor {
	c := &cursor{q: q}
	for name, t := range q.users {
		c.users = append(c.users, &userCursor{name: name, use: use(name), t: t})
	}
	return c
}

// next is the next job to try, nil at the end.
func (c *cursor) next() *entry {
	if c.q.users == nil {
		c.last = after(c.q.order, c.last)
		return c.last
	}
	for {
		var best *userCursor
		for _, u := range c.users {
			if u.t != nil && (best == nil || u.use < best.use || u.use == best.use && u.name < best.name) {
				best = u
			}
		}
		if best == nil {
			return nil
		}
		if best.last = after(best.t, best.last); best.last != nil {
			return best.last
		}
		best.t = nil
	}
}

// charge adds to a user's use, and tells whether another user should go first
// now.
func (c *cursor) charge(user string, share float64) bool {
	var self *userCursor
	least := math.Inf(1)
	for _, u := range c.users {
		if u.name == user {
			u.use += share
			self = u
		} else if u.t != nil && after(u.t, u.last) != nil {
			least = min(least, u.use)
		}
	}
	return self != nil && self.use > least
}

// back lets a job be tried again later in the pass.
func (c *cursor) back(e *entry) {
	for _, u := range c.users {
		if u.name == e.job.Owner() {
			u.last = before(u.t, e)
		}
	}
}

func after(t *entries, e *entry) (next *entry) {
	if e == nil {
		next, _ = t.Min()
		return next
	}
	t.AscendGreaterOrEqual(e, func(x *entry) bool {
		if x == e {
			return true
		}
		next = x
		return false
	})
	return next
}

func before(t *entries, e *entry) (prev *entry) {
	t.DescendLessOrEqual(e, func(x *entry) bool {
		if x == e {
			return true
		}
		prev = x
		return false
	})
	return prev
}

package scheduler

import (
	"cmp"
	"math"
	"time"

	"github.com/google/btree"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// entry is a job that has tasks waiting.
type entry struct {
	job   *api.Job
	rank  float64 // by the partition's policy; the smallest goes first
	class *class
}

func (e *entry) before(o *entry) bool {
	return cmp.Or(cmp.Compare(e.rank, o.rank), cmp.Compare(e.job.Seq, o.job.Seq)) < 0
}

type entries = btree.BTreeG[*entry]

// queue is the waiting jobs of one partition in the order of its policy.
type queue struct {
	part  *api.Partition
	order *entries            // nil with the fair policy, which
	users map[string]*entries // keeps one per user
	size  int
}

func newQueue(part *api.Partition) *queue {
	q := &queue{part: part}
	if part.Policy == api.PolicyFair {
		q.users = map[string]*entries{}
	} else {
		q.order = newEntries()
	}
	return q
}

func newEntries() *entries { return btree.NewG(16, (*entry).before) }

func (q *queue) of(user string) *entries {
	if q.users == nil {
		return q.order
	}
	t := q.users[user]
	if t == nil {
		t = newEntries()
		q.users[user] = t
	}
	return t
}

func (q *queue) put(e *entry) {
	q.of(e.job.Actor).ReplaceOrInsert(e)
	q.size++
}

func (q *queue) remove(e *entry) {
	t := q.of(e.job.Actor)
	t.Delete(e)
	q.size--
	if q.users != nil && t.Len() == 0 {
		delete(q.users, e.job.Actor)
	}
}

// unknown is the run time by which jobs are ordered of which nobody knows it:
// after all others.
const unknown = 1e15

// rank is a job's place by a policy; none of them changes with time alone, so
// that a queue need not be sorted again.
func rank(part *api.Partition, v *fsm.View, j *api.Job) float64 {
	switch part.Policy {
	case api.PolicySJF, api.PolicySRTF:
		if d := v.Estimate(j.Spec); d > 0 {
			return d.Seconds()
		}
		return unknown
	case api.PolicyPriority:
		// A job gains one step per aging time, all at the same rate: what counts
		// is when it would have had priority zero.
		return float64(j.Created.UnixNano())/1e9 - float64(j.Spec.Priority)*time.Duration(part.Aging).Seconds()
	}
	return 0
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
		if u.name == e.job.Actor {
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

package scheduler

import (
	"container/heap"
	"math"
)

// cursor walks through a queue once in a pass.
type cursor struct {
	q       *queue
	last    *entry
	users   []*userCursor
	skipped map[string]bool
	each    heads // those of other users, once one of them is to be skipped
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
		if c.each != nil {
			c.last = c.each.next(c.skipped)
		} else {
			c.last = after(c.q.order, c.last)
		}
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

// skip has no more jobs of a user be tried, at no cost for each of them.
func (c *cursor) skip(user string) {
	for _, u := range c.users {
		if u.name == user {
			u.t = nil
		}
	}
	if c.q.each == nil {
		return
	}
	if c.skipped == nil {
		c.skipped, c.each = map[string]bool{}, heads{}
		for name, t := range c.q.each {
			if e := after(t, c.last); e != nil {
				c.each = append(c.each, userCursor{name: name, last: e, t: t})
			}
		}
		heap.Init(&c.each)
	}
	c.skipped[user] = true
}

// heads is the next jobs of users, the one that comes first on top.
type heads []userCursor

// next is the first of them, nil at the end; those that are to be skipped are dropped.
func (x *heads) next(skipped map[string]bool) *entry {
	for len(*x) > 0 {
		u := &(*x)[0]
		if skipped[u.name] {
			heap.Pop(x)
			continue
		}
		e := u.last
		if u.last = after(u.t, e); u.last == nil {
			heap.Pop(x)
		} else {
			heap.Fix(x, 0)
		}
		return e
	}
	return nil
}

func (x heads) Len() int           { return len(x) }
func (x heads) Swap(i, j int)      { x[i], x[j] = x[j], x[i] }
func (x heads) Less(i, j int) bool { return x[i].last.before(x[j].last) }
func (x *heads) Push(v any)        { *x = append(*x, v.(userCursor)) }
func (x *heads) Pop() any {
	last := len(*x) - 1
	v := (*x)[last]
	*x = (*x)[:last]
	return v
}

// charge adds to a user's use, and reports whether another user should go first
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

package scheduler

import (
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// gang places all tasks of the current job or none. It is false when it could
// not; the job was left then.
func (p *pass) gang(t *turn) bool {
	e, path := t.entry, t.q.part.Path
	n := e.job.Counts.Pending
	if t.tasks.left() < n || e.job.Counts.Live() != n {
		p.looks.passed(e, false, time.Time{})
		p.leave(t) // some of it is still ending, or waits for its back-off
		return false
	}
	whole := t.tasks.need.Times(n)
	if !p.hasRoom(t, whole) {
		if p.block(t, true) && p.round.Room(path, whole) != "" {
			t.blocked = maxBlocked
		}
		return false
	}
	below := p.rescind
	p.rescind = nil
	var found []int
	var before []api.Resources
	var lent []recalled
	all := *t.tasks
	for range n {
		u := t.tasks.peek()
		i, more := p.pickOrRecall(t, u, whole)
		if i < 0 {
			break
		}
		found, before, lent = append(found, i), append(before, p.e.slots.Free[i]), append(lent, more)
		need := u.need
		if len(e.job.Spec.Ports) > 0 {
			_, need.Ports = pickPorts(e.job.Spec, e.job.ID, u, before[len(before)-1].Ports)
		}
		p.e.slots.Take(i, need)
		t.seat.Taken(i)
		t.tasks.pop()
	}
	for k := len(found) - 1; k >= 0; k-- { // it was taken on trial
		p.e.slots.Put(found[k], before[k])
		p.restore(lent[k])
	}
	*t.tasks = all
	if len(found) < n {
		p.restore(below)
		p.block(t, false)
		return false
	}
	p.rescind = below
	for k, i := range found {
		p.endLoans(lent[k])
		p.rescind = append(p.rescind, lent[k]...)
		p.place(t, t.tasks.peek(), i)
		t.tasks.pop()
		p.round.Charge(path, t.tasks.need)
	}
	t.cur.charge(e.job.Owner(), float64(n)*fsm.Dominant(t.tasks.need, p.view.Capacity()))
	if len(p.open.Placements) >= batch {
		p.flush()
	}
	p.leave(t)
	return true
}

package scheduler

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// barred leaves the current job if no more of it may run. No room is kept for it, as
// none is lacking. All is true when nothing of its partition may start: also where
// fewer tasks would be allowed than its gang has, lest those pass it for ever. A gang
// that is larger than what is allowed by now is in nobody's way.
func (p *pass) barred(t *turn) (barred, all bool) {
	j := t.entry.job
	n := atOnce(j)
	if j.Spec.Gang > 0 && (t.tasks.left() < n || j.Counts.Live() != n) {
		return false, false // it could not start whatever ran
	}
	if len(p.running.Bars(j, n)) == 0 {
		return false, false
	}
	bars := p.barsNow(j, n)
	p.looks.barred(j, bars)
	if len(bars) == 0 && p.endsFirst(j) {
		return false, false
	}
	p.leave(t)
	if len(bars) == 0 || slices.ContainsFunc(bars, func(b fsm.RunningBar) bool { return n > b.Most }) {
		t.blocked++
		return true, p.over(t)
	}
	for _, b := range bars {
		all = all || !b.PerUser
	}
	if t.capped == nil {
		t.capped = map[string]bool{}
	}
	t.capped[p.running.Owner(j)] = true
	if p.view.Does(fsm.OneRoot) { // before, some count by who they are on which node, and stand by user
		t.cur.skip(p.running.Owner(j))
	}
	return true, all
}

// keepTurn counts the first job of a partition, for which room is kept, as if it ran:
// whoever passes it must not be in its way once the room is there.
func (p *pass) keepTurn(t *turn, e *entry) {
	if _, waits := p.keptUntil(t); waits && p.running.Counts(e.job) {
		p.running.Add(e.job, atOnce(e.job))
		p.ahead = append(p.ahead, t)
	}
}

// keptUntil is when there is room for the first job of a partition, zero if nobody
// knows; false if none is kept for it.
func (p *pass) keptUntil(t *turn) (at time.Time, kept bool) {
	if h := p.e.holds[t.q.part.Path]; h != nil && h.Job == t.first.job.ID {
		return h.At, true
	}
	if q := p.e.quotas[t.q.part.Path]; q != nil && q.Job == t.first.job.ID {
		return q.At, true
	}
	return at, false
}

// countAhead counts those for which room is kept, or with a sign of -1 no more.
func (p *pass) countAhead(sign int) {
	for _, t := range p.ahead {
		p.running.Add(t.first.job, sign*atOnce(t.first.job))
	}
}

// barsNow are the rules that let no more of a job run, whoever is to go first.
func (p *pass) barsNow(j *api.Job, n int) []fsm.RunningBar {
	p.countAhead(-1)
	defer p.countAhead(1)
	return p.running.Bars(j, n)
}

// endsFirst reports whether a job that starts now has ended once there is room for those
// for which it is kept.
func (p *pass) endsFirst(j *api.Job) bool {
	return !slices.ContainsFunc(p.ahead, func(t *turn) bool {
		at, kept := p.keptUntil(t)
		return kept && !p.endsBy(j, at)
	})
}

// atOnce is how many tasks of a job start together.
func atOnce(j *api.Job) int {
	if j.Spec.Gang > 0 {
		return max(1, j.Counts.Pending)
	}
	return 1
}

// bars are the rules by which the task may not start whatever room there is: as it was
// looked at or, if it was not, once others had been served.
func (w *waiting) bars() []fsm.RunningBar {
	if len(w.watch.bars) > 0 {
		return w.watch.bars
	}
	return w.running.Bars(w.j, atOnce(w.j))
}

// Barred is a rule of a tally by which a job may not start now, whatever room there is.
func Barred(c *fsm.Tally, j *api.Job) (o api.Obstacle, barred bool) {
	bars := c.Bars(j, atOnce(j))
	if len(bars) == 0 {
		return o, false
	}
	return ofBar(bars[0]), true
}

func ofBar(b fsm.RunningBar) api.Obstacle {
	return api.Obstacle{Kind: api.ObstacleRunning, Partition: b.Partition, PerUser: b.PerUser, Running: b.Now, Most: b.Most}
}

// raised is the least that the rules would have to be by which no more tasks run.
func (w *waiting) raised() *api.Remedy {
	bars := w.bars()
	if len(bars) == 0 {
		return nil
	}
	to := func(amounts []int64) []api.RemedyRunning {
		var out []api.RemedyRunning
		for i, b := range bars {
			if amounts[i] == int64(b.Most) {
				continue // it was in nobody's way before others started
			}
			out = append(out, api.RemedyRunning{Partition: b.Partition, PerUser: b.PerUser, Most: int(amounts[i])})
		}
		return out
	}
	starts := func(amounts []int64) bool {
		return w.tries.starts(w.tries.puts(Running(w.view, to(amounts))))
	}
	by := func(more int64) []int64 {
		out := make([]int64, len(bars))
		for i, b := range bars {
			out[i] = max(int64(b.Most), int64(b.Now+atOnce(w.j))) + more
		}
		return out
	}
	more := int64(0)
	if !starts(by(0)) { // who goes first takes of it, too
		if more = least(0, 1<<20, func(n int64) bool { return starts(by(n)) }); more == 0 {
			return nil
		}
	}
	amounts, floor := by(more), make([]int64, len(bars))
	for i, b := range bars {
		floor[i] = int64(b.Most) - 1
	}
	w.lower(amounts, floor, starts)
	return &api.Remedy{Kind: api.RemedyMaxRunning, Running: to(amounts)}
}

// Running is the partitions as they are with those rules.
func Running(v *fsm.View, rules []api.RemedyRunning) (out []*api.Partition) {
	at := map[string]*api.Partition{}
	for _, r := range rules {
		p := at[r.Partition]
		if p == nil {
			copied := *v.Partition(r.Partition)
			p = &copied
			at[r.Partition], out = p, append(out, p)
		}
		if r.PerUser {
			p.MaxRunningPerUser = r.Most
		} else {
			p.MaxRunning = r.Most
		}
	}
	return out
}

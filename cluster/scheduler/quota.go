package scheduler

import (
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// maxQuotaTasks bounds the tasks looked at for one quota.
const maxQuotaTasks = 1024

// quota is what a partition keeps below its own limit for the first job that
// the limit holds back: a hold (see there), but of no node. Jobs behind it
// start only if they end before it can, or if enough is left beside it then.
type quota struct {
	job      string
	need     api.Resources
	at       time.Time     // when the job can start; zero: when tasks of unknown length end
	released api.Resources // what will have come back by then
}

// keepQuota keeps what the limit leaves for the current job, lest it starve. It
// is true when nothing may start behind it, as nobody knows what ends before.
func (p *pass) keepQuota(t *turn, e *entry) (strict bool) {
	need := times(e.job.Spec.Need(), max(1, e.job.Spec.Gang))
	if !p.fitsLimit(t, need) {
		return false
	}
	t.quota = p.findQuota(t.q.part.Path, e, need)
	return t.quota == nil
}

// fitsLimit tells whether a job that its partition's limit holds back can
// start once tasks end.
func (p *pass) fitsLimit(t *turn, need api.Resources) bool {
	limit := t.q.part.Limit
	if limit.IsZero() {
		return false // it is the limit of one above, which others fill too
	}
	need = need.Add(p.e.fixed[t.q.part.Path])
	for name, v := range limit.Each {
		if api.AmountsOf(need).Of(name) > v {
			return false
		}
	}
	return true
}

// findQuota finds when a job that its partition's limit holds back can start,
// as the partition's own tasks end in the order of their estimated ends; nil if
// it cannot, or if there are too many of them to look at.
func (p *pass) findQuota(path string, e *entry, need api.Resources) *quota {
	q := &quota{job: e.job.ID, need: need}
	jobs := p.e.running[path]
	if len(jobs) > maxQuotaTasks {
		return nil
	}
	var ends []release
	seen := 0
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		j := p.view.Job(id)
		for t := range p.view.MadeTasks(id) {
			if seen++; seen > maxQuotaTasks {
				return nil
			}
			if at, will := p.endOf(t, j); will && t.Holds() {
				ends = append(ends, release{at: at, held: times(t.Held(), 1)})
			}
		}
	}
	for x := range p.e.started.in(path) {
		if seen++; seen > maxQuotaTasks {
			return nil
		}
		if r, will := p.release(x); will {
			ends = append(ends, r)
		}
	}
	slices.SortStableFunc(ends, release.compare)
	found := false
	for _, r := range ends {
		if found && (r.at.IsZero() || !r.at.Equal(q.at)) {
			break // what comes back at the same time is left to others
		}
		q.at, q.released = r.at, q.released.Add(r.held)
		found = found || p.roomWith(path, q.released, q.need)
	}
	if !found {
		return nil
	}
	return q
}

// roomWith tells whether a partition may hold so much more once that came back.
func (p *pass) roomWith(path string, released, need api.Resources) bool {
	p.round.Refund(path, released)
	reason := p.round.Room(path, need)
	p.round.Charge(path, released)
	return reason == ""
}

// mayUseQuota tells whether the current job may start so much behind the first.
func (p *pass) mayUseQuota(t *turn, need api.Resources) bool {
	q := t.quota
	return q == nil || p.endsBy(t.entry.job, q.at) || p.roomWith(t.q.part.Path, q.released, q.need.Add(need))
}

// usedQuota counts what the current job got as what comes back in time, if it does.
func (p *pass) usedQuota(t *turn, need api.Resources) {
	if q := t.quota; q != nil && p.endsBy(t.entry.job, q.at) {
		q.released = q.released.Add(times(need, 1))
	}
}

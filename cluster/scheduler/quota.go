package scheduler

import (
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
)

// maxQuotaTasks bounds the tasks looked at for one quota.
const maxQuotaTasks = 1024

// keepQuota keeps what the limit leaves for the current job, lest it starve. It
// is true when nothing may start behind it, as nobody knows what ends before.
func (p *pass) keepQuota(t *turn, e *entry) (strict bool) {
	need := e.job.Spec.Need().Times(max(1, e.job.Spec.Gang))
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
func (p *pass) findQuota(path string, e *entry, need api.Resources) *reserve.Quota {
	jobs := p.e.running[path]
	if len(jobs) > maxQuotaTasks {
		return nil
	}
	var ends []reserve.Release
	seen := 0
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		j := p.view.Job(id)
		for t := range p.view.MadeTasks(id) {
			if seen++; seen > maxQuotaTasks {
				return nil
			}
			if at, will := p.endOf(t, j); will && t.Holds() {
				ends = append(ends, reserve.Release{At: at, Held: t.Held().Times(1)})
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
	return reserve.FindQuota(e.job.ID, need, ends, func(released api.Resources) bool { return p.roomWith(path, released, need) })
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
	return q == nil || p.endsBy(t.entry.job, q.At) || p.roomWith(t.q.part.Path, q.Released, q.Need.Add(need))
}

// usedQuota counts what the current job got as what comes back in time, if it does.
func (p *pass) usedQuota(t *turn, need api.Resources) {
	if q := t.quota; q != nil && p.endsBy(t.entry.job, q.At) {
		q.Released = q.Released.Add(need.Times(1))
	}
}

package scheduler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// maxQuotaTasks bounds the tasks looked at below one limit, and maxQuotas the jobs
// for which something is kept there.
const (
	maxQuotaTasks = 1024
	maxQuotas     = 64
)

// limit is what a pass knows of the limit of one partition.
type limit struct {
	quotas []*reserve.Quota  // kept below it, those that go before others first
	ends   []reserve.Release // of what ran before the pass, in the order of their ends
	all    bool              // that is all of them
	looked bool
}

// limitOf is what is known of a partition's limit.
func (p *pass) limitOf(path string) *limit {
	l := p.limits[path]
	if l == nil {
		l = &limit{}
		p.limits[path] = l
	}
	return l
}

// keepQuota keeps what limits leave for the current job, which is its partition's
// first, lest it starve. It is true when nothing of the partition may start behind
// it, as nobody knows what ends before.
func (p *pass) keepQuota(t *turn, e *entry) (strict bool) {
	path := t.q.part.Path
	q := p.e.quotas[path]
	if q == nil || q.Job != e.job.ID {
		p.dropQuota(q, true)
		if q = p.newQuota(e, path); q == nil {
			return false
		}
		p.waits(t)
		p.addQuota(q, func(o *reserve.Quota) bool {
			return o.Path != path && !p.goesBefore(&o.Kept, func() float64 { return p.idleBelow(o) }, path, e, e.job.Spec.Need()) && p.outstands(t.head, path, &o.Kept)
		})
	} else {
		p.waits(t)
	}
	t.limited = true
	return q.Blind && p.e.quotas[path] == q
}

// newQuota is a quota of a job, of which is not known yet when it can start. It is
// nil where no limit is above the job, or where one is too small for it beside what
// has no end.
func (p *pass) newQuota(e *entry, path string) *reserve.Quota {
	need := e.job.Spec.Need()
	q := &reserve.Quota{Kept: reserve.Kept{Job: e.job.ID, Path: path, Need: need, Whole: need.Times(max(1, e.job.Spec.Gang)), At: p.now}}
	for up := path; up != ""; up = api.ParentPath(up) {
		part := p.view.Partition(up)
		if part == nil || part.Limit.IsZero() {
			continue
		}
		l := reserve.Level{Path: up, Limit: part.Limit, Shared: up != path || p.e.parents[up]}
		if !l.Leaves(p.endless(up), q.Whole) {
			return nil
		}
		q.Levels = append(q.Levels, l)
	}
	if len(q.Levels) == 0 {
		return nil
	}
	return q
}

// endless is what tasks that have no end hold of a partition and those below it.
func (p *pass) endless(top string) (sum api.Resources) {
	if !p.e.parents[top] {
		return p.e.fixed[top]
	}
	for path, held := range p.e.fixed {
		if api.PathWithin(path, top) {
			sum = sum.Add(held)
		}
	}
	return sum
}

// addQuota finds when a quota's job can start, and keeps it: beside those of others,
// but for those that yield to it. They continue if that leaves them what they need.
func (p *pass) addQuota(q *reserve.Quota, yields func(*reserve.Quota) bool) {
	behind := map[*reserve.Quota]bool{}
	held := make([]api.Resources, len(q.Levels))
	for i, l := range q.Levels {
		held[i] = p.heldFrom(q, l.Path)
		for _, o := range p.limitOf(l.Path).quotas {
			if y, known := behind[o]; y || !known && yields(o) {
				behind[o] = true
				continue
			}
			behind[o] = false
			held[i] = held[i].Add(o.Whole)
		}
	}
	ends, all := p.endsWithin(q.Levels[len(q.Levels)-1].Path)
	if q.Find(ends, held, all); q.Blind && all {
		return // it cannot run beside those before it: two of such would keep each other out
	}
	p.e.quotas[q.Path] = q
	for _, l := range q.Levels {
		at := p.limitOf(l.Path)
		k := slices.IndexFunc(at.quotas, func(o *reserve.Quota) bool { return behind[o] })
		switch {
		case k >= 0:
			at.quotas = slices.Insert(at.quotas, k, q)
			at.quotas = at.quotas[:min(len(at.quotas), maxQuotas)]
		case len(at.quotas) < maxQuotas:
			at.quotas = append(at.quotas, q)
		}
	}
	for _, l := range q.Levels {
		for _, o := range slices.Clone(p.limitOf(l.Path).quotas) {
			if behind[o] && !p.stands(o) {
				p.dropQuota(o, true)
			}
		}
	}
}

// heldFrom is what a partition and those below it hold that a quota's job cannot take
// back: what is on offer is as free to it as room is.
func (p *pass) heldFrom(q *reserve.Quota, top string) api.Resources {
	held := p.round.Held(top)
	for path, sum := range p.loans.of {
		if api.PathWithin(path, top) && p.round.MayRecall(q.Path, path, q.Whole, q.Whole.Least(sum)) {
			held = held.Minus(sum)
		}
	}
	return held
}

// stands reports whether a quota's job can still start when it was found to, beside
// those before it.
func (p *pass) stands(q *reserve.Quota) bool {
	for i := range q.Levels {
		l := &q.Levels[i]
		held := p.heldFrom(q, l.Path)
		for _, o := range p.limitOf(l.Path).quotas {
			if o == q {
				break
			}
			held = held.Add(o.Whole)
		}
		if !l.Leaves(held, q.Whole) {
			return false
		}
	}
	return true
}

// dropQuota keeps nothing more for a job. It was given up if others may look again.
func (p *pass) dropQuota(q *reserve.Quota, givenUp bool) {
	if q == nil {
		return
	}
	delete(p.e.quotas, q.Path)
	p.freed = p.freed || givenUp
	for _, l := range q.Levels {
		at := p.limitOf(l.Path)
		at.quotas = slices.DeleteFunc(at.quotas, func(o *reserve.Quota) bool { return o == q })
	}
}

// renewQuotas finds anew when the jobs can start for which earlier passes kept
// something, those first that were to start first: what was promised to one then
// left room for those after it, so it does not become later.
func (p *pass) renewQuotas() {
	old := slices.SortedFunc(maps.Values(p.e.quotas), func(a, b *reserve.Quota) int {
		return cmp.Or(reserve.Release{At: a.At}.Compare(reserve.Release{At: b.At}), cmp.Compare(a.Path, b.Path))
	})
	p.e.quotas = map[string]*reserve.Quota{}
	for _, q := range old {
		l := p.e.jobs[q.Job]
		if l == nil || l.entry == nil || l.part != q.Path {
			continue
		}
		if q = p.newQuota(l.entry, q.Path); q != nil {
			p.addQuota(q, func(*reserve.Quota) bool { return false })
		}
	}
}

// endsWithin lists what will come back of a partition and those below it, in the
// order of the ends; false if there are too many tasks to look at.
func (p *pass) endsWithin(top string) (ends []reserve.Release, all bool) {
	at := p.limitOf(top)
	if !at.looked {
		at.ends, at.all = p.endsOf(top)
		at.looked = true
	}
	ends = slices.Clone(at.ends)
	for _, path := range slices.Sorted(maps.Keys(p.e.started.inPart)) {
		if !at.all || !api.PathWithin(path, top) {
			continue
		}
		for x := range p.e.started.in(path) {
			if r, will := p.release(x); will {
				ends = append(ends, r)
			}
			if len(ends) > maxQuotaTasks {
				return nil, false
			}
		}
	}
	if len(ends) > len(at.ends) {
		slices.SortStableFunc(ends, reserve.Release.Compare)
	}
	return ends, at.all
}

// endsOf is endsWithin of what ran before the pass.
func (p *pass) endsOf(top string) (ends []reserve.Release, all bool) {
	var jobs []string
	for path, running := range p.e.running {
		if !api.PathWithin(path, top) {
			continue
		}
		if len(jobs)+len(running) > maxQuotaTasks {
			return nil, false
		}
		jobs = slices.AppendSeq(jobs, maps.Keys(running))
	}
	slices.Sort(jobs)
	seen := 0
	for _, id := range jobs {
		j := p.view.Job(id)
		for t := range p.view.MadeTasks(id) {
			if seen++; seen > maxQuotaTasks {
				return nil, false
			}
			if at, will := p.endOf(t, j); will && t.Holds() {
				ends = append(ends, reserve.Release{At: at, Path: t.Partition, Held: t.Held().Times(1), Grace: graceOf(j.SpecFor(t)), Hoped: leaves(t)})
			}
		}
	}
	slices.SortStableFunc(ends, reserve.Release.Compare)
	return ends, true
}

// barring is the quota for whose sake the current job may not start so much, and
// the partition with the limit below which it is; nil: none.
func (p *pass) barring(t *turn, need api.Resources) (by *reserve.Quota, at string) {
	job := t.entry.job.ID
	for up := t.q.part.Path; len(p.e.quotas) > 0 && up != ""; up = api.ParentPath(up) {
		l := p.limits[up]
		if l == nil || len(l.quotas) == 0 {
			continue
		}
		held := need
		for _, q := range l.quotas {
			if q.Job == job {
				continue
			}
			if !q.Level(up).Leaves(p.heldFrom(q, up).Add(held), q.Whole) && !p.passes(t, q, need) {
				return q, up
			}
			held = held.Add(q.Whole)
		}
	}
	return nil, ""
}

// passes reports whether the current job may start though too little is left for a
// quota's beside it: that is not before it, or it ends first, or is preempted.
func (p *pass) passes(t *turn, q *reserve.Quota, need api.Resources) bool {
	path := t.q.part.Path
	return q.Path == path && t.first == nil || p.endsBy(t.entry.job, q.At) || p.isLoan(t, &q.Kept) ||
		!p.goesBefore(&q.Kept, func() float64 { return p.idleBelow(q) }, path, t.entry, need)
}

// mayUseQuota reports whether the current job may start so much beside what is kept
// below limits.
func (p *pass) mayUseQuota(t *turn, need api.Resources) bool {
	by, at := p.barring(t, need)
	if by != nil {
		p.looks.kept(t.entry.job, by, at)
	}
	return by == nil
}

// usedQuota counts what the current job got as what comes back in time, if it does.
func (p *pass) usedQuota(t *turn, need api.Resources) {
	if len(p.e.quotas) == 0 {
		return
	}
	path, need := t.q.part.Path, need.Times(1)
	if q := p.e.quotas[path]; q != nil && q.Job == t.entry.job.ID {
		p.dropQuota(q, false)
	}
	counted := map[*reserve.Quota]bool{}
	for up := path; up != ""; up = api.ParentPath(up) {
		l := p.limits[up]
		if l == nil {
			continue
		}
		for _, q := range l.quotas {
			if !counted[q] && p.endsBy(t.entry.job, q.At) {
				counted[q] = true
				q.Release(path, need)
			}
		}
	}
}

// idleBelow is the dominant share of what a quota keeps that others could use now.
func (p *pass) idleBelow(q *reserve.Quota) float64 {
	return fsm.Dominant(p.leftBelow(q), p.view.Capacity())
}

// leftBelow is what a quota keeps that others could use now, if nodes have it.
func (p *pass) leftBelow(q *reserve.Quota) api.Resources {
	if q == nil {
		return api.Resources{}
	}
	idle, shared := q.Whole, false
	for i := range q.Levels {
		if l := &q.Levels[i]; l.Shared {
			idle, shared = l.Idle(p.round.Held(l.Path), idle), true
		}
	}
	if !shared {
		return api.Resources{}
	}
	return idle
}

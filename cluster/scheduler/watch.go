package scheduler

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
	"github.com/mesita/mesita/fsm"
)

// watch observes one job, to say what it waits for.
type watch struct {
	unobserved
	job     string
	seen    bool             // it was tried
	full    []limitHit       // the limits that it would cross
	quota   *reserve.Quota   // or what is kept for another job below a limit
	quotaOf string           // of that partition
	bars    []fsm.RunningBar // or the rules by which no more may run
	took    int              // tasks of others that are preempted for it
}

// limitHit is a limit that one task of a job, or its gang, would cross.
type limitHit struct {
	partition, resource string
	used, limit, need   int64
}

func (w *watch) asks(j *api.Job) bool { return w.job == j.ID }

func (w *watch) blocked(p *pass, t *turn, limit bool) {
	if !w.asks(t.entry.job) {
		return
	}
	w.seen, w.full = true, nil
	if !limit {
		w.quota = nil
		return
	}
	need := t.entry.job.Spec.Need().Times(max(1, t.entry.job.Spec.Gang))
	if w.full = p.hits(t.q.part.Path, need); w.full != nil {
		w.quota = nil
	}
}

func (w *watch) kept(j *api.Job, by *reserve.Quota, of string) {
	if w.asks(j) {
		w.quota, w.quotaOf = by, of
	}
}

func (w *watch) barred(j *api.Job, by []fsm.RunningBar) {
	if w.asks(j) {
		w.bars = by
	}
}

func (w *watch) taken(j *api.Job, n int) {
	if w.asks(j) {
		w.took += n
	}
}

// hits lists the limits that a partition would cross with so much more: its
// own, and those above it.
func (p *pass) hits(path string, need api.Resources) (out []limitHit) {
	more := api.AmountsOf(need)
	for ; path != ""; path = api.ParentPath(path) {
		part := p.view.Partition(path)
		if part == nil {
			continue
		}
		held := api.AmountsOf(p.round.Held(path))
		for k, v := range part.Limit.Each {
			if n := more.Of(k); n > 0 && held.Of(k)+n > v {
				out = append(out, limitHit{path, k, held.Of(k), v, n})
			}
		}
	}
	return out
}

func (h limitHit) obstacle() api.Obstacle {
	used, limit := api.FormatAmounts(h.resource, h.used, h.limit)
	return api.Obstacle{Kind: api.ObstacleLimit, Partition: h.partition, Resource: h.resource,
		Have: used, Limit: limit, Need: api.FormatAmount(h.resource, h.need)}
}

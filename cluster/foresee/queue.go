package foresee

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// fresh is how long a list of what waits is good for, as long as nothing changes:
// those who ask at once, or for one page after the other, get the same.
const fresh = 5 * time.Second

// Queues tells what waits, in the order in which it will be served. One list is made
// at a time, and kept for a moment.
type Queues struct {
	plan scheduler.Planner
	turn chan struct{}

	mu     sync.Mutex
	last   *list
	forget *time.Timer // when last is too old
}

// NewQueues makes one that decides as that planner does.
func NewQueues(p scheduler.Planner) *Queues { return &Queues{plan: p, turn: make(chan struct{}, 1)} }

// list is what waits in one view.
type list struct {
	view *fsm.View
	at   time.Time

	mu sync.Mutex // of what is left of the forecast
	f  *forecast
}

// List is what waits, in the latest view or one that was it when this was called, which
// it tells. Rows are made as they are asked for. It ends with ctx.
func (q *Queues) List(ctx context.Context, latest func() *fsm.View) (*fsm.View, iter.Seq2[*api.Job, func() *api.Queued], error) {
	l, err := q.list(ctx, latest)
	if err != nil {
		return nil, nil, err
	}
	return l.view, l.all, nil
}

func (q *Queues) list(ctx context.Context, latest func() *fsm.View) (*list, error) {
	asked := latest()
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l := q.kept(asked); l != nil { // one for all who waited
		return l, nil
	}
	v := latest()
	f, err := foretell(ctx, q.plan, v)
	if err != nil {
		return nil, err
	}
	l := &list{view: v, at: q.plan.Now(), f: f}
	q.keep(l)
	return l, nil
}

// quick is how many tasks may wait for a forecast to be made for one of them alone: some
// tens of milliseconds of CPU.
const quick = 10_000

// Start is when the first waiting task of a job starts, and how sure that is, as the list
// says it: zero if nobody knows. It is not known where so many wait that only the list
// itself is worth a forecast, unless there is one.
func (q *Queues) Start(ctx context.Context, latest func() *fsm.View, job string) (at time.Time, sure api.Sure, known bool, err error) {
	if v := latest(); v.PendingCount() > quick && q.kept(v) == nil {
		return at, sure, false, nil
	}
	l, err := q.list(ctx, latest)
	if err != nil {
		return at, sure, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i, ok := l.f.rowOf[job]; ok && !l.f.rows[i].at.IsZero() {
		return l.f.rows[i].at, l.f.rows[i].sure, true, nil
	}
	if at, ok := l.f.kept[job]; ok && l.f.now.Before(at) {
		return at, api.SurePromised, true, nil
	}
	return at, sure, true, nil
}

// kept is the list that was made last, nil if it is too old.
func (q *Queues) kept(v *fsm.View) *list {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.last; l != nil && l.view.Index() >= v.Index() && q.plan.Now().Sub(l.at).Abs() < fresh {
		return l
	}
	return nil
}

// keep keeps a list, and no other, for as long as it is good.
func (q *Queues) keep(l *list) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.forget != nil {
		q.forget.Stop()
	}
	q.last = l
	q.forget = time.AfterFunc(fresh, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.last == l {
			q.last = nil
		}
	})
}

func (l *list) all(yield func(*api.Job, func() *api.Queued) bool) {
	for i := 0; ; i++ {
		r, ok := l.row(i)
		if !ok || !yield(r.job, func() *api.Queued { return r.queued(l.view, l.f.tally) }) {
			return
		}
	}
}

// row is that with a number, false if there are not so many.
func (l *list) row(i int) (r row, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i >= len(l.f.rows) {
		if !l.f.more() {
			return r, false
		}
	}
	return l.f.rows[i], true
}

// queued is the row as it is told.
func (r *row) queued(v *fsm.View, tally *fsm.Tally) *api.Queued {
	j := r.job
	q := &api.Queued{Position: r.position, Job: j.ID, Count: j.Counts.Pending, Partition: j.Spec.Partition, User: j.Owner(), Resources: j.Spec.Need(), Submitted: j.Created, Estimate: r.at, Sure: r.sure}
	q.Index, q.Through = indexes(v, j)
	q.Task = api.TaskID(j.ID, q.Index)
	if r.obstacle != nil {
		q.Because(*r.obstacle)
		return q
	}
	if bar, barred := scheduler.Barred(tally, j); barred {
		q.Because(bar) // those behind the first that waits for it are not even tried
		return q
	}
	if r.limit != nil {
		limit := *r.limit
		if n := api.AmountsOf(j.Spec.Need().Times(max(1, j.Spec.Gang))).Of(limit.Resource); n > 0 {
			limit.Need = api.FormatAmount(limit.Resource, n)
			q.Because(limit)
			return q
		}
	}
	o := api.Obstacle{Kind: api.ObstacleOrder, Partition: j.Spec.Partition}
	if p := v.Eligible(j.Spec.Partition); p != nil {
		o.Policy = p.Policy
	}
	q.Because(o)
	return q
}

// indexes are those of the first and the last task of a job that waits.
func indexes(v *fsm.View, j *api.Job) (first, last int) {
	first = -1
	for t := range v.PendingMade(j) {
		if last = t.Index; first < 0 {
			first = t.Index
		}
	}
	if j.Unmade() == 0 {
		return max(0, first), last
	}
	begin, count, _ := j.Spec.Indexes()
	if first < 0 {
		for first = begin + j.Made; first < begin+count-1 && v.Made(j.ID, first); {
			first++
		}
	}
	return first, begin + count - 1
}

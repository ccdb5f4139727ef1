package executor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
)

const (
	maxReport   = 512                  // statuses in one
	reportGap   = 2 * time.Millisecond // between two, so that what comes meanwhile goes along
	busyGap     = 25 * time.Millisecond
	retryFirst  = 50 * time.Millisecond
	retryLatest = 5 * time.Second
)

// reports takes statuses to the cluster, at least once. Of an attempt only the
// newest status waits, so the queue is bounded by the number of tasks.
type reports struct {
	rep   Reporter
	log   *slog.Logger
	acked func([]api.TaskStatus)
	busy  func() bool // there are starts that wait for others

	mu    sync.Mutex
	order []string // ids in newest, oldest first
	queue map[string]api.TaskStatus
	wake  chan struct{}
}

func newReports(rep Reporter, log *slog.Logger, acked func([]api.TaskStatus), busy func() bool) *reports {
	return &reports{rep: rep, log: log, acked: acked, busy: busy, queue: map[string]api.TaskStatus{}, wake: make(chan struct{}, 1)}
}

func (r *reports) add(st api.TaskStatus) {
	r.mu.Lock()
	id := attemptID(st.Task, st.Attempt)
	if _, ok := r.queue[id]; !ok {
		r.order = append(r.order, id)
	}
	r.queue[id] = st
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reports) take() []api.TaskStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.order), maxReport)
	out := make([]api.TaskStatus, 0, n)
	for _, id := range r.order[:n] {
		out = append(out, r.queue[id])
		delete(r.queue, id)
	}
	r.order = r.order[n:]
	return out
}

// renew replaces what has a newer status by now, so that a report repeated
// says what is true.
func (r *reports) renew(sts []api.TaskStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := map[string]bool{}
	for i := range sts {
		id := attemptID(sts[i].Task, sts[i].Attempt)
		if st, ok := r.queue[id]; ok {
			sts[i] = st
			delete(r.queue, id)
			taken[id] = true
		}
	}
	if len(taken) == 0 {
		return
	}
	rest := r.order[:0]
	for _, id := range r.order {
		if !taken[id] {
			rest = append(rest, id)
		}
	}
	r.order = rest
}

func (r *reports) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for sts := r.take(); len(sts) > 0; sts = r.take() {
			if !r.deliver(ctx, sts) || !backoff.Pause(ctx, r.gap()) {
				return
			}
		}
	}
}

// gap is how long to wait after a report. Each costs the cluster a write, so
// while starts wait here anyway, and no place falls empty, more go in one.
func (r *reports) gap() time.Duration {
	if r.busy() {
		return busyGap
	}
	return reportGap
}

// deliver repeats the report until it is taken; false when ctx ended.
func (r *reports) deliver(ctx context.Context, sts []api.TaskStatus) bool {
	retry := backoff.New(retryFirst, retryLatest)
	for {
		err := r.rep.Report(ctx, sts)
		if err == nil {
			r.acked(sts)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if retry.First() {
			r.log.Warn("the cluster was not told what became of tasks; trying again", "tasks", len(sts), "error", err)
		}
		if !retry.Wait(ctx) {
			return false
		}
		r.renew(sts)
	}
}

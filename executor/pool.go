package executor

import (
	"context"
	"sync"
	"time"
)

// pool runs work beside the loop, a bounded number at once, first come first
// served.
type pool struct {
	ctx   context.Context //nolint:containedctx // of Run
	work  *sync.WaitGroup
	limit int
	// patience, unless 0, is how long work may take before its place is another's,
	// and nobody waits for its end any more: it may hang in the kernel.
	patience time.Duration

	mu     sync.Mutex
	active int
	hung   int // beside those
	queue  []func(context.Context)
}

// maxHung bounds the work that has lost its place: each has a thread.
const maxHung = 256

func newPool(ctx context.Context, work *sync.WaitGroup, limit int) *pool {
	return &pool{ctx: ctx, work: work, limit: limit}
}

func (p *pool) add(f func(context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, f)
	p.spawn()
}

// spawn starts a worker if there is work for one; p.mu is held.
func (p *pool) spawn() {
	if len(p.queue) > 0 && p.active < p.limit {
		p.active++
		p.work.Add(1)
		go p.drain()
	}
}

func (p *pool) drain() {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 || p.ctx.Err() != nil {
			p.active--
			p.mu.Unlock()
			p.work.Done()
			return
		}
		f := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
		if !p.run(f) {
			return
		}
	}
}

// run is false if the work took so long that its worker has no place any more.
func (p *pool) run(f func(context.Context)) bool {
	if p.patience == 0 {
		f(p.ctx)
		return true
	}
	over, late := false, false
	t := time.AfterFunc(p.patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if over || p.hung == maxHung {
			return
		}
		late = true
		p.hung++
		p.active--
		p.spawn()
		p.work.Done()
	})
	f(p.ctx)
	t.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	over = true
	if late {
		p.hung--
	}
	return !late
}

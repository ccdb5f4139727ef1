package executor

import (
	"sync"
	"time"
)

// A start that is prepared has folders of its own, and those that tasks of its job
// leave are used again: so no more are prepared than the keeper soon begins.
const (
	maxPrepared = 32
	// pacePatience is how long a start may take before the next is prepared all the
	// same: its program may be on a dead file server.
	pacePatience = 50 * time.Millisecond
)

// pace lets starts in, a bounded number that have neither ended nor taken longer
// than others wait for, first come first served.
type pace struct {
	mu      sync.Mutex
	inside  int
	waiting []func(leave func())
	closed  bool
}

// enter has f called, with what it has to call when it is over, once it is its turn,
// and never if that is after the close. f waits for nothing.
func (p *pace) enter(f func(leave func())) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
	case p.inside == maxPrepared:
		p.waiting = append(p.waiting, f)
	default:
		p.inside++
		p.begin(f)
	}
}

// begin is called with p.mu held.
func (p *pace) begin(f func(leave func())) {
	leave := sync.OnceFunc(p.next)
	t := time.AfterFunc(pacePatience, leave)
	f(func() {
		t.Stop()
		leave()
	})
}

// next gives the place to who waits longest.
func (p *pace) next() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.inside--
		return
	}
	f := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	p.begin(f)
}

// close lets nobody in any more: what they begin is waited for after it.
func (p *pace) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.waiting = true, nil
}

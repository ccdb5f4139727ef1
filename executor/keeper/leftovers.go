package keeper

import (
	"sync"
	"time"
)

// leftovers are what starts and ends leave of memory that nobody uses any more. The
// runtime would keep it as long as little is asked for, and a keeper of tasks that
// run for months asks for nothing. Whoever starts tasks one after the other needs it
// for the next.
type leftovers struct {
	free func() // gives it back

	mu    sync.Mutex
	count int
	timer *time.Timer
}

const (
	muchLeft   = 64 // starts and ends: what fewer leave is not worth looking for
	quietAfter = 2 * time.Second
)

func (l *leftovers) add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count++; l.count < muchLeft {
		return
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(quietAfter, l.giveBack)
		return
	}
	l.timer.Reset(quietAfter)
}

func (l *leftovers) giveBack() {
	l.mu.Lock()
	l.count = 0
	l.mu.Unlock()
	l.free()
}

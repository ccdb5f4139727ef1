package consensus

import (
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const (
	queueCommands = 4096
	queueBytes    = 16 << 20
	packCommands  = 256
	packBytes     = 256 << 10
)

// call is one Propose on its way.
type call struct {
	encoded [][]byte
	results []fsm.Result
	left    int  // commands without an outcome
	sent    int  // commands in the log, or on their way into it
	applied bool // some command took effect, or was refused
	err     error
	done    chan struct{}
}

// item is one command of a call.
type item struct {
	call *call
	at   int
}

// queue holds the commands that wait for a log entry, in order.
type queue struct {
	mu     sync.Mutex
	items  []item
	bytes  int
	ended  error
	crowd  crowd
	filled chan struct{} // cap 1: something came
}

func newQueue() *queue { return &queue{filled: make(chan struct{}, 1)} }

// push queues the commands of a call. When the queue is full the call is
// refused; an empty queue takes a call of any size.
func (q *queue) push(c *call) error {
	size := 0
	for _, e := range c.encoded {
		size += len(e)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		return q.ended
	}
	if n := len(q.items); n > 0 && (n+len(c.encoded) > queueCommands || q.bytes+size > queueBytes) {
		return api.Errorf(api.CodeBusy, "%d changes wait to be written already: try again in a moment", n)
	}
	for i := range c.encoded {
		q.items = append(q.items, item{c, i})
	}
	q.bytes += size
	q.crowd.enter()
	select {
	case q.filled <- struct{}{}:
	default:
	}
	return nil
}

// take removes what fits one log entry; none if nothing waits.
func (q *queue) take() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.crowd.count(time.Now())
	n := q.pack()
	out := q.items[:n:n]
	q.items = q.items[n:]
	for _, it := range out {
		q.bytes -= len(it.call.encoded[it.at])
		it.call.sent++
	}
	if len(q.items) == 0 {
		q.items = nil // let go of what was sent
	}
	return out
}

// pack is how many commands fit one log entry; q.mu is held.
func (q *queue) pack() int {
	size := 0
	for i, it := range q.items {
		size += len(it.call.encoded[it.at])
		if i == packCommands || i > 0 && size > packBytes {
			return i
		}
	}
	return len(q.items)
}

// empty reports whether nothing waits.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) == 0
}

// state reports whether enough for one entry waits, and whether more is about to
// come.
func (q *queue) state() (full, gathers bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) >= packCommands || q.bytes >= packBytes, q.crowd.gathers()
}

// withdraw takes a call out if none of it was sent, and reports whether it did.
func (q *queue) withdraw(c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.sent > 0 {
		return false
	}
	kept := make([]item, 0, len(q.items))
	for _, it := range q.items {
		if it.call != c {
			kept = append(kept, it)
		} else {
			q.bytes -= len(c.encoded[it.at])
		}
	}
	q.items = kept
	q.crowd.leave(1)
	return true
}

// finish hands out the outcome of an entry: the results, or why there are none.
func (q *queue) finish(items []item, results []fsm.Result, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	over := 0
	for i, it := range items {
		c := it.call
		if err != nil {
			c.fail(err)
		} else {
			c.results[it.at] = results[i]
			c.applied = true
		}
		if c.left--; c.left == 0 {
			over++
			close(c.done)
		}
	}
	q.crowd.leave(over)
}

// fail notes why an entry of the call has no outcome; not to know is worse
// than not to have been written.
func (c *call) fail(err error) {
	if c.err == nil || api.ErrorCode(c.err) != api.CodeUnknown {
		c.err = err
	}
}

// end refuses what waits, and all that comes.
func (q *queue) end(err error) {
	q.mu.Lock()
	q.ended = err
	items := q.items
	q.items, q.bytes = nil, 0
	q.mu.Unlock()
	q.finish(items, nil, err)
}

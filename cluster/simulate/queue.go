package simulate

import "time"

// eventKind is what an event does. Those of one instant happen in this order:
// what ends there makes room for what comes.
type eventKind uint8

const (
	taskEnds eventKind = iota
	taskKilled
	serviceEnds
	nodeReturns
	nodeFails
	jobArrives
)

// event is something that will happen.
type event struct {
	at   time.Duration
	kind eventKind
	seq  int  // the order of making, among equals
	run  *run // taskEnds, taskKilled
	gen  int  // of the run: an event that was planned before it changed is void
	item int  // nodeReturns, nodeFails: a failure; jobArrives, serviceEnds: a job
}

func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	if e.kind != o.kind {
		return e.kind < o.kind
	}
	return e.seq < o.seq
}

// eventQueue is a binary heap.
type eventQueue struct {
	heap []event
	made int
}

func (q *eventQueue) push(e event) {
	q.made++
	e.seq = q.made
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.heap[i].before(&q.heap[up]) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

// next is the event that comes first; ok is false if there is none.
func (q *eventQueue) next() (at time.Duration, ok bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].at, true
}

func (q *eventQueue) pop() event {
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if least == i {
			return top
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

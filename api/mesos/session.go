package mesos

import (
	"sync"
	"sync/atomic"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// What a session holds for a framework that does not read; beyond it the session ends,
// and the framework has to connect again.
const (
	maxQueued      = 16 << 20  // bytes of events
	maxQueuedCount = 20_000    // events
	maxQueuedAll   = 256 << 20 // bytes of all sessions together
)

// session is one subscription of a framework.
type session struct {
	framework string
	id        string // the stream's
	format    wire.Format
	relayed   bool // another node passes it on

	// Of the hub, by its lock.
	heads  map[newsKey]string // the oldest news of each task, by their ids
	flying map[string]*flight // those of them that were sent and not acknowledged
	behind atomic.Bool        // there is news beside, which is told once the queue is empty
	total  *atomic.Int64      // bytes that all sessions have queued

	mu    sync.Mutex
	can   capabilities
	queue []queued
	bytes int
	end   string        // what is told at last; "" = nothing
	ended bool          // nothing more is queued
	ready chan struct{} // one slot: the queue has something, or the session ended
}

// queued is an event on its way.
type queued struct {
	record []byte
	acks   []fsm.Ack // are noted once it was written
}

func newSession(framework string, format wire.Format, total *atomic.Int64) *session {
	return &session{framework: framework, total: total, id: newUUID(), format: format, ready: make(chan struct{}, 1), heads: map[newsKey]string{}, flying: map[string]*flight{}}
}

// caps is what its framework says now that it knows.
func (s *session) caps() capabilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.can
}

func (s *session) know(c capabilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.can = c
}

// push queues an event. It never waits: who does not read is let go.
func (s *session) push(e *v1.SchedulerEvent, acks ...fsm.Ack) {
	b, err := wire.Marshal(s.format, e)
	if err != nil {
		s.close("An event could not be written: " + err.Error())
		return
	}
	record := wire.AppendRecord(nil, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	all := s.total.Add(int64(len(record)))
	if s.bytes+len(record) > maxQueued || len(s.queue) >= maxQueuedCount || all > maxQueuedAll {
		s.total.Add(-int64(s.bytes + len(record)))
		s.ended, s.queue, s.bytes = true, nil, 0
	} else {
		s.queue, s.bytes = append(s.queue, queued{record, acks}), s.bytes+len(record)
	}
	s.wake()
}

// close ends the session, with an ERROR at its end if there is something to say.
func (s *session) close(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.end = true, why
		s.wake()
	}
}

func (s *session) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// forget lets go of what nobody will read.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(-int64(s.bytes))
	s.ended, s.queue, s.bytes = true, nil, 0
}

// waiting is how many events are queued.
func (s *session) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// take is what was queued since, and whether that was the last.
func (s *session) take() (events []queued, end string, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(-int64(s.bytes))
	events, s.queue, s.bytes = s.queue, nil, 0
	return events, s.end, s.ended
}

// role is what a framework calls a partition.
func role(partition string) string {
	if partition == api.DefaultPartition {
		return "*"
	}
	return partition
}

// partition is what a role is here.
func partition(role string) string {
	if role == "*" {
		return api.DefaultPartition
	}
	return role
}

func event(t v1.SchedulerEventType) *v1.SchedulerEvent { return &v1.SchedulerEvent{Type: &t} }

func errorEvent(why string) *v1.SchedulerEvent {
	e := event(v1.SchedulerEventTypeError)
	e.Error = &v1.SchedulerEventError{Message: why}
	return e
}

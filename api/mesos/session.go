package mesos

import (
	"sync"
	"sync/atomic"

	"github.com/mesita/mesita/api/mesos/outbox"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// held is what a session holds for a framework that does not read; beyond it the session
// ends, and the framework has to connect again.
var held = outbox.Bounds{Bytes: 16 << 20, Count: 20_000, All: 256 << 20}

// session is one subscription of a framework.
type session struct {
	framework string
	id        string // the stream's
	relayed   bool   // another node passes it on
	format    wire.Format

	// Of the hub, by its lock.
	ends    bool               // its framework has itself removed
	begun   bool               // it was told of itself, before which it is told nothing
	heads   map[topic]string   // the oldest news of each task that it was told, by their ids
	flying  map[string]*flight // those of them that were sent and not acknowledged
	backlog backlog            // what it is told once the queue is empty
	untold  []string           // ids of offers, likewise
	behind  atomic.Bool        // that is something

	*outbox.Outbox

	mu  sync.Mutex
	can capabilities
}

func newSession(framework string, format wire.Format, total *atomic.Int64) *session {
	return &session{framework: framework, id: newUUID(), format: format, Outbox: outbox.New(format, held, total), heads: map[topic]string{}, flying: map[string]*flight{}}
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

// waiting is how many events are on their way.
func (s *session) waiting() int {
	n, _ := s.Waiting()
	return n
}

// push queues an event. It never waits: who does not read is let go.
func (s *session) push(e *v1.SchedulerEvent) { s.Push(e, nil) }

// close ends the session, with an ERROR at its end if there is something to say.
func (s *session) close(why string) {
	if why == "" {
		s.Close(nil)
		return
	}
	s.Close(errorEvent(why))
}

// role is what a framework calls a partition.
func role(partition string) string { return rows.Role(partition) }

// partition is what a role is here.
func partition(role string) string { return rows.Partition(role) }

func event(t v1.SchedulerEventType) *v1.SchedulerEvent { return &v1.SchedulerEvent{Type: &t} }

func errorEvent(why string) *v1.SchedulerEvent {
	e := event(v1.SchedulerEventTypeError)
	e.Error = &v1.SchedulerEventError{Message: why}
	return e
}

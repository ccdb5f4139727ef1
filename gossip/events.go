package gossip

import (
	"context"
	"sync"
)

// EventType says what happened to a member.
type EventType int

const (
	EventJoin EventType = iota
	EventLeave
	EventFail
	EventUpdate // its meta or address changed, or a suspicion was taken back
	EventSuspect
)

func (t EventType) String() string {
	switch t {
	case EventJoin:
		return "join"
	case EventLeave:
		return "leave"
	case EventFail:
		return "fail"
	case EventUpdate:
		return "update"
	case EventSuspect:
		return "suspect"
	}
	return "unknown"
}

// Event is news of a member, as it stood then.
type Event struct {
	Type   EventType
	Member Member
}

// eventQueue holds at most one event per member, the latest, so a slow reader
// costs neither memory nor memberlist's time.
type eventQueue struct {
	signal chan struct{}

	mu     sync.Mutex
	order  []string
	latest map[string]Event
}

func newEventQueue() *eventQueue {
	return &eventQueue{signal: make(chan struct{}, 1), latest: map[string]Event{}}
}

func (q *eventQueue) put(kind EventType, m Member) {
	q.mu.Lock()
	old, waiting := q.latest[m.ID]
	if !waiting {
		q.order = append(q.order, m.ID)
	} else if kind == EventUpdate && old.Type == EventJoin {
		kind = EventJoin // the reader has not heard of it yet
	}
	q.latest[m.ID] = Event{Type: kind, Member: m}
	q.mu.Unlock()
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

func (q *eventQueue) take() (Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return Event{}, false
	}
	id := q.order[0]
	q.order = q.order[1:]
	e := q.latest[id]
	delete(q.latest, id)
	return e, true
}

// pump moves events to out until ctx is done.
func (q *eventQueue) pump(ctx context.Context, out chan<- Event) {
	for {
		e, ok := q.take()
		if !ok {
			select {
			case <-q.signal:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case out <- e:
		case <-ctx.Done():
			return
		}
	}
}

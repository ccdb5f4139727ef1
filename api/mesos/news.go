package mesos

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

const (
	firstPause = 10 * time.Second // at least, until an update that is not acknowledged is sent again
	longPause  = 10 * time.Minute // likewise, once it was sent many times
	ackPause   = 3 * time.Millisecond
	maxTold    = 2000 // events that are queued, beyond which no more news is
)

// newsKey is a task of whose news the oldest is sent first.
type newsKey struct {
	job   string
	index int
}

// flight is an update that was sent, and waits to be acknowledged.
type flight struct {
	event *v1.SchedulerEvent
	ack   fsm.Ack
	due   time.Time // when it is sent again
	waits *backoff.Backoff
}

// tellNews sends the oldest news of each task that was not sent; the caller holds the lock.
func (h *hub) tellNews(v *fsm.View, s *session) {
	if h.sessions[s.framework] != s || !s.begun {
		return
	}
	now := h.Now()
	s.behind.Store(false)
	heads := make(map[newsKey]string, len(s.heads))
	for n := range v.FrameworkNews(s.framework) {
		u := &n.Updates[0]
		key, id := newsKey{n.Job, n.Index}, string(u.ID)
		heads[key] = id
		if s.heads[key] == id {
			continue
		}
		if s.Waiting() >= maxTold { // the rest is told once these are on their way
			delete(heads, key)
			s.behind.Store(true)
			continue
		}
		ack := fsm.Ack{Job: n.Job, Index: n.Index, Update: u.ID}
		st := statusOf(v, s, &n, u)
		switch {
		case st == nil:
			h.addAck(s.framework, ack)
		case st.UUID == nil:
			s.Push(updateEvent(st), func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.addAck(s.framework, ack)
			})
		default:
			f := &flight{event: updateEvent(st), ack: ack, waits: backoff.New(2*firstPause, 2*longPause)}
			f.due = now.Add(f.waits.Next())
			s.flying[id] = f
			h.soonest(f.due)
			s.push(f.event)
		}
	}
	for key, id := range s.heads {
		if heads[key] != id {
			delete(s.flying, id)
		}
	}
	s.heads = heads
}

func (h *hub) soonest(at time.Time) {
	if h.due.IsZero() || at.Before(h.due) {
		h.due = at
	}
}

// resend sends again what was not acknowledged in time, and says when to look next; the
// caller holds the lock.
func (h *hub) resend() time.Time {
	now := h.Now()
	if h.due.IsZero() || now.Before(h.due) {
		return h.due
	}
	h.due = time.Time{}
	for _, s := range h.sessions {
		for _, f := range s.flying {
			if !now.Before(f.due) {
				f.due = now.Add(f.waits.Next())
				s.push(f.event)
			}
			h.soonest(f.due)
		}
	}
	return h.due
}

// acknowledge notes that a framework has taken an update; what it was not sent is ignored.
func (h *hub) acknowledge(s *session, a *v1.SchedulerCallAcknowledge) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := s.flying[string(a.UUID)]
	if f == nil || f.event.Update.Status.TaskID.Value != a.TaskID.Value {
		return
	}
	delete(s.flying, string(a.UUID))
	h.addAck(s.framework, f.ack)
}

// addAck has an update noted as taken; the caller holds the lock.
func (h *hub) addAck(framework string, ack fsm.Ack) {
	h.acks[framework] = append(h.acks[framework], ack)
	select {
	case h.acked <- struct{}{}:
	default:
	}
}

// sendAcks notes what was acknowledged, all of a few milliseconds at once.
func (h *hub) sendAcks(ctx context.Context) {
	timer := time.NewTimer(ackPause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.acked:
		}
		timer.Reset(ackPause)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		h.mu.Lock()
		acks := h.acks
		h.acks = map[string][]fsm.Ack{}
		h.mu.Unlock()
		var cmds []fsm.Command
		for framework, of := range acks {
			cmds = append(cmds, &fsm.FrameworkAck{Meta: fsm.Meta{At: h.Now()}, Framework: framework, Acks: of})
		}
		if len(cmds) == 0 {
			continue
		}
		if _, err := h.Store.Propose(ctx, cmds...); err != nil && ctx.Err() == nil {
			h.Log.Warn("what frameworks acknowledged is not noted: it is sent again", "err", err, "code", api.ErrorCode(err))
			h.again(acks)
		}
	}
}

// again has updates sent that were acknowledged, as that is not noted.
func (h *hub) again(acks map[string][]fsm.Ack) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for framework, of := range acks {
		s := h.sessions[framework]
		if s == nil {
			continue
		}
		for _, a := range of {
			delete(s.heads, newsKey{a.Job, a.Index})
		}
		h.fresh = append(h.fresh, s)
	}
	h.kick()
}

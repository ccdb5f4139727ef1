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
	dueStep    = time.Second
	maxTold    = 500 // events that are queued, beyond which nothing is that can wait
)

// flight is an update that was sent, and waits to be acknowledged.
type flight struct {
	event *v1.SchedulerEvent
	ack   fsm.Ack
	due   time.Time // when it is sent again
	waits *backoff.Backoff
}

// look has a session told of all news again that it was not told; the caller holds the lock.
func (h *hub) look(v *fsm.View, s *session) {
	for n := range v.FrameworkNews(s.framework) {
		if s.heads[newsOf(n.Job, n.Index)] != string(n.Updates[0].ID) {
			s.backlog.add(newsOf(n.Job, n.Index))
		}
	}
	for key := range s.heads {
		if _, ok := v.FrameworkNewsOf(s.framework, key.job, key.index); !ok {
			s.backlog.add(key)
		}
	}
}

// tell tells a session what it is to be told, as much as its stream takes; the rest once
// that is on its way. The caller holds the lock.
func (h *hub) tell(v *fsm.View, s *session) {
	if h.sessions[s.framework] != s || !s.begun {
		return
	}
	s.behind.Store(len(s.untold) > 0)
	for s.waiting() < maxTold {
		t, ok := s.backlog.take()
		switch {
		case !ok:
			return
		case t.job != "":
			h.tellNews(v, s, t)
		default:
			h.tellTask(v, s, t.task, t.node)
		}
	}
	s.behind.Store(true)
}

// tellNews sends the oldest news of a task if that was not sent; the caller holds the lock.
func (h *hub) tellNews(v *fsm.View, s *session, key topic) {
	n, ok := v.FrameworkNewsOf(s.framework, key.job, key.index)
	if !ok {
		delete(s.flying, s.heads[key])
		delete(s.heads, key)
		return
	}
	u := &n.Updates[0]
	id := string(u.ID)
	if s.heads[key] == id {
		return
	}
	delete(s.flying, s.heads[key])
	s.heads[key] = id
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
		s.flying[id] = f
		h.sendAgain(f, h.Now())
		s.push(f.event)
	}
}

// sendAgain notes when an update is sent again. Many are in one look at all.
func (h *hub) sendAgain(f *flight, now time.Time) {
	f.due = now.Add(f.waits.Next()).Truncate(dueStep).Add(dueStep)
	h.soonest(f.due)
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
				if h.sendAgain(f, now); s.waiting() < maxTold { // who does not read has it in its queue
					s.push(f.event)
				}
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
			delete(s.heads, newsOf(a.Job, a.Index))
		}
		h.fresh = append(h.fresh, s)
	}
	h.kick()
}

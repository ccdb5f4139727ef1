package mesos

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

const heartbeat = 15 * time.Second

// subscribe serves one subscription until it ends.
func (s *Server) subscribe(c *exchange.Call, h *hub, r *request) (any, error) {
	if !r.either {
		return nil, call.NotAcceptable()
	}
	if r.stream != "" {
		return nil, bad("Subscribe calls should not include the 'Mesos-Stream-Id' header")
	}
	se, err := h.subscribe(c, r)
	c.W.Header().Set(exchange.HeaderStreamID, se.id)
	out := exchange.NewStream(c)
	if err != nil {
		if p, ok := err.(*problem); ok {
			return nil, p
		}
		if code := api.ErrorCode(err); code == api.CodeUnavailable || code == api.CodeUnknown || code == api.CodeBusy {
			return nil, err
		}
		if out.Begin(r.accept.MediaType()) == nil {
			_ = write(out, r.accept, errorEvent(exchange.AsError(err).Message)) // the caller is gone if this fails
		}
		return exchange.Done{}, nil
	}
	defer h.leave(se)
	defer se.Forget()
	if out.Begin(r.accept.MediaType()) != nil {
		return exchange.Done{}, nil
	}
	h.begin(se)
	r.call = v1.SchedulerCall{} // it lasts, and needs nothing of it any more
	c.Release()
	h.pump(c, se, out)
	return exchange.Done{}, nil
}

// subscribe registers a framework. The session has its id also if it does not begin.
func (h *hub) subscribe(c *exchange.Call, r *request) (*session, error) {
	sub := r.call.Subscribe
	se := newSession(frameworkID(sub.FrameworkInfo.ID), r.accept, &h.queued)
	v := h.Store.View()
	f, err := frameworkOf(v, c.ID, sub.FrameworkInfo)
	if err != nil {
		return se, err
	}
	off, err := suppressed(f, sub.SuppressedRoles)
	if err != nil {
		return se, err
	}
	accepts, err := wanted(f, sub.OfferConstraints, capabilitiesOf(sub.FrameworkInfo))
	if err != nil {
		return se, err
	}
	old := v.Framework(f.ID)
	switch {
	case f.ID == "":
		f.ID = h.newID()
	case old != nil && !old.Ended.IsZero():
		return se, wrong("Framework has been removed")
	case old != nil && old.Principal != f.Principal:
		return se, wrong("Changing framework's principal is not allowed.")
	}
	if err := keepInfo(f, old, sub.FrameworkInfo); err != nil {
		return se, err
	}
	se.framework = f.ID
	se.know(capabilitiesOf(sub.FrameworkInfo))
	f.Session, se.relayed = se.id, c.ID.Forwarded
	lock := h.entry(f.ID)
	lock.Lock()
	defer lock.Unlock()
	keep := old != nil && old.Connected && h.of(f.ID) == nil // it was connected to an earlier leader
	if err := h.enter(se); err != nil {
		return se, err
	}
	if _, err := h.Store.Do(c.R.Context(), &fsm.FrameworkPut{Meta: fsm.Meta{At: h.Now(), Actor: c.ID.Actor}, Framework: f, Connect: true, KeepOffers: keep}); err != nil {
		h.leave(se)
		return se, err
	}
	h.desk.Connect(f.ID, se.id, off, accepts)
	return se, nil
}

// pump writes what a session is told until it ends, its reader leaves, or the lead does.
func (h *hub) pump(c *exchange.Call, s *session, out exchange.Stream) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		events, last, ended := s.Take()
		for i, e := range events {
			if out.Write(e.Bytes, i == len(events)-1) != nil {
				return
			}
			if e.Written != nil {
				e.Written()
			}
		}
		if ended {
			if last != nil {
				_ = out.Write(last, true) // it ends either way
			}
			return
		}
		if len(events) > 0 {
			select {
			case <-beat.C: // also of a stream that is never silent: some clients count on it
				s.push(event(v1.SchedulerEventTypeHeartbeat))
			default:
			}
			continue
		}
		if s.behind.CompareAndSwap(true, false) {
			h.next(s)
		}
		select {
		case <-c.R.Context().Done():
			return
		case <-s.Ready():
		case <-beat.C:
			s.push(event(v1.SchedulerEventTypeHeartbeat))
		}
	}
}

func write(out exchange.Stream, f wire.Format, e *v1.SchedulerEvent) error {
	b, err := wire.Marshal(f, e)
	if err != nil {
		return err
	}
	return out.Write(wire.AppendRecord(nil, b), true)
}

// subscribed is what a framework is told of itself and of the leader.
func (h *hub) subscribed(s *session) *v1.SchedulerEvent {
	e := event(v1.SchedulerEventTypeSubscribed)
	e.Subscribed = &v1.SchedulerEventSubscribed{FrameworkID: &v1.FrameworkID{Value: s.framework}, HeartbeatIntervalSeconds: new(heartbeat.Seconds()), MasterInfo: h.masterInfo()}
	return e
}

func (h *hub) masterInfo() *v1.MasterInfo {
	return rows.Master(h.master, h.NodeName, h.Store.View().Node(h.Cluster.NodeID()))
}

// teardown ends a framework for good.
func (h *hub) teardown(ctx context.Context, actor string, s *session) error {
	h.mu.Lock()
	s.ends = true // who asks for it is not told why its session ends, whoever sees it first
	h.mu.Unlock()
	_, err := h.Store.Do(ctx, &fsm.FrameworkRemove{Meta: fsm.Meta{At: h.Now(), Actor: actor}, ID: s.framework, Reason: "it asked for its teardown"})
	h.mu.Lock()
	h.drop(s, "")
	h.mu.Unlock()
	return err
}

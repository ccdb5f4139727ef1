package mesos

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// hub is what a leader knows of the frameworks that are connected to it. One loop follows
// the state and hands out what is new, so that no framework costs a watcher, and none
// waits for another.
type hub struct {
	Config
	desk   Desk
	master string // its id: another one with each lead
	began  time.Time
	wake   chan struct{} // one slot: a session began, or is to be looked at

	mu       sync.Mutex
	sessions map[string]*session // by framework
	fresh    []*session          // that have been told nothing yet, or are to be told all again
	behind   []*session          // whose queue is empty, and whose backlog is not
	told     map[string]telling  // offers, by their ids
	lost     map[string]bool     // nodes
	relayed  map[string]bool     // frameworks that were connected by another node, which may be what is gone
	made     int                 // frameworks
	acks     map[string][]fsm.Ack
	acked    chan struct{} // one slot
	due      time.Time     // when an update is sent again
	over     bool
	queued   atomic.Int64 // bytes of events that sessions have queued
	left     atomic.Bool  // a session ended
	expiry   time.Time    // of the loop: when a framework is gone for long enough; zero = none

	entering [64]sync.Mutex // by framework: one of its connections is noted at a time
}

// entry is the lock under which a connection of a framework is noted, here, in the state
// and at the Desk, so that all three have the same last one.
func (h *hub) entry(framework string) *sync.Mutex {
	f := fnv.New32a()
	_, _ = f.Write([]byte(framework)) // it never fails
	return &h.entering[f.Sum32()%uint32(len(h.entering))]
}

func newHub(cfg Config, desk Desk) *hub {
	return &hub{Config: cfg, desk: desk, master: newUUID(), began: cfg.Now(), wake: make(chan struct{}, 1), sessions: map[string]*session{}, told: map[string]telling{},
		lost: map[string]bool{}, relayed: map[string]bool{}, acks: map[string][]fsm.Ack{}, acked: make(chan struct{}, 1)}
}

// run hands out what happens until the lead ends.
func (h *hub) run(ctx context.Context) error {
	acks := make(chan struct{})
	go func() {
		defer close(acks)
		h.sendAcks(ctx)
	}()
	defer func() { <-acks }()
	defer h.closeAll()
	w := h.Store.Watch(fsm.TableOffers, fsm.TableFrameworkNews, fsm.TableFrameworks, fsm.TableNodes, fsm.TableExecutors)
	defer w.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changes, all := w.Take()
		next := h.pass(ctx, changes, all)
		wait := time.Hour
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(h.Now()), time.Millisecond))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
		case <-h.wake:
		case <-timer.C:
		}
	}
}

func (h *hub) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for _, s := range h.sessions {
		s.close("")
	}
}

// pass tells sessions what changed. It says when to come again without a change.
func (h *hub) pass(ctx context.Context, changes map[fsm.Change]struct{}, all bool) time.Time {
	h.mu.Lock()
	v := h.Store.View() // not before: who is told of it may have answered, or ended, what it shows
	fresh := h.fresh
	h.fresh = nil
	if all {
		h.noteLost(v, nil)
		for _, s := range h.sessions {
			fresh = append(fresh, s)
		}
		for id := range h.told {
			h.noteOffer(v, id, nil)
		}
		for id := range h.sessions {
			h.noteFramework(v, id)
		}
	}
	batches := map[*session][]string{}
	if len(fresh) > 0 {
		in := map[string]*session{}
		for _, s := range fresh {
			if h.sessions[s.framework] == s {
				in[s.framework] = s
			}
		}
		for o := range v.Offers() {
			if in[o.Framework] != nil {
				h.noteOffer(v, o.ID, batches)
			}
		}
	}
	news := map[*session]bool{}
	for _, s := range fresh {
		h.look(v, s)
		news[s] = true
	}
	changedFrameworks := false
	for c := range changes {
		switch c.Table {
		case fsm.TableOffers:
			h.noteOffer(v, c.ID, batches)
		case fsm.TableFrameworkNews:
			framework, job, index := fsm.SplitNewsID(c.ID)
			if s := h.sessions[framework]; s != nil && s.begun {
				s.backlog.add(newsOf(job, index))
				news[s] = true
			}
		case fsm.TableFrameworks:
			changedFrameworks = true
			h.noteFramework(v, c.ID)
		case fsm.TableNodes:
			h.noteLost(v, &c.ID)
		}
	}
	for _, s := range h.behind {
		news[s] = true
	}
	h.behind = nil
	for s := range news { // before the offers of the room that it freed
		h.tell(v, s)
	}
	for c := range changes { // after what it ran
		if c.Table == fsm.TableExecutors {
			h.noteExecutor(v, c.ID)
		}
	}
	for s, offers := range batches {
		s.untold = append(s.untold, offers...)
		news[s] = true
	}
	for s := range news {
		h.tellOffers(v, s)
	}
	next := h.resend()
	h.mu.Unlock()
	if h.left.Swap(false) || all || changedFrameworks || !h.expiry.IsZero() && !h.Now().Before(h.expiry) {
		h.expiry = h.expire(ctx, v)
	}
	if at := h.expiry; !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	return next
}

// telling is who was told of an offer.
type telling struct {
	to       *session
	answered bool // it ends by that, of which nobody is told
	waits    bool // for what is told before it: it was not told yet
}

// noteOffer tells of an offer that is new or gone.
func (h *hub) noteOffer(v *fsm.View, id string, batches map[*session][]string) {
	o, told := v.Offer(id), h.told[id]
	switch {
	case o == nil && told.to != nil:
		delete(h.told, id)
		if told.answered || told.waits {
			return
		}
		e := event(v1.SchedulerEventTypeRescind)
		e.Rescind = &v1.SchedulerEventRescind{OfferID: &v1.OfferID{Value: id}}
		told.to.push(e)
	case o != nil && batches != nil:
		if s := h.sessions[o.Framework]; s != nil && s.begun && told.to != s {
			h.told[id] = telling{to: s, waits: true}
			batches[s] = append(batches[s], id)
		}
	}
}

// answers notes offers that a framework answers: it is not told that they are gone, nor,
// while they are there still, of them again.
func (h *hub) answers(s *session, ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.Store.View()
	for _, id := range ids {
		o, to := v.Offer(id), h.told[id].to
		// One that an earlier leader told it of may be answered before it is told here.
		if to == s || to == nil && o != nil && o.Framework == s.framework && h.sessions[s.framework] == s {
			h.told[id] = telling{to: s, answered: true}
		}
	}
}

// unanswered are offers of which an answer was not noted: what is there of them is told again.
func (h *hub) unanswered(s *session, ids []string) {
	h.mu.Lock()
	for _, id := range ids {
		if h.told[id].to == s {
			delete(h.told, id)
		}
	}
	h.mu.Unlock()
	h.again(map[string][]fsm.Ack{s.framework: nil})
}

// noteFramework ends the session of a framework that was removed, or has left.
func (h *hub) noteFramework(v *fsm.View, id string) {
	s, f := h.sessions[id], v.Framework(id)
	switch {
	case s == nil || f == nil || f.Session != s.id:
	case !f.Ended.IsZero() && !s.ends:
		h.drop(s, "Framework has been removed")
	case !f.Connected, !f.Ended.IsZero():
		h.drop(s, "")
	}
}

// drop ends a session; the caller holds the lock.
func (h *hub) drop(s *session, why string) {
	if h.sessions[s.framework] == s {
		delete(h.sessions, s.framework)
		h.desk.Leave(s.framework, s.id)
		h.left.Store(true)
		h.kick()
	}
	for id, of := range h.told {
		if of.to == s {
			delete(h.told, id)
		}
	}
	s.close(why)
}

// noteLost tells all frameworks of a node that is lost; with nil it looks at all nodes,
// and tells nobody.
func (h *hub) noteLost(v *fsm.View, id *string) {
	gone := func(n *api.Node) bool { return !rows.Registered(n) }
	if id == nil {
		for n := range v.Nodes() {
			h.lost[n.ID] = gone(n)
		}
		return
	}
	was, now := h.lost[*id], gone(v.Node(*id))
	if h.lost[*id] = now; was || !now {
		return
	}
	for _, s := range h.sessions {
		if !s.begun {
			continue
		}
		e := event(v1.SchedulerEventTypeFailure)
		e.Failure = &v1.SchedulerEventFailure{AgentID: &v1.AgentID{Value: *id}}
		s.push(e)
	}
}

// enter begins a session. An earlier one of the framework ends.
func (h *hub) enter(s *session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return reply.Unavailable(reply.NoLeader)
	}
	if old := h.sessions[s.framework]; old != nil {
		h.drop(old, "Framework failed over")
	}
	h.sessions[s.framework] = s
	delete(h.relayed, s.framework)
	return nil
}

// begin tells a session of itself, and then all else.
func (h *hub) begin(s *session) {
	subscribed := h.subscribed(s)
	h.mu.Lock()
	s.push(subscribed)
	s.push(event(v1.SchedulerEventTypeHeartbeat))
	s.begun = true
	h.fresh = append(h.fresh, s) // in one with it, as else offers could come before the news of what ran in their room
	h.mu.Unlock()
	h.kick()
}

// next lets a session be told the next of its backlog.
func (h *hub) next(s *session) {
	h.mu.Lock()
	h.behind = append(h.behind, s)
	h.mu.Unlock()
	h.kick()
}

func (h *hub) kick() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// leaveWithin bounds how long it is tried to note that a framework left.
const leaveWithin = 5 * time.Second

// leave notes that the connection of a session is gone.
func (h *hub) leave(s *session) {
	h.mu.Lock()
	mine := h.sessions[s.framework] == s && !h.over
	if mine && s.relayed {
		h.relayed[s.framework] = true
	}
	h.drop(s, "")
	h.mu.Unlock()
	if !mine {
		return // the next one has taken over, or who leads now will find out
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	_, err := h.Store.Do(ctx, &fsm.FrameworkLeave{Meta: fsm.Meta{At: h.Now()}, ID: s.framework, Session: s.id})
	if code := api.ErrorCode(err); err != nil && code != api.CodeConflict && code != api.CodeNotFound {
		h.Log.Warn("that a framework left is not noted", "framework", s.framework, "err", err)
	}
}

// of is the session of a framework, nil if it has none.
func (h *hub) of(framework string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[framework]
}

// begun is it once it was told of itself: until then it is told nothing else.
func (h *hub) begun(framework string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[framework]; s != nil && s.begun {
		return s
	}
	return nil
}

// newID is one that no framework has had.
func (h *hub) newID() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made++
	return fmt.Sprintf("%s-%04d", h.master, h.made-1)
}

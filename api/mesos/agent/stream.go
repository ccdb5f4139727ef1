package agent

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/outbox"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

const (
	heartbeat   = 30 * time.Minute // as Mesos has it: some executors take none as an error
	writeWithin = 10 * time.Second // for an executor to read what it is sent
)

// held is what waits for an executor that does not read.
var held = outbox.Bounds{Bytes: 32 << 20, Count: 10_000, All: 256 << 20}

// stream is a subscription of an executor.
type stream struct {
	*outbox.Outbox
	desk   *Desk
	host   *host
	format wire.Format
}

func newStream(d *Desk, h *host, format wire.Format, total *atomic.Int64) *stream {
	return &stream{Outbox: outbox.New(format, held, total), desk: d, host: h, format: format}
}

func event(t v1.ExecutorEventType) *v1.ExecutorEvent { return &v1.ExecutorEvent{Type: &t} }

func (s *stream) kill(t *task) {
	e := event(v1.ExecutorEventTypeKill)
	e.Kill = &v1.ExecutorEventKill{TaskID: &v1.TaskID{Value: t.row.Framework.ID}, KillPolicy: &v1.KillPolicy{GracePeriod: &v1.DurationInfo{Nanoseconds: int64(t.grace)}}}
	s.Push(e, nil)
}

func (s *stream) shutdown() { s.Push(event(v1.ExecutorEventTypeShutdown), nil) }

func (s *stream) acknowledge(task string, id []byte) {
	e := event(v1.ExecutorEventTypeAcknowledged)
	e.Acknowledged = &v1.ExecutorEventAcknowledged{TaskID: &v1.TaskID{Value: task}, UUID: id}
	s.Push(e, nil)
}

// subscribe begins a subscription. An earlier one of the executor ends.
func (d *Desk) subscribe(h *host, sub *v1.ExecutorCallSubscribe, format wire.Format) (*stream, error) {
	updates := make([]update, 0, len(sub.UnacknowledgedUpdates))
	for _, u := range sub.UnacknowledgedUpdates {
		up, err := d.updateOf(h, u.Status)
		if err != nil {
			return nil, err
		}
		updates = append(updates, up)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h.leave()
	h.out, h.subscribed = newStream(d, h, format, &d.queued), true
	h.out.Push(d.subscribed(h), nil)
	if h.ending || stops(h.row) {
		h.ending = true
		h.out.shutdown()
	}
	h.read(&d.notes)
	for _, u := range updates { // what it kept is taken, however much that is: it was bounded in the call
		d.takeUpdate(h, u)
	}
	d.reconcile(h, sub.UnacknowledgedTasks)
	d.serve(h, d.fresh, d.cfg.Now())
	poke(d.wake) // there are times that run from now on
	return h.out, nil
}

// reconcile compares what an executor has with what it was handed. What it says nothing of
// may never have reached it, or it may run: it is handed out no second time.
func (d *Desk) reconcile(h *host, has []*v1.TaskInfo) {
	for _, t := range h.tasks {
		listed := slices.ContainsFunc(has, func(m *v1.TaskInfo) bool { return m.TaskID.Value == t.row.Framework.ID })
		t.killed = time.Time{} // it is told again
		switch {
		case listed:
			t.handed, h.handed = true, true
		case !t.over && !t.spoke && (t.handed || h.noted[t.row.ID]):
			d.end(t, api.TaskDropped, api.ReasonNeverDelivered, v1.TaskStatusReasonAgentRestarted, "Task launched during agent restart")
		}
	}
}

// subscribed is what an executor is told of itself and of this node.
func (d *Desk) subscribed(h *host) *v1.ExecutorEvent {
	e := event(v1.ExecutorEventTypeSubscribed)
	agent := &v1.AgentInfo{Hostname: d.cfg.NodeName, ID: &v1.AgentID{Value: d.cfg.NodeID}}
	if _, port, err := net.SplitHostPort(d.cfg.Endpoint); err == nil {
		if n, err := strconv.Atoi(port); err == nil {
			agent.Port = new(int32(n))
		}
	}
	e.Subscribed = &v1.ExecutorEventSubscribed{ExecutorInfo: h.info.Executor, FrameworkInfo: h.info.Framework, AgentInfo: agent, ContainerID: &v1.ContainerID{Value: container(h.row)}}
	return e
}

// serve writes what there is to tell until the subscription ends, or its reader leaves.
func (s *stream) serve(w http.ResponseWriter, r *http.Request) {
	defer s.end()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", s.format.MediaType())
	w.WriteHeader(http.StatusOK)
	write := func(b []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeWithin)) // an in-memory writer has none
		_, err := w.Write(b)
		if err == nil {
			err = control.Flush() // each record by itself, as there are clients that read one at a time
		}
		return err == nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		events, last, ended := s.Take()
		for _, e := range events {
			if !write(e.Bytes) {
				return
			}
		}
		if ended {
			if last != nil {
				write(last)
			}
			return
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.Ready():
		case <-beat.C:
			s.Push(event(v1.ExecutorEventTypeHeartbeat), nil)
		}
	}
}

// end notes that nobody reads any more.
func (s *stream) end() {
	s.Forget()
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	if s.host.out == s {
		s.host.out = nil
	}
}

func withTimeout(r *http.Request, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), d)
}

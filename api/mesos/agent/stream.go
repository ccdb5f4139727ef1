package agent

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

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

// An executor is handed tasks for as long as less than this waits for it: what it is told
// besides has room then, and tasks that it was not handed can be taken back.
const (
	maxHanded      = 100
	maxHandedBytes = 16 << 20
)

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

func (s *stream) full() bool {
	count, bytes := s.Waiting()
	return count >= maxHanded || bytes >= maxHandedBytes
}

func event(t v1.ExecutorEventType) *v1.ExecutorEvent { return &v1.ExecutorEvent{Type: &t} }

func (s *stream) kill(task string, grace time.Duration) {
	e := event(v1.ExecutorEventTypeKill)
	e.Kill = &v1.ExecutorEventKill{TaskID: &v1.TaskID{Value: task}, KillPolicy: &v1.KillPolicy{GracePeriod: &v1.DurationInfo{Nanoseconds: int64(grace)}}}
	s.Push(e, nil)
}

func (s *stream) shutdown() { s.Push(event(v1.ExecutorEventTypeShutdown), nil) }

func (s *stream) acknowledge(task string, id []byte) {
	e := event(v1.ExecutorEventTypeAcknowledged)
	e.Acknowledged = &v1.ExecutorEventAcknowledged{TaskID: &v1.TaskID{Value: task}, UUID: id}
	s.Push(e, nil)
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
			s.more()
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

// more hands out the tasks for which there was no room.
func (s *stream) more() {
	d := s.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := s.host; h.out == s && h.behind {
		d.serve(h, d.fresh, d.cfg.Now())
		poke(d.wake)
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

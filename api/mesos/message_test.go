package mesos

import (
	"bytes"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// The first event of a session is that it is subscribed, whatever executors send meanwhile.
func TestNothingIsToldBeforeSubscribed(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	s.offer("o1")
	s.launch("o1", inExecutor("t1"))
	server := &Server{}
	server.hub.Store(w.hub)
	m := &Message{Framework: s.id, Executor: "default", Node: "oak", Data: []byte("x")}
	next := newSession(s.id, wire.Protobuf, &w.hub.queued)
	if err := w.hub.enter(next); err != nil {
		t.Fatal(err)
	}
	if err := server.ToFramework(m); api.ErrorCode(err) != api.CodeNotFound {
		t.Errorf("it is told: %v", err)
	}
	w.hub.begin(next)
	if err := server.ToFramework(m); err != nil {
		t.Error(err)
	}
	events, _, _ := next.Take()
	for i, want := range []v1.SchedulerEventType{v1.SchedulerEventTypeSubscribed, v1.SchedulerEventTypeHeartbeat, v1.SchedulerEventTypeMessage} {
		b, err := wire.NewRecordReader(bytes.NewReader(events[i].Bytes), 1<<20).Next()
		if err != nil {
			t.Fatal(err)
		}
		var e v1.SchedulerEvent
		if err := wire.Unmarshal(wire.Protobuf, b, &e); err != nil || v1.Get(e.Type) != want {
			t.Errorf("event %d is %v, not %v: %v", i, v1.Get(e.Type), want, err)
		}
	}
}

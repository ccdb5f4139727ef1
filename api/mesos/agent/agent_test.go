package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

func each(t *testing.T, test func(t *testing.T, w *world, format wire.Format)) {
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		t.Run(f.String(), func(t *testing.T) { test(t, newWorld(t, nil), f) })
	}
}

// Test of Mesos: Subscribe. And what follows: a task is handed out, and what its executor
// says of it reaches the cluster as it was said, before that is acknowledged.
func TestSubscribe(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		w.executor("e", false)
		row := w.hosted("1", "e", nil)
		c := w.subscribe(format, "e", nil)
		c.wantLaunch("1")
		w.hosted("2", "e", nil)
		c.wantLaunch("2")
		s := status("e", "1", v1.TaskStateRunning, 1)
		s.Data, s.Message = []byte("data"), new("it runs")
		c.update(s)
		c.wantAck(s)
		w.await(func() bool { return w.said(row.ID) == "running" })
		got := w.reports[0]
		var st v1.TaskStatus
		if err := wire.Unmarshal(wire.Protobuf, got.Update.Status, &st); err != nil {
			t.Fatal(err)
		}
		if got.NodeID != "n1" || got.Attempt != 1 || !bytes.Equal(got.Update.ID, s.UUID) || st.AgentID.Value != "n1" || st.Timestamp == nil || st.ContainerStatus.ContainerID.Value != "j.e-1" || string(st.Data) != "data" {
			t.Errorf("%+v %+v", got, st)
		}
	})
}

// Updates of one task arrive in their order, each once, and those that the cluster does not
// take are not acknowledged.
func TestUpdatesAreInOrder(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	row := w.hosted("1", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.wantLaunch("1")
	w.mu.Lock()
	w.down = true
	w.mu.Unlock()
	sent := []*v1.TaskStatus{status("e", "1", v1.TaskStateStarting, 1), status("e", "1", v1.TaskStateRunning, 2), status("e", "1", v1.TaskStateRunning, 3), status("e", "1", v1.TaskStateFinished, 4)}
	for _, s := range sent {
		c.update(s)
		c.update(s) // as who hears no acknowledgement does
	}
	w.mu.Lock()
	w.down = false
	w.mu.Unlock()
	for _, s := range sent {
		c.wantAck(s)
	}
	w.await(func() bool { return w.said(row.ID) == "starting, running, running, finished exited" })
	c.update(sent[3]) // it is known by now
	c.wantAck(sent[3])
}

// What an executor says of a task and is too large is taken without what is large in it: else
// neither it nor the framework would be rid of the task.
func TestLargeUpdatesAreCut(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	for i, change := range []func(*v1.TaskStatus){
		func(s *v1.TaskStatus) { s.Data = make([]byte, 100_000) },
		func(s *v1.TaskStatus) { s.Message = new(strings.Repeat("x", 100_000)) },
		func(s *v1.TaskStatus) {
			s.Labels = &v1.Labels{Labels: []*v1.Label{{Key: "k", Value: new(strings.Repeat("x", 100_000))}}}
		},
	} {
		id := fmt.Sprint(i)
		row := w.hosted(id, "e", nil)
		s := status("e", id, v1.TaskStateFinished, byte(i+1))
		change(s)
		c := w.subscribe(wire.JSON, "e", nil, s) // it is large there, too
		c.update(s)
		var last api.TaskStatus
		w.await(func() bool {
			if len(w.reports) > 0 {
				last = w.reports[len(w.reports)-1]
			}
			return w.said(row.ID) == "finished exited"
		})
		var told v1.TaskStatus
		if err := wire.Unmarshal(wire.Protobuf, last.Update.Status, &told); err != nil || len(last.Update.Status) > api.MaxExecutorUpdate {
			t.Errorf("%d bytes were passed on: %v", len(last.Update.Status), err)
		}
		if why := v1.Get(told.Message); told.State != v1.TaskStateFinished || !strings.Contains(why, "at most 65536 are passed on") || !strings.Contains(last.Message, "are passed on") {
			t.Errorf("it was passed on as %v: %s", told.State, why)
		}
	}
}

// What an executor says just before it ends is told before its end, with which all of its
// tasks would end.
func TestLastWordsComeBeforeTheEnd(t *testing.T) {
	w := newWorld(t, nil)
	e := w.executor("e", false)
	w.hosted("1", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.wantLaunch("1")
	w.mu.Lock()
	w.down = true
	w.mu.Unlock()
	w.hosted("2", "e", nil)
	c.wantLaunch("2")
	var sent []*v1.TaskStatus
	for i := range byte(40) { // more than one report takes
		s := status("e", "2", v1.TaskStateRunning, i)
		s.Data, s.Message = make([]byte, 60<<10), new(strings.Repeat("\x01", 2000))
		sent = append(sent, s)
	}
	sent = append(sent, status("e", "2", v1.TaskStateFinished, 100), status("e", "1", v1.TaskStateFinished, 1))
	for _, s := range sent {
		c.update(s)
	}
	end := []api.TaskStatus{{Task: "another"}, {Task: e.ID, Attempt: 1, State: api.TaskFinished}}
	parts := w.Before(end)
	told := map[string][]byte{}
	for _, p := range parts {
		b, err := json.Marshal(p)
		if err != nil || len(b) > maxBytes {
			t.Errorf("a report has %d bytes: %v", len(b), err)
		}
		for _, st := range p {
			if i := st.Update.ID[15]; st.State == api.TaskFinished || int(i) == len(told[st.Task]) {
				told[st.Task] = append(told[st.Task], i)
			}
		}
	}
	if len(told["j.t1"]) != 1 || len(told["j.t2"]) != 41 || len(parts) < 2 {
		t.Errorf("in %d reports: %v", len(parts), told)
	}
	if got := w.Before(end[:1]); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// A task that is to end is killed by its executor, and told of again after a break.
func TestKill(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	row := w.hosted("1", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.wantLaunch("1")
	w.stop(row, api.ReasonStopped)
	if k := c.want(v1.ExecutorEventTypeKill).Kill; k.TaskID.Value != "1" || k.KillPolicy.GracePeriod.Nanoseconds != 3e9 {
		t.Errorf("%+v", k)
	}
	again := w.subscribe(wire.JSON, "e", []string{"1"})
	again.want(v1.ExecutorEventTypeKill)
	if b, err := c.events.Next(); err == nil {
		t.Errorf("the earlier subscription continues: %s", b)
	}
}

// A task that was stopped before its executor was told of it never starts.
func TestStoppedBeforeItWasHandedOut(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	row := w.hosted("1", "e", nil)
	w.stop(row, api.ReasonStopped)
	w.await(func() bool { return w.said(row.ID) == "killed never_delivered" })
	w.hosted("2", "e", nil)
	w.subscribe(wire.JSON, "e", nil).wantLaunch("2")
}

// Messages go both ways.
func TestMessage(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	if w.Send("f", "e", []byte("hi")) == nil {
		t.Error("who is not subscribed is sent a message")
	}
	c := w.subscribe(wire.JSON, "e", nil)
	if err := w.Send("f", "e", []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if e := c.want(v1.ExecutorEventTypeMessage); string(e.Message.Data) != "hi" {
		t.Errorf("%s", e.Message.Data)
	}
	if res := w.call(wire.JSON, "e", &v1.ExecutorCall{Type: new(v1.ExecutorCallTypeMessage), Message: &v1.ExecutorCallMessage{Data: []byte("ho")}}); res.StatusCode != 202 {
		t.Error(res.Status)
	}
	w.await(func() bool { return slices.Equal(w.messages, []string{"f e ho"}) })
}

// An executor that is to end is asked to; one that is not there has to be signalled.
func TestShutdown(t *testing.T) {
	w := newWorld(t, nil)
	e := w.executor("e", false)
	if w.Ask(e) || w.Ask(&api.Task{ID: e.ID}) {
		t.Error("who cannot hear it was asked to end")
	}
	c := w.subscribe(wire.JSON, "e", nil)
	asked := w.Ask(e)
	if again := w.Ask(e); !asked || !again {
		t.Error("an executor that is subscribed is signalled")
	}
	c.want(v1.ExecutorEventTypeShutdown)
	w.hosted("1", "e", nil) // is not for who ends
	s := status("e", "1", v1.TaskStateRunning, 1)
	c.update(s)
	c.wantAck(s)
}

// An executor that never subscribes is ended, one that has no task after a while, too, and
// one whose task does not end, unless its framework asked for that.
func TestTimes(t *testing.T) {
	t.Run("silent", func(t *testing.T) {
		w := newWorld(t, nil)
		e := w.executor("e", false)
		w.hosted("1", "e", nil)
		w.pass(registerWithin)
		w.await(func() bool { return slices.Equal(w.ended, []string{e.ID + " failed executor_silent"}) })
	})
	t.Run("idle", func(t *testing.T) {
		w := newWorld(t, nil)
		e := w.executor("e", false)
		w.subscribe(wire.JSON, "e", nil)
		w.pass(idleFor)
		w.await(func() bool { return slices.Equal(w.ended, []string{e.ID + " killed stopped"}) })
	})
	for reason, ends := range map[api.Reason]bool{api.ReasonStopped: false, api.ReasonDrained: true} {
		t.Run("stuck, "+string(reason), func(t *testing.T) {
			w := newWorld(t, nil)
			w.executor("e", false)
			row := w.hosted("1", "e", nil)
			c := w.subscribe(wire.JSON, "e", nil)
			c.wantLaunch("1")
			w.stop(row, reason)
			c.want(v1.ExecutorEventTypeKill)
			w.pass(3*time.Second + killMore)
			w.overdue() // as the loop does, which may not have come to it
			w.mu.Lock()
			defer w.mu.Unlock()
			if (len(w.ended) > 0) != ends {
				t.Errorf("ended: %v", w.ended)
			}
		})
	}
}

// After a daemon was killed nothing is lost and nothing doubled: what the executor has is
// its own, what it was never handed it is handed, and what may have been on its way is told
// to be dropped.
func TestDaemonIsKilled(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", true)
	has, lost, spoke := w.hosted("has", "e", nil), w.hosted("lost", "e", nil), w.hosted("spoke", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	for range 3 {
		c.want(v1.ExecutorEventTypeLaunch)
	}
	first := status("e", "spoke", v1.TaskStateStarting, 1)
	c.update(first)
	c.wantAck(first)
	started := *spoke
	started.State = api.TaskStarting
	cfg := w.Desk.cfg
	w.begin(cfg)
	w.put(&started, time.Second)
	w.hosted("new", "e", nil)
	said := status("e", "has", v1.TaskStateRunning, 2)
	c = w.subscribe(wire.JSON, "e", []string{"has"}, said)
	c.wantLaunch("new")
	c.wantAck(said)
	w.await(func() bool { return w.said(has.ID) == "running" && w.said(lost.ID) == "dropped never_delivered" })
	for i := range w.reports {
		var st v1.TaskStatus
		if w.reports[i].Task == lost.ID && (wire.Unmarshal(wire.Protobuf, w.reports[i].Update.Status, &st) != nil || *st.Source != v1.TaskStatusSourceAgent || *st.Reason != v1.TaskStatusReasonAgentRestarted || st.State != v1.TaskStateDropped) {
			t.Errorf("its framework hears of the task that was on its way: %+v", st)
		}
	}
	if got := w.said(spoke.ID); got != "starting" {
		t.Errorf("a task that its executor spoke of is %s", got)
	}
}

// An executor that lies: of tasks that are not its, or are none, the cluster hears nothing.
func TestExecutorLies(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.executor("x", false)
	w.hosted("1", "x", nil)
	c := w.subscribe(wire.JSON, "e", []string{"1", "none"}, status("e", "none", v1.TaskStateRunning, 1))
	c.wantAck(status("e", "none", v1.TaskStateRunning, 1))
	c.wantKill("none")
	stray := []string{c.want(v1.ExecutorEventTypeKill).Kill.TaskID.Value, c.want(v1.ExecutorEventTypeKill).Kill.TaskID.Value}
	if slices.Sort(stray); !slices.Equal(stray, []string{"1", "none"}) {
		t.Errorf("it is to kill %v", stray)
	}
	s := status("e", "1", v1.TaskStateFinished, 2)
	c.update(s)
	c.wantAck(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.reports) > 0 {
		t.Errorf("%+v", w.reports)
	}
}

// What an executor says faster than the cluster takes it is bounded.
func TestFloodOfUpdates(t *testing.T) {
	w := newWorld(t, nil)
	w.executor("e", false)
	w.hosted("1", "e", nil)
	c := w.subscribe(wire.JSON, "e", nil)
	c.wantLaunch("1")
	w.mu.Lock()
	w.down = true
	w.mu.Unlock()
	for i := range byte(maxWaiting) {
		c.update(status("e", "1", v1.TaskStateRunning, i))
	}
	over := make(chan int)
	go func() {
		over <- c.call(wire.JSON, "e", &v1.ExecutorCall{Type: new(v1.ExecutorCallTypeUpdate), Update: &v1.ExecutorCallUpdate{Status: status("e", "1", v1.TaskStateRunning, 200)}}).StatusCode
	}()
	w.mu.Lock()
	w.down = false
	w.mu.Unlock()
	if got := <-over; got != 202 {
		t.Errorf("what waited for its turn is answered %d", got)
	}
	w.await(func() bool { return len(w.reports) == maxWaiting+1 })
}

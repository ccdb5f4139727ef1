package operator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// lead has the node lead until the test, or its caller, ends that.
func (w *world) lead() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = w.server.Lead(ctx) // always nil
	}()
	for w.server.feed.Load() == nil {
		select {
		case <-over:
			w.t.Fatal("it does not lead")
		default:
		}
	}
	end = func() { cancel(); <-over }
	w.t.Cleanup(end)
	return end
}

// watcher is one who subscribed.
type watcher struct {
	*world
	format  wire.Format
	records *wire.RecordReader
}

// subscribe takes the events with which each subscription begins.
func (w *world) subscribe(format wire.Format) (*watcher, *v1.MasterEventSubscribed) {
	w.t.Helper()
	body, err := wire.Marshal(format, &v1.MasterCall{Type: new(v1.MasterCallTypeSubscribe)})
	if err != nil {
		w.t.Fatal(err)
	}
	res := w.send(http.MethodPost, body, http.Header{"Content-Type": {format.MediaType()}, "Accept": {format.MediaType()}})
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != format.MediaType() {
		w.t.Fatalf("%s %v: %s", res.Status, res.Header, w.text(res))
	}
	w.t.Cleanup(func() { res.Body.Close() })
	s := &watcher{w, format, wire.NewRecordReader(res.Body, 32<<20)}
	m := s.want(v1.MasterEventTypeSubscribed).Subscribed
	s.want(v1.MasterEventTypeHeartbeat)
	return s, m
}

func (s *watcher) want(kind v1.MasterEventType) *v1.MasterEvent {
	s.t.Helper()
	b, err := s.records.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	e := &v1.MasterEvent{}
	if err := wire.Unmarshal(s.format, b, e); err != nil {
		s.t.Fatal(err)
	}
	if v1.Get(e.Type) != kind {
		s.t.Fatalf("%v, not %v: %s", v1.Get(e.Type), kind, b)
	}
	return e
}

// A subscriber is told what there is, and then each change, what runs something before it
// and after it is gone; the end of the lead ends it.
func TestSubscribe(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		end := w.lead()
		s, m := w.subscribe(format)
		if g := m.GetState; v1.Get(m.HeartbeatIntervalSeconds) != 15 || len(g.GetTasks.Tasks) != 2 || len(g.GetAgents.Agents) != 2 || len(g.GetFrameworks.Frameworks) != 2 || g.GetExecutors == nil {
			t.Errorf("%+v", m)
		}
		w.launch("t2", "oak")
		if task := s.want(v1.MasterEventTypeTaskAdded).TaskAdded.Task; task.TaskID.Value != "t2" || task.State != v1.TaskStateStaging || task.FrameworkID.Value != "f1" {
			t.Errorf("%+v", task)
		}
		for state, says := range map[api.TaskState]v1.TaskState{api.TaskRunning: v1.TaskStateRunning} {
			w.becomes("t2", state)
			if u := s.want(v1.MasterEventTypeTaskUpdated).TaskUpdated; u.FrameworkID.Value != "f1" || u.State != says || u.Status.State != says || u.Status.TaskID.Value != "t2" {
				t.Errorf("%+v", u)
			}
		}
		w.becomes("t2", api.TaskFailed)
		if u := s.want(v1.MasterEventTypeTaskUpdated).TaskUpdated; u.State != v1.TaskStateFailed || v1.Get(u.Status.Message) != "Command exited with status 3" {
			t.Errorf("%+v", u.Status)
		}
		w.do(&fsm.FrameworkLeave{Meta: fsm.Meta{At: testTime}, ID: "f1", Session: "s1"})
		if f := s.want(v1.MasterEventTypeFrameworkUpdated).FrameworkUpdated.Framework; f.Connected || f.FrameworkInfo.Name != "shop" {
			t.Errorf("%+v", f)
		}
		w.do(&fsm.NodeState{Meta: fsm.Meta{At: testTime}, ID: "oak", State: api.NodeUnreachable, Since: w.store.View().Node("oak").Since})
		if u := s.want(v1.MasterEventTypeTaskUpdated).TaskUpdated; u.State != v1.TaskStateUnreachable || u.FrameworkID.Value != rows.Own {
			t.Errorf("%+v", u.Status)
		}
		if id := s.want(v1.MasterEventTypeAgentRemoved).AgentRemoved.AgentID.Value; id != "oak" {
			t.Error(id)
		}
		n := w.store.View().Node("elm")
		w.do(&fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "oak", Hello: api.NodeHello{Addr: n.Addr, Level: n.Level, Resources: n.Resources}})
		if a := s.want(v1.MasterEventTypeAgentAdded).AgentAdded.Agent; a.AgentInfo.ID.Value != "oak" {
			t.Errorf("%+v", a)
		}
		w.do(&fsm.FrameworkPut{Meta: fsm.Meta{At: testTime}, Connect: true, Framework: &api.Framework{ID: "f2", Name: "other", Session: "s2", Partitions: []string{"web"}}})
		if f := s.want(v1.MasterEventTypeFrameworkAdded).FrameworkAdded.Framework; f.FrameworkInfo.ID.Value != "f2" {
			t.Errorf("%+v", f)
		}
		w.do(&fsm.FrameworkRemove{Meta: fsm.Meta{At: testTime}, ID: "f2"})
		if i := s.want(v1.MasterEventTypeFrameworkRemoved).FrameworkRemoved.FrameworkInfo; i.Name != "other" {
			t.Errorf("%+v", i)
		}
		end()
		if _, err := s.records.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the lead: %v", err)
		}
	})
}

// A limited token is told what is of its partitions, and of all nodes.
func TestSubscribersSeeTheirPartitions(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.lead()
	w.token = w.newToken("viewer@default")
	s, m := w.subscribe(wire.JSON)
	if g := m.GetState; len(g.GetTasks.Tasks) != 1 || len(g.GetFrameworks.Frameworks) != 1 {
		t.Errorf("%+v", g)
	}
	w.launch("t2", "oak")
	w.do(&fsm.FrameworkLeave{Meta: fsm.Meta{At: testTime}, ID: "f1", Session: "s1"})
	w.job("seen", "elm")
	if task := s.want(v1.MasterEventTypeTaskAdded).TaskAdded.Task; task.Name != "seen" {
		t.Errorf("%+v", task)
	}
}

// A change that the first view had is not told again, and an attempt of the same id ends
// before the next is told.
func TestNewsAreOfWhatSubscribersKnow(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	k := newKnown()
	k.learn(w.store.View())
	if n := k.news(w.store.View(), map[fsm.Change]struct{}{{Table: fsm.TableNodes, ID: "oak"}: {}, {Table: fsm.TableFrameworks, ID: "f1"}: {}, {Table: fsm.TableTasks, ID: w.store.View().FrameworkTask("f1", "t1").ID}: {}}); len(n) != 0 {
		t.Errorf("%d news of what is known", len(n))
	}
	var id string
	for _, task := range rowsOf(w) {
		id = task
	}
	task := w.store.View().Task(id)
	w.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: id, Attempt: task.Attempt, NodeID: task.NodeID, State: api.TaskFailed, ExitCode: new(1), Reason: api.ReasonExited, Time: testTime}}})
	now := w.store.View().Task(id)
	if now.Attempt != task.Attempt+1 {
		t.Fatalf("the service is not started again: %+v", now)
	}
	w.do(&fsm.TaskPlace{Meta: fsm.Meta{At: testTime}, Placements: []fsm.Placement{{Job: now.Job, Attempt: now.Attempt, NodeID: "elm"}}})
	var kinds []string
	for _, n := range k.news(w.store.View(), map[fsm.Change]struct{}{{Table: fsm.TableTasks, ID: id}: {}}) {
		e := n.event(rows.Of(w.store.View(), auth.Identity{}))
		kinds = append(kinds, e.Type.String())
		if e.TaskUpdated != nil && (e.TaskUpdated.State != v1.TaskStateFailed || e.TaskUpdated.Status.AgentID.Value != "oak") {
			t.Errorf("%+v", e.TaskUpdated.Status)
		}
	}
	if !slices.Equal(kinds, []string{"TASK_UPDATED", "TASK_ADDED"}) {
		t.Errorf("%v", kinds)
	}
}

// The tasks of a framework are told before its end, also when what is looked at has both and
// the change of a task is not known of yet.
func TestTasksAreToldBeforeTheirFrameworksEnd(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	k := newKnown()
	k.learn(w.store.View())
	w.launch("late", "oak")
	id := w.store.View().FrameworkTask("f1", "late").ID
	w.do(&fsm.FrameworkRemove{Meta: fsm.Meta{At: testTime}, ID: "f1"})
	var kinds []string
	for _, n := range k.news(w.store.View(), map[fsm.Change]struct{}{{Table: fsm.TableFrameworks, ID: "f1"}: {}}) {
		kinds = append(kinds, n.event(rows.Of(w.store.View(), auth.Identity{})).Type.String())
	}
	if last := len(kinds) - 1; !slices.Contains(kinds, "TASK_ADDED") || kinds[last] != "FRAMEWORK_REMOVED" {
		t.Errorf("%v", kinds)
	}
	if n := k.news(w.store.View(), map[fsm.Change]struct{}{{Table: fsm.TableTasks, ID: id}: {}}); len(n) != 0 {
		t.Errorf("%d news are told twice", len(n))
	}
}

// rowsOf are the ids of the tasks of jobs.
func rowsOf(w *world) (ids []string) {
	for j := range w.store.View().Jobs() {
		for t := range w.store.View().MadeTasks(j.ID) {
			if t.Framework == nil {
				ids = append(ids, t.ID)
			}
		}
	}
	return ids
}

// Who does not read is let go, and more than may be told at a time end the first.
func TestSubscribersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := fsm.NewStore(nil)
		f := newFeed(store)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.run(ctx); close(done) }()
		var subs []*subscriber
		for range maxSubscribers + 2 {
			s := &subscriber{format: wire.JSON, began: make(chan struct{}), Outbox: newOutbox(f, wire.JSON)}
			if err := f.enter(s); err != nil {
				t.Fatal(err)
			}
			subs = append(subs, s)
		}
		synctest.Wait()
		for i, s := range subs {
			if _, _, ended := s.Take(); ended != (i < 2) {
				t.Errorf("subscriber %d: ended is %v", i, ended)
			}
		}
		full := subs[5]
		for range held.Count + 1 {
			full.Queue([]byte("x"), nil)
		}
		if _, _, ended := full.Take(); !ended {
			t.Error("who does not read is not let go")
		}
		for _, s := range subs {
			f.leave(s)
		}
		synctest.Wait()
		cancel()
		<-done
		if err := f.enter(subs[0]); err == nil {
			t.Error("without a lead somebody subscribes")
		}
	})
}

// What the view had that a subscriber was told first is not told again.
func TestWhatWasToldFirstIsNotToldAgain(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	f, v := newFeed(w.store), w.store.View()
	s := &subscriber{format: wire.JSON, from: v.Index(), Outbox: newOutbox(f, wire.JSON)}
	f.subs = []*subscriber{s}
	told := news{revision: v.Index(), event: func(*rows.Rows) *v1.MasterEvent { return event(v1.MasterEventTypeHeartbeat) }}
	later := told
	later.revision++
	f.tell(v, []news{told, later})
	if n, _ := s.Waiting(); n != 1 {
		t.Errorf("%d events of what was told and one that was not", n)
	}
}

// Whoever has the most subscribers loses one if there are too many, not who was there first.
func TestOneCallerDoesNotEndTheSubscriptionsOfOthers(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	f := newFeed(w.store)
	var subs []*subscriber
	for i := range maxSubscribers + 1 {
		s := &subscriber{id: auth.Identity{Actor: "token:many", Token: "many"}, format: wire.JSON, began: make(chan struct{}), Outbox: newOutbox(f, wire.JSON)}
		if i == 0 {
			s.id = auth.Identity{Actor: "token:one", Token: "one"}
		}
		subs = append(subs, s)
	}
	f.fresh = slices.Clone(subs)
	f.begin(w.store.View())
	for i, s := range subs {
		if _, _, ended := s.Take(); ended != (i == 1) {
			t.Errorf("subscriber %d: ended is %v", i, ended)
		}
	}
}

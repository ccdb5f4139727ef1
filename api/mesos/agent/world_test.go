package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// world is a node with a cluster that is not there: it takes what it is told.
type world struct {
	*testing.T
	*Desk
	url   string
	tasks []api.Assignment

	mu       sync.Mutex
	now      time.Time
	down     bool // the cluster takes nothing
	reports  []api.TaskStatus
	told     chan struct{} // is closed, and made anew, with each of these
	ended    []string
	messages []string
	peer     *uint32 // who calls; nil: nobody knows
}

const executorUID = 1001

func (w *world) who(context.Context) (uid uint32, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.peer == nil {
		return 0, false
	}
	return *w.peer, true
}

// calls has a user make the calls from now on.
func (w *world) calls(uid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peer = &uid
}

// locked does something with the desk.
func (w *world) locked(do func()) {
	w.Desk.mu.Lock()
	defer w.Desk.mu.Unlock()
	do()
}

// deaf has an executor be subscribed that does not read.
func (w *world) deaf(id string) *host {
	w.Desk.mu.Lock()
	defer w.Desk.mu.Unlock()
	h := w.hosts["j."+id]
	h.leave()
	h.out = newStream(w.Desk, h, wire.Protobuf, &w.queued)
	return h
}

// takes has the cluster take what it is told, or not.
func (w *world) takes(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = !yes
}

// newWorld is a node of which no executor is known yet.
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), told: make(chan struct{})}
	cfg := Config{NodeID: "n1", NodeName: "elm", Endpoint: "127.0.0.1:5051", Key: []byte("a key of the node"), Dir: t.TempDir(), Reporter: w, Processes: w, Message: w.message, Peer: w.who, User: func(*api.Task, *api.TaskSpec) (uint32, bool) { return executorUID, true },
		Now: w.time, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	w.begin(cfg)
	return w
}

// begin is the start of a daemon.
func (w *world) begin(cfg Config) (stop func()) {
	w.Helper()
	w.Desk = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func(d *Desk) {
		defer close(done)
		_ = d.Run(ctx) // it has no error of its own
	}(w.Desk)
	srv := httptest.NewServer(w.Desk)
	w.url = srv.URL + "/api/v1/executor"
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-done
			srv.CloseClientConnections()
			srv.Close()
		})
	}
	w.Cleanup(stop)
	return stop
}

func (w *world) Report(_ context.Context, statuses []api.TaskStatus) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return errors.New("no leader")
	}
	w.reports = append(w.reports, statuses...)
	w.tell()
	return nil
}

func (w *world) End(task string, _ int, state api.TaskState, reason api.Reason, _ string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, task+" "+state.Word()+" "+string(reason))
	w.tell()
}

func (w *world) message(_ context.Context, framework, executor string, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages = append(w.messages, framework+" "+executor+" "+string(data))
	w.tell()
	return nil
}

func (w *world) tell() {
	close(w.told)
	w.told = make(chan struct{})
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	poke(w.wake)
}

// await waits until something is so, of what the node told others.
func (w *world) await(is func() bool) {
	w.Helper()
	for {
		w.mu.Lock()
		ok, told := is(), w.told
		w.mu.Unlock()
		if ok {
			return
		}
		<-told
	}
}

// executor has one run here.
func (w *world) executor(id string, checkpoint bool) *api.Task {
	w.Helper()
	info, err := wire.Marshal(wire.Protobuf, &about{&v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: id}, Name: new("Test Executor")},
		&v1.FrameworkInfo{User: "root", Name: "example", ID: &v1.FrameworkID{Value: "f"}, Checkpoint: &checkpoint}})
	if err != nil {
		w.Fatal(err)
	}
	t := &api.Task{ID: "j." + id, Attempt: 1, NodeID: "n1", State: api.TaskRunning, Framework: &api.FrameworkTask{Framework: "f", Executor: id, IsExecutor: true, Info: info}}
	w.put(t, 5*time.Second)
	return t
}

// hosted has a task run by an executor.
func (w *world) hosted(id, executor string, change func(*api.Task)) *api.Task {
	w.Helper()
	info, err := wire.Marshal(wire.Protobuf, &v1.TaskInfo{Name: id, TaskID: &v1.TaskID{Value: id}, AgentID: &v1.AgentID{Value: "n1"}})
	if err != nil {
		w.Fatal(err)
	}
	t := &api.Task{ID: "j.t" + id, Attempt: 1, NodeID: "n1", Framework: &api.FrameworkTask{Framework: "f", ID: id, Executor: executor, Info: info}}
	if change != nil {
		change(t)
	}
	w.put(t, 3*time.Second)
	return t
}

// put changes one row, and hands the set out.
func (w *world) put(t *api.Task, grace time.Duration) {
	as := api.Assignment{Task: t, Spec: &api.TaskSpec{StopGrace: api.Duration(grace)}}
	next := []api.Assignment{as}
	for _, o := range w.tasks {
		if o.Task.ID != t.ID {
			next = append(next, o)
		}
	}
	w.tasks = next
	w.Assign(w.tasks, true)
}

// stop has the cluster want a task to end.
func (w *world) stop(t *api.Task, reason api.Reason) {
	to := *t
	to.Desired, to.Reason = api.DesiredStop, reason
	w.put(&to, 3*time.Second)
}

// send posts what may be no call.
func (w *world) send(method, body string, h http.Header) *http.Response {
	w.Helper()
	q, err := http.NewRequest(method, w.url, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for k, v := range h {
		q.Header[k] = v
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { res.Body.Close() })
	return res
}

// client is an executor as it is on the wire.
type client struct {
	*world
	id     string
	format wire.Format
	events *wire.RecordReader
	body   io.Closer
}

func (w *world) call(format wire.Format, id string, m *v1.ExecutorCall) *http.Response {
	w.Helper()
	m.ExecutorID, m.FrameworkID = &v1.ExecutorID{Value: id}, &v1.FrameworkID{Value: "f"}
	b, err := wire.Marshal(format, m)
	if err != nil {
		w.Fatal(err)
	}
	return w.send(http.MethodPost, string(b), http.Header{"Content-Type": {format.MediaType()}, "Accept": {format.MediaType()}})
}

// subscribe connects an executor that has tasks and said something of some.
func (w *world) subscribe(format wire.Format, id string, has []string, said ...*v1.TaskStatus) *client {
	w.Helper()
	sub := &v1.ExecutorCallSubscribe{}
	for _, t := range has {
		sub.UnacknowledgedTasks = append(sub.UnacknowledgedTasks, &v1.TaskInfo{Name: t, TaskID: &v1.TaskID{Value: t}, AgentID: &v1.AgentID{Value: "n1"}})
	}
	for _, s := range said {
		sub.UnacknowledgedUpdates = append(sub.UnacknowledgedUpdates, &v1.ExecutorCallUpdate{Status: s})
	}
	res := w.call(format, id, &v1.ExecutorCall{Type: new(v1.ExecutorCallTypeSubscribe), Subscribe: sub})
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != format.MediaType() || res.Header.Get("Mesos-Stream-Id") != "" {
		w.Fatalf("SUBSCRIBE: %s %v", res.Status, res.Header)
	}
	c := &client{world: w, id: id, format: format, events: wire.NewRecordReader(res.Body, 1<<20), body: res.Body}
	if e := c.want(v1.ExecutorEventTypeSubscribed); e.Subscribed.ExecutorInfo.ExecutorID.Value != id || e.Subscribed.AgentInfo.ID.Value != "n1" || e.Subscribed.ContainerID.Value != "j."+id+"-1" {
		w.Fatalf("%+v", e.Subscribed)
	}
	return c
}

// want is the next event, of that kind.
func (c *client) want(kind v1.ExecutorEventType) *v1.ExecutorEvent {
	c.Helper()
	b, err := c.events.Next()
	if err != nil {
		c.Fatalf("waiting for %s: %v", kind, err)
	}
	e := &v1.ExecutorEvent{}
	if err := wire.Unmarshal(c.format, b, e); err != nil {
		c.Fatal(err)
	}
	if *e.Type != kind {
		c.Fatalf("%s came, not %s: %s", *e.Type, kind, b)
	}
	return e
}

func (c *client) wantLaunch(id string) {
	c.Helper()
	if e := c.want(v1.ExecutorEventTypeLaunch); e.Launch.Task.TaskID.Value != id {
		c.Fatalf("task %s is launched, not %s", e.Launch.Task.TaskID.Value, id)
	}
}

func (c *client) wantKill(id string) {
	c.Helper()
	if e := c.want(v1.ExecutorEventTypeKill); e.Kill.TaskID.Value != id {
		c.Fatalf("task %s is killed, not %s", e.Kill.TaskID.Value, id)
	}
}

func (c *client) wantAck(s *v1.TaskStatus) {
	c.Helper()
	if a := c.want(v1.ExecutorEventTypeAcknowledged).Acknowledged; a.TaskID.Value != s.TaskID.Value || !bytes.Equal(a.UUID, s.UUID) {
		c.Fatalf("%s %x is acknowledged, not %s %x", a.TaskID.Value, a.UUID, s.TaskID.Value, s.UUID)
	}
}

// status is what an executor says of a task, by an id that ends with n.
func status(executor, task string, state v1.TaskState, n byte) *v1.TaskStatus {
	return &v1.TaskStatus{TaskID: &v1.TaskID{Value: task}, State: state, Source: new(v1.TaskStatusSourceExecutor), ExecutorID: &v1.ExecutorID{Value: executor}, UUID: append(make([]byte, 15), n)}
}

// update says something of a task.
func (c *client) update(s *v1.TaskStatus) {
	c.Helper()
	if res := c.call(c.format, c.id, &v1.ExecutorCall{Type: new(v1.ExecutorCallTypeUpdate), Update: &v1.ExecutorCallUpdate{Status: s}}); res.StatusCode != http.StatusAccepted {
		b, _ := io.ReadAll(res.Body) // what there is of it says enough
		c.Fatalf("UPDATE: %s: %s", res.Status, b)
	}
}

// said is what the cluster was told of a task, in words.
func (w *world) said(task string) string {
	var out []string
	for _, s := range w.reports {
		if s.Task == task {
			out = append(out, strings.TrimSpace(s.State.Word()+" "+string(s.Reason)))
		}
	}
	return strings.Join(out, ", ")
}

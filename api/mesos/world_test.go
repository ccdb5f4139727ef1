package mesos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

var testTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// solo is the cluster of one node, which leads.
type solo struct{}

func (solo) NodeID() string         { return "oak" }
func (solo) LeaderID() string       { return "oak" }
func (solo) IsLeader() bool         { return true }
func (solo) HasReplica() bool       { return true }
func (solo) Healthy() error         { return nil }
func (solo) PassOn(string) []string { return nil }
func (solo) Peer(string) (string, http.RoundTripper, error) {
	return "", nil, errors.New("there is no other")
}

// refused is what a framework does not want to be offered.
type refused struct {
	node string
	room api.Resources
	d    time.Duration
}

// desk is a Desk that remembers what it was told.
type desk struct {
	mu      sync.Mutex
	said    []string
	refused []refused
}

func (d *desk) say(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, s)
}

func (d *desk) Connect(string, string, []string, func(string, *api.Node) bool) { d.say("connect") }
func (d *desk) Request(string, []api.OfferRequest)                             { d.say("request") }
func (d *desk) Leave(string, string)                                           { d.say("leave") }
func (d *desk) Revive(string, []string)                                        { d.say("revive") }
func (d *desk) Suppress(string, []string)                                      { d.say("suppress") }
func (d *desk) Refuse(_, _, node string, room, _ api.Resources, span time.Duration, _ bool) func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = append(d.refused, refused{node, room, span})
	return func() {}
}

// world is one node that serves frameworks.
type world struct {
	t      testing.TB
	store  *fsm.Store
	hub    *hub
	desk   *desk
	server *Server
	http   *httptest.Server
}

func newWorld(t testing.TB, cred auth.Credentials) *world {
	w := &world{t: t, store: fsm.NewStore(nil), desk: &desk{}}
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: testTime}, Cluster: &api.Cluster{ID: "c1", Name: "pine"},
		Authority: &api.Authority{CAKey: []byte("k"), CACert: []byte("c"), Pin: "0123456789abcdef0123456789abcdef0123456789abcdef0123"},
		Node:      &api.Node{ID: "oak", Name: "oak", Addr: "10.0.0.11:5050", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 31000, Last: 31009}}}}})
	cfg := Config{Store: w.store, Cluster: solo{}, Now: func() time.Time { return testTime }, Forgets: func() bool { return true }, Log: slog.New(slog.DiscardHandler), NodeName: "oak",
		Auth: auth.New(auth.Config{Directory: func() auth.Directory { return w.store.View() }, Final: func() bool { return true }, Now: func() time.Time { return testTime }})}
	s := New(cfg)
	w.server = s
	w.hub = newHub(cfg, w.desk)
	s.hub.Store(w.hub)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = w.hub.run(ctx) // always nil
	}()
	w.http = httptest.NewServer(s.Handler(cred, nil))
	t.Cleanup(func() {
		cancel()
		<-over
		w.http.CloseClientConnections()
		w.http.Close()
	})
	return w
}

func (w *world) do(c fsm.Command) any {
	w.t.Helper()
	v, err := w.store.Do(context.Background(), c)
	if err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
	return v
}

// send is one request, whose answer is read as a whole unless it lasts.
func (w *world) send(method string, body []byte, header http.Header) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header = header
	res, err := w.http.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func text(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// scheduler is a framework's end.
type scheduler struct {
	*world
	format wire.Format
	res    *http.Response
	events *wire.RecordReader
	id     string
	stream string
	made   int // offers, by anew
}

// subscribe begins a subscription, and takes the two events that each begins with.
func (w *world) subscribe(format wire.Format, info *v1.FrameworkInfo) *scheduler {
	w.t.Helper()
	s := w.open(format, &v1.SchedulerCall{FrameworkID: info.ID, Type: new(v1.SchedulerCallTypeSubscribe), Subscribe: &v1.SchedulerCallSubscribe{FrameworkInfo: info}})
	e := s.next()
	if v1.Get(e.Type) != v1.SchedulerEventTypeSubscribed {
		w.t.Fatalf("the first event is %+v: %+v", e.Type, e.Error)
	}
	s.id = e.Subscribed.FrameworkID.Value
	s.want(v1.SchedulerEventTypeHeartbeat)
	return s
}

func (w *world) open(format wire.Format, call *v1.SchedulerCall) *scheduler {
	w.t.Helper()
	body, err := wire.Marshal(format, call)
	if err != nil {
		w.t.Fatal(err)
	}
	res := w.send(http.MethodPost, body, http.Header{"Content-Type": {format.MediaType()}, "Accept": {format.MediaType()}})
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != format.MediaType() || res.Header.Get("Mesos-Stream-Id") == "" {
		w.t.Fatalf("%s %v: %s", res.Status, res.Header, text(w.t, res))
	}
	w.t.Cleanup(func() { res.Body.Close() })
	return &scheduler{world: w, format: format, res: res, events: wire.NewRecordReader(res.Body, 1<<20), stream: res.Header.Get("Mesos-Stream-Id")}
}

func (s *scheduler) next() *v1.SchedulerEvent {
	s.t.Helper()
	b, err := s.events.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	e := &v1.SchedulerEvent{}
	if err := wire.Unmarshal(s.format, b, e); err != nil {
		s.t.Fatal(err)
	}
	return e
}

func (s *scheduler) want(kind v1.SchedulerEventType) *v1.SchedulerEvent {
	s.t.Helper()
	e := s.next()
	if v1.Get(e.Type) != kind {
		s.t.Fatalf("%v, not %v: %+v", *e.Type, kind, e)
	}
	return e
}

// wantStatus takes an update of that state.
func (s *scheduler) wantStatus(task string, state v1.TaskState) *v1.TaskStatus {
	s.t.Helper()
	st := s.want(v1.SchedulerEventTypeUpdate).Update.Status
	if st.TaskID.Value != task || st.State != state {
		s.t.Fatalf("%s is %v, not %v: %s", st.TaskID.Value, st.State, state, v1.Get(st.Message))
	}
	return st
}

// wantEnd reads that the stream ends, with an error of that text.
func (s *scheduler) wantEnd(why string) {
	s.t.Helper()
	if got := s.want(v1.SchedulerEventTypeError).Error.Message; got != why {
		s.t.Errorf("%q, not %q", got, why)
	}
	if b, err := s.events.Next(); !errors.Is(err, io.EOF) {
		s.t.Errorf("after its error: %q, %v", b, err)
	}
}

// call makes a call, which is taken.
func (s *scheduler) call(kind v1.SchedulerCallType, m *v1.SchedulerCall) {
	s.t.Helper()
	m.Type, m.FrameworkID = &kind, &v1.FrameworkID{Value: s.id}
	body, err := wire.Marshal(s.format, m)
	if err != nil {
		s.t.Fatal(err)
	}
	res := s.send(http.MethodPost, body, http.Header{"Content-Type": {s.format.MediaType()}, "Mesos-Stream-Id": {s.stream}})
	if b := text(s.t, res); res.StatusCode != http.StatusAccepted || b != "" || res.Header.Get("Content-Type") != "" || res.ContentLength != 0 {
		s.t.Fatalf("%v: %s %v %q", kind, res.Status, res.Header, b)
	}
}

func example() *v1.FrameworkInfo { return &v1.FrameworkInfo{User: "root", Name: "example"} }

// anew offers as much once more. No two offers have one id.
func (s *scheduler) anew() string {
	s.t.Helper()
	s.made++
	return s.offer(fmt.Sprint("anew", s.made)).ID.Value
}

// offer sets half of the node aside, and takes the event that tells of it.
func (s *scheduler) offer(id string) *v1.Offer {
	s.t.Helper()
	n := s.do(&fsm.OfferMake{Meta: fsm.Meta{At: testTime}, Offers: []*api.Offer{{ID: id, Framework: s.id, Partition: api.DefaultPartition, NodeID: "oak", Resources: api.Resources{CPUs: 1000, Mem: 1 << 30, Ports: api.Ranges{{First: 31000, Last: 31009}}}}}})
	if n != 1 {
		s.t.Fatalf("offer %s is not made", id)
	}
	offers := s.want(v1.SchedulerEventTypeOffers).Offers.Offers
	if len(offers) != 1 || offers[0].ID.Value != id {
		s.t.Fatalf("%+v", offers)
	}
	return offers[0]
}

func scalar(name string, v float64) *v1.Resource {
	return &v1.Resource{Name: name, Type: v1.ValueTypeScalar, Scalar: &v1.ValueScalar{Value: v}}
}

func sleeper(id string) *v1.TaskInfo {
	return &v1.TaskInfo{Name: id, TaskID: &v1.TaskID{Value: id}, AgentID: &v1.AgentID{Value: "oak"}, Command: &v1.CommandInfo{Value: new("sleep 100")}, Resources: []*v1.Resource{scalar("cpus", 0.1), scalar("mem", 32)}}
}

func (s *scheduler) launch(offer string, tasks ...*v1.TaskInfo) {
	s.t.Helper()
	s.call(v1.SchedulerCallTypeAccept, &v1.SchedulerCall{Accept: &v1.SchedulerCallAccept{OfferIDs: []*v1.OfferID{{Value: offer}},
		Operations: []*v1.OfferOperation{{Type: new(v1.OfferOperationTypeLaunch), Launch: &v1.OfferOperationLaunch{TaskInfos: tasks}}}}})
}

// becomes is what the node says of a task.
func (s *scheduler) becomes(task string, state api.TaskState, code int) {
	s.t.Helper()
	t := s.store.View().FrameworkTask(s.id, task)
	if t == nil {
		s.t.Fatalf("there is no task %s", task)
	}
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: "oak", State: state, PID: 77, Time: testTime}
	if state.Final() {
		st.ExitCode, st.Reason = &code, api.ReasonExited
	}
	s.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{st}})
}

// until waits for what other goroutines bring about.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-t.Context().Done():
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

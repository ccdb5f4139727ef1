package framework

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// master plays a cluster: each subscription gets the next script, and then nothing more until
// it ends.
type master struct {
	t       *testing.T
	scripts []func(w *wire.RecordWriter)
	refuse  map[v1.SchedulerCallType]func(w http.ResponseWriter) // once

	mu    sync.Mutex
	calls []*v1.SchedulerCall
	subs  int
	heard chan struct{}
}

func (m *master) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	call := new(v1.SchedulerCall)
	if err := wire.Unmarshal(wire.Protobuf, body, call); err != nil {
		m.t.Error(err)
	}
	kind := v1.Get(call.Type)
	m.mu.Lock()
	m.calls = append(m.calls, call)
	refuse := m.refuse[kind]
	delete(m.refuse, kind)
	m.mu.Unlock()
	select {
	case m.heard <- struct{}{}:
	default:
	}
	if refuse != nil {
		refuse(w)
		return
	}
	if kind != v1.SchedulerCallTypeSubscribe {
		if want := fmt.Sprint("stream-", m.subs); r.Header.Get("Mesos-Stream-Id") != want {
			m.t.Errorf("%v is of the stream %q, and not %q", kind, r.Header.Get("Mesos-Stream-Id"), want)
		}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	m.mu.Lock()
	script := m.scripts[min(m.subs, len(m.scripts)-1)]
	m.subs++
	w.Header().Set("Mesos-Stream-Id", fmt.Sprint("stream-", m.subs))
	m.mu.Unlock()
	script(wire.NewRecordWriter(w, wire.Protobuf))
	w.(http.Flusher).Flush()
	if m.last() {
		<-r.Context().Done()
	}
}

func (m *master) last() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.subs >= len(m.scripts)
}

// wait returns the nth call of a kind.
func (m *master) wait(kind v1.SchedulerCallType, n int) *v1.SchedulerCall {
	m.t.Helper()
	for {
		m.mu.Lock()
		seen := 0
		for _, c := range m.calls {
			if v1.Get(c.Type) == kind {
				if seen++; seen == n {
					m.mu.Unlock()
					return c
				}
			}
		}
		m.mu.Unlock()
		select {
		case <-m.heard:
		case <-m.t.Context().Done():
			m.t.Fatalf("no %v came", kind)
		}
	}
}

func play(t *testing.T, f *Framework, scripts ...func(w *wire.RecordWriter)) (*master, chan error) {
	t.Helper()
	m := &master{t: t, scripts: scripts, heard: make(chan struct{}, 1), refuse: map[v1.SchedulerCallType]func(http.ResponseWriter){}}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{Addrs: []string{srv.URL}, Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { ended <- f.Run(ctx, c) }()
	return m, ended
}

func subscribedTo(w *wire.RecordWriter) {
	_ = w.Write(&v1.SchedulerEvent{Type: new(v1.SchedulerEventTypeSubscribed), Subscribed: &v1.SchedulerEventSubscribed{FrameworkID: &v1.FrameworkID{Value: "f-1"}}})
}

func offers(w *wire.RecordWriter, ids ...string) {
	e := &v1.SchedulerEvent{Type: new(v1.SchedulerEventTypeOffers), Offers: &v1.SchedulerEventOffers{}}
	for _, id := range ids {
		e.Offers.Offers = append(e.Offers.Offers, &v1.Offer{ID: &v1.OfferID{Value: id}, FrameworkID: &v1.FrameworkID{Value: "f-1"}, AgentID: &v1.AgentID{Value: "oak"}, Hostname: "oak", Resources: []*v1.Resource{
			{Name: "cpus", Scalar: &v1.ValueScalar{Value: 0.3}}, {Name: "mem", Scalar: &v1.ValueScalar{Value: 100}},
			{Name: "ports", Type: v1.ValueTypeRanges, Ranges: &v1.ValueRanges{Range: []*v1.ValueRange{{Begin: 31000, End: 31000}, {Begin: 31005, End: 31009}}}}}})
	}
	_ = w.Write(e)
}

func update(w *wire.RecordWriter, task string, state v1.TaskState, uuid string) {
	s := &v1.TaskStatus{TaskID: &v1.TaskID{Value: task}, State: state, AgentID: &v1.AgentID{Value: "oak"}}
	if uuid != "" {
		s.UUID = []byte(uuid)
	}
	_ = w.Write(&v1.SchedulerEvent{Type: new(v1.SchedulerEventTypeUpdate), Update: &v1.SchedulerEventUpdate{Status: s}})
}

// Each offer is answered, with what was started in it or with a refusal, and no more is
// started in it than it has.
func TestOffersAreAnswered(t *testing.T) {
	n := 0
	f := &Framework{Name: "x", Offer: func(o *Offer) {
		if o.ID.Value == "o2" {
			return
		}
		for o.Launch(Task{ID: fmt.Sprint("t", n), CPUs: 0.1, Mem: 20 << 20, Ports: 2, Command: []string{"/bin/echo", "a b"}}) {
			n++
		}
	}}
	m, _ := play(t, f, func(w *wire.RecordWriter) { subscribedTo(w); offers(w, "o1", "o2") })
	a := m.wait(v1.SchedulerCallTypeAccept, 1)
	tasks := a.Accept.Operations[0].Launch.TaskInfos
	if len(tasks) != 3 || a.FrameworkID.Value != "f-1" || a.Accept.OfferIDs[0].Value != "o1" {
		t.Fatalf("%+v", a.Accept)
	}
	var ports []string
	for _, i := range tasks {
		for _, e := range i.Command.Environment.Variables {
			ports = append(ports, v1.Get(e.Value))
		}
		if v1.Get(i.Command.Shell) || v1.Get(i.Command.Value) != "/bin/echo" || !slices.Equal(i.Command.Arguments, []string{"/bin/echo", "a b"}) {
			t.Errorf("%+v", i.Command)
		}
	}
	slices.Sort(ports)
	if want := []string{"31000", "31005", "31006", "31007", "31008", "31009"}; !slices.Equal(ports, want) {
		t.Errorf("the ports are %v", ports)
	}
	d := m.wait(v1.SchedulerCallTypeDecline, 1)
	if d.Decline.OfferIDs[0].Value != "o2" || v1.Get(d.Decline.Filters.RefuseSeconds) != 5 {
		t.Errorf("%+v", d.Decline)
	}
}

// An update is acknowledged after it was heard; one without an id is not.
func TestUpdatesAreAcknowledged(t *testing.T) {
	var heard []string
	f := &Framework{Name: "x"}
	f.Update = func(u Update) { heard = append(heard, fmt.Sprintf("%s %v %v", u.Task, u.State, u.Ended())) }
	m, _ := play(t, f, func(w *wire.RecordWriter) {
		subscribedTo(w)
		update(w, "a", v1.TaskStateRunning, "1")
		update(w, "b", v1.TaskStateLost, "")
		update(w, "a", v1.TaskStateUnreachable, "")
		update(w, "a", v1.TaskStateFinished, "2")
	})
	if c := m.wait(v1.SchedulerCallTypeAcknowledge, 2); string(c.Acknowledge.UUID) != "2" {
		t.Errorf("%+v", c.Acknowledge)
	}
	if want := []string{"a TASK_RUNNING false", "b TASK_LOST true", "a TASK_UNREACHABLE false", "a TASK_FINISHED true"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v", heard)
	}
	if left := f.Tasks(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// When a subscription ends it is made again, with the id that the framework has, and it asks
// for all tasks that it knows of, also those that may not have been started.
func TestItSubscribesAgain(t *testing.T) {
	f := &Framework{Name: "x", Offer: func(o *Offer) { o.Launch(Task{ID: "t-" + o.ID.Value}) }}
	m, _ := play(t, f,
		func(w *wire.RecordWriter) { subscribedTo(w); update(w, "old", v1.TaskStateRunning, "1") },
		func(w *wire.RecordWriter) { subscribedTo(w); offers(w, "o1") },
		subscribedTo)
	m.mu.Lock()
	m.refuse[v1.SchedulerCallTypeAccept] = func(http.ResponseWriter) { panic(http.ErrAbortHandler) } // it may have been done
	m.mu.Unlock()
	if s := m.wait(v1.SchedulerCallTypeSubscribe, 3); s.FrameworkID.Value != "f-1" || s.Subscribe.FrameworkInfo.ID.Value != "f-1" {
		t.Errorf("%+v", s)
	}
	ask := m.wait(v1.SchedulerCallTypeReconcile, 2).Reconcile
	var asked []string
	for _, a := range ask.Tasks {
		asked = append(asked, a.TaskID.Value)
	}
	if slices.Sort(asked); !slices.Equal(asked, []string{"old", "t-o1"}) {
		t.Errorf("asked for %v", asked)
	}
}

// Who takes over a framework asks for all of its tasks.
func TestItTakesOver(t *testing.T) {
	m, _ := play(t, &Framework{Name: "x", ID: "f-1"}, subscribedTo)
	if c := m.wait(v1.SchedulerCallTypeReconcile, 1); len(c.Reconcile.Tasks) != 0 {
		t.Errorf("%+v", c.Reconcile)
	}
}

// What another try would not change ends it, with what the cluster said.
func TestItIsRefused(t *testing.T) {
	says := func(status int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, "because", status) }
	}
	for name, c := range map[string]struct {
		kind   v1.SchedulerCallType
		status int
		code   api.Code
	}{
		"no such partition": {v1.SchedulerCallTypeSubscribe, http.StatusBadRequest, api.CodeInvalid},
		"no right":          {v1.SchedulerCallTypeSubscribe, http.StatusForbidden, api.CodeNotAllowed},
		"too large":         {v1.SchedulerCallTypeDecline, http.StatusRequestEntityTooLarge, api.CodeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			subscribe := func(w *wire.RecordWriter) { subscribedTo(w); offers(w, "o1") }
			m := &master{t: t, scripts: []func(*wire.RecordWriter){subscribe}, heard: make(chan struct{}, 1), refuse: map[v1.SchedulerCallType]func(http.ResponseWriter){c.kind: says(c.status)}}
			srv := httptest.NewServer(m)
			defer srv.Close()
			cl, err := client.New(client.Config{Addrs: []string{srv.URL}, Patience: -1})
			if err != nil {
				t.Fatal(err)
			}
			if err := (&Framework{Name: "x"}).Run(t.Context(), cl); api.ErrorCode(err) != c.code || !strings.Contains(err.Error(), "because") {
				t.Errorf("%v", err)
			}
		})
	}
	_, ended := play(t, &Framework{Name: "x"}, func(w *wire.RecordWriter) {
		subscribedTo(w)
		_ = w.Write(&v1.SchedulerEvent{Type: new(v1.SchedulerEventTypeError), Error: &v1.SchedulerEventError{Message: "Framework failed over"}})
	})
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "Framework failed over") {
		t.Errorf("%v", err)
	}
}

// A framework that is torn down has ended, which is not an error.
func TestTeardown(t *testing.T) {
	f := &Framework{Name: "x"}
	f.Update = func(Update) {
		if err := f.Teardown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	m, ended := play(t, f, func(w *wire.RecordWriter) { subscribedTo(w); update(w, "a", v1.TaskStateFinished, "1") }, subscribedTo)
	m.wait(v1.SchedulerCallTypeTeardown, 1)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

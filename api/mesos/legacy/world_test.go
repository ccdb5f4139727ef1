package legacy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

var testTime = time.Date(2026, 5, 1, 12, 0, 0, 500_000_000, time.UTC)

// solo is the cluster of one node that answers.
type solo struct{ follows bool }

func (solo) NodeID() string         { return "oak" }
func (solo) LeaderID() string       { return "oak" }
func (s solo) IsLeader() bool       { return !s.follows }
func (solo) HasReplica() bool       { return true }
func (solo) Healthy() error         { return nil }
func (solo) PassOn(string) []string { return nil }
func (solo) Peer(string) (string, http.RoundTripper, error) {
	return "", nil, errors.New("there is no other")
}

// master is a Master that leads, unless it follows.
type master struct{ follows bool }

func (m master) Master() (*v1.MasterInfo, time.Time, bool) {
	return &v1.MasterInfo{ID: "m1", PID: new("master@10.0.0.11:5050"), Port: 5050, Hostname: new("oak")}, testTime.Add(-time.Minute), !m.follows
}
func (master) Started() time.Time { return testTime.Add(-time.Hour) }
func (master) Calls(yield func(string, uint64) bool) {
	yield("messages_decline_offers", 7)
}

// world is a node that answers.
type world struct {
	t     testing.TB
	store *fsm.Store
	http  *httptest.Server
	mux   http.Handler
	now   time.Time // as nodes say what tasks do
}

func newWorld(t testing.TB, cred auth.Credentials, follows bool) *world {
	w := &world{t: t, store: fsm.NewStore(nil), now: testTime.Add(time.Second)}
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine"},
		Authority: &api.Authority{CAKey: []byte("k"), CACert: []byte("c"), Pin: "0123456789abcdef0123456789abcdef0123456789abcdef0123"}, Node: &api.Node{ID: "oak", Name: "oak"}})
	w.do(&fsm.NodeHello{Meta: meta, ID: "oak", Hello: api.NodeHello{Addr: "10.0.0.11:5050", Level: int(fsm.Newest), Attrs: map[string]string{"zone": "a"},
		Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Disk: 100 << 30, Ports: api.Ranges{{First: 31000, Last: 31009}}, Custom: map[string]api.Quantity{"licence": {Scalar: 1500}}}}})
	s := exchange.New(exchange.Config{Store: w.store, Cluster: solo{follows}, Now: func() time.Time { return testTime }, Log: slog.New(slog.DiscardHandler), NodeName: "oak", MaxStreams: 10, Patience: exchange.Patience{},
		Auth: auth.New(auth.Config{Directory: func() auth.Directory { return w.store.View() }, Final: func() bool { return true }, Now: func() time.Time { return testTime }})}, Routes(Config{Master: master{follows}}))
	w.mux = s.Handler(cred)
	w.http = httptest.NewServer(w.mux)
	t.Cleanup(w.http.Close)
	return w
}

var meta = fsm.Meta{At: testTime, Actor: "root"}

func (w *world) do(c fsm.Command) any {
	w.t.Helper()
	v, err := w.store.Do(context.Background(), c)
	if err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
	return v
}

// join has one more node of the size of oak answer.
func (w *world) join(id, addr string, hello api.NodeHello) {
	w.t.Helper()
	w.do(&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "join-" + id, Hash: "h"}})
	w.do(&fsm.NodeJoin{Meta: meta, Token: "join-" + id, Hash: "h", NodeID: id, Name: id})
	hello.Addr, hello.Level = addr, int(fsm.Newest)
	w.do(&fsm.NodeHello{Meta: meta, ID: id, Hello: hello})
}

func (w *world) partition(p *api.Partition) {
	w.t.Helper()
	p.Normalize()
	w.do(&fsm.PartitionPut{Meta: meta, Partition: p})
}

// framework connects one in a partition.
func (w *world) framework(id, partition string, info *v1.FrameworkInfo) {
	w.t.Helper()
	info.ID = &v1.FrameworkID{Value: id}
	b, err := wire.Marshal(wire.Protobuf, info)
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(&fsm.FrameworkPut{Meta: meta, Connect: true, Framework: &api.Framework{ID: id, Name: info.Name, User: info.User, Partitions: []string{partition}, Session: "s-" + id, Info: b}})
}

func (w *world) offer(id, framework, partition, node string, r api.Resources) {
	w.t.Helper()
	if n := w.do(&fsm.OfferMake{Meta: meta, Offers: []*api.Offer{{ID: id, Framework: framework, Partition: partition, NodeID: node, Resources: r}}}); n != 1 {
		w.t.Fatalf("offer %s is not made", id)
	}
}

// launch has a framework start a task in an offer, which then runs.
func (w *world) launch(framework, offer string, info *v1.TaskInfo, r api.Resources) {
	w.t.Helper()
	b, err := wire.Marshal(wire.Protobuf, info)
	if err != nil {
		w.t.Fatal(err)
	}
	got := w.do(&fsm.FrameworkAccept{Meta: meta, Framework: framework, Session: "s-" + framework, Offers: []string{offer}, Tasks: []fsm.FrameworkLaunch{{Resources: r,
		Task: &api.FrameworkTask{ID: info.TaskID.Value, Name: info.Name, Info: b, Spec: &api.JobSpec{TaskSpec: api.TaskSpec{User: "ann", Command: []string{"x"}}}}}}}).(*fsm.Accepted)
	if got.Invalid != "" || got.Tasks[0] == "" {
		w.t.Fatalf("%+v", got)
	}
	w.report(w.store.View().Task(got.Tasks[0]), api.TaskRunning)
}

func (w *world) report(t *api.Task, state api.TaskState) {
	w.t.Helper()
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: state, PID: 77, Time: w.now}
	if state.Final() {
		st.ExitCode, st.Reason = new(0), api.ReasonExited
	}
	w.do(&fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{st}})
}

// runJob has the task of a job run on a node.
func (w *world) runJob(spec *api.JobSpec, node string, port int) {
	w.t.Helper()
	spec.Normalize()
	j := w.do(&fsm.JobCreate{Meta: meta, Spec: spec}).(*api.Job)
	w.do(&fsm.TaskCreate{Meta: meta, Job: j.ID, Count: 1})
	if n := w.do(&fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: j.ID, Attempt: 1, NodeID: node,
		Resources: &api.Resources{CPUs: spec.CPUs, Mem: spec.Mem, Ports: api.Ranges{{First: int64(port), Last: int64(port)}}}, Ports: map[string]int{"http": port}}}}); n == 0 {
		w.t.Fatal("the task has no node")
	}
	w.report(w.store.View().TaskOf(j.ID, 0), api.TaskRunning)
}

// token is a client's, with rights.
func (w *world) token(rights ...string) string {
	w.t.Helper()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Rights: rights}, testTime)
	w.do(&fsm.TokenCreate{Meta: meta, Token: tok})
	return api.ClientToken{ID: tok.ID, Secret: secret}.String()
}

// get reads an answer.
func (w *world) get(path, token string, header ...string) (status int, h http.Header, body string) {
	w.t.Helper()
	return w.send(http.MethodGet, path, token, nil, header...)
}

func (w *world) send(method, path, token string, sent io.Reader, header ...string) (status int, h http.Header, body string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+path, sent)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if r.ContentLength > maxForm { // without a connection, which is closed before all of it is sent
		res := httptest.NewRecorder()
		w.http.Config.Handler.ServeHTTP(res, r)
		return res.Code, res.Header(), res.Body.String()
	}
	res, err := w.http.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

// read decodes an answer as a client does that knows what is in into, and no more.
func (w *world) read(path, token string, into any) {
	w.t.Helper()
	status, h, body := w.get(path, token)
	if status != 200 || h.Get("Content-Type") != "application/json" {
		w.t.Fatalf("%s: %d %v %s", path, status, h, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		w.t.Fatalf("%s: %v: %s", path, err, body)
	}
}

// known is a small cluster: two nodes, two partitions, a framework and a job in one of
// them, a framework in the other, which runs nothing and has an offer.
func known(t testing.TB, cred auth.Credentials) *world {
	w := newWorld(t, cred, false)
	w.join("elm", "10.0.0.12:5050", api.NodeHello{Resources: api.Resources{CPUs: 2000, Mem: 4 << 30, Ports: api.Ranges{{First: 31000, Last: 31009}}}})
	w.partition(&api.Partition{Path: "prod", Weight: 2000, Guarantee: api.Amounts{CPUs: 1000, Mem: 1 << 30}, Limit: api.Amounts{CPUs: 3000}})
	w.partition(&api.Partition{Path: "dev"})
	w.framework("f1", "prod", &v1.FrameworkInfo{Name: "marathon", User: "ann", WebUIURL: new("http://10.0.0.9:8080"), Hostname: new("h9"), FailoverTimeout: new(604800.0), Checkpoint: new(true), Roles: []string{"prod"},
		Capabilities: []*v1.FrameworkInfoCapability{{Type: new(v1.FrameworkInfoCapabilityTypeMultiRole)}}, Labels: &v1.Labels{Labels: []*v1.Label{{Key: "team", Value: new("<a>")}}}})
	w.framework("f2", "dev", &v1.FrameworkInfo{Name: "chronos", User: "bob", Role: new("dev")})
	room := api.Resources{CPUs: 500, Mem: 256 << 20, Ports: api.Ranges{{First: 31005, Last: 31006}}}
	w.offer("o1", "f1", "prod", "oak", room)
	w.launch("f1", "o1", &v1.TaskInfo{Name: "app", TaskID: &v1.TaskID{Value: "app.1"}, AgentID: &v1.AgentID{Value: "oak"}, Data: []byte("secret"), Labels: &v1.Labels{Labels: []*v1.Label{{Key: "k", Value: new("v")}}},
		Discovery: &v1.DiscoveryInfo{Visibility: v1.DiscoveryInfoVisibilityExternal, Name: new("app"), Ports: &v1.Ports{Ports: []*v1.Port{{Number: 31005, Name: new("web"), Protocol: new("tcp")}}}}}, room)
	w.offer("o2", "f2", "dev", "elm", api.Resources{CPUs: 1000, Mem: 1 << 30})
	w.runJob(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(1), Partition: "prod", TaskSpec: api.TaskSpec{Command: []string{"x"}, Env: map[string]string{"KEY": "secret"},
		Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 128 << 20, Ports: []api.PortRequest{{Name: "http"}}}}}}, "elm", 31002)
	return w
}

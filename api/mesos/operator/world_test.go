package operator

import (
	"bytes"
	"context"
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
	"github.com/mesita/mesita/api/mesos/rows"
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

// audit is what was recorded.
type audit []api.AuditRecord

func (a *audit) Note(r api.AuditRecord, _, _ any) { *a = append(*a, r) }

// world is a cluster of two nodes with a framework that runs a task and has an offer, and
// a job that runs another; its partitions are default, web and web/api.
type world struct {
	t      testing.TB
	store  *fsm.Store
	server *Server
	http   *httptest.Server
	audit  *audit
	x      *exchange.Server
	token  string // shown by calls; "" = none
	leads  bool
}

func newWorld(t testing.TB, cred auth.Credentials) *world { return newWorldAt(t, cred, fsm.Newest) }

// newWorldAt is one at a level; below that of frameworks it has none.
func newWorldAt(t testing.TB, cred auth.Credentials, level fsm.Level) *world {
	w := &world{t: t, store: fsm.NewStore(nil), audit: &audit{}, leads: true}
	meta := fsm.Meta{At: testTime}
	node := func(id string) *api.Node {
		return &api.Node{ID: id, Name: id, Addr: "10.0.0.11:5050", Level: int(fsm.Newest), Joined: testTime, Attrs: map[string]string{"rack": "r1"},
			Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 31000, Last: 31009}}}}
	}
	w.do(&fsm.ClusterInit{Level: level, Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: testTime}, Authority: &api.Authority{}, Node: node("oak")})
	w.do(&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Hash: "h"}})
	w.do(&fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: "elm", Name: "elm"})
	elm := node("elm")
	w.do(&fsm.NodeHello{Meta: meta, ID: "elm", Hello: api.NodeHello{Addr: "10.0.0.12:5050", Level: elm.Level, Resources: elm.Resources}})
	for _, path := range []string{"web", "web/api"} {
		w.do(&fsm.PartitionPut{Meta: meta, Partition: &api.Partition{Path: path, Weight: 2500, Limit: api.Amounts{CPUs: 3000, Mem: 1 << 30}}})
	}
	info, err := wire.Marshal(wire.Protobuf, &v1.FrameworkInfo{User: "ann", Name: "shop", Roles: []string{"web"}, ID: &v1.FrameworkID{Value: "f1"}})
	if err != nil {
		t.Fatal(err)
	}
	if level >= fsm.Frameworks.Level() {
		w.do(&fsm.FrameworkPut{Meta: meta, Connect: true, Framework: &api.Framework{ID: "f1", Name: "shop", User: "ann", Session: "s1", Partitions: []string{"web"}, Failover: api.Duration(time.Hour), Info: info}})
		w.launch("t1", "elm")
		w.do(&fsm.OfferMake{Meta: meta, Offers: []*api.Offer{{ID: "o2", Framework: "f1", Partition: "web", NodeID: "elm", Resources: api.Resources{CPUs: 500, Mem: 64 << 20}}}})
	}
	w.job("sleep", "oak")
	w.server = New(Config{Store: w.store, Version: "9.9", Master: func() (*v1.MasterInfo, time.Time, bool) {
		return rows.Master("m1", "oak", w.store.View().Node("oak")), testTime, w.leads
	}, Figures: func() Figures {
		return func(r *rows.Rows, put func(string, float64)) {
			put("master/elected", 1)
			put("master/roles", float64(len(r.Roles())))
		}
	}})
	a := auth.New(auth.Config{Directory: func() auth.Directory { return w.store.View() }, Final: func() bool { return true }, Now: func() time.Time { return testTime }})
	x := exchange.New(exchange.Config{Store: w.store, Cluster: solo{}, Auth: a, Now: func() time.Time { return testTime }, Log: slog.New(slog.DiscardHandler), NodeName: "oak",
		MaxStreams: 100, Patience: exchange.DefaultPatience(), Audit: w.audit}, w.server.Routes())
	w.x = x
	w.http = httptest.NewServer(x.Handler(cred))
	t.Cleanup(func() {
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

// launch has the framework start a task.
func (w *world) launch(id, node string) {
	w.t.Helper()
	meta := fsm.Meta{At: testTime}
	w.do(&fsm.OfferMake{Meta: meta, Offers: []*api.Offer{{ID: "o-" + id, Framework: "f1", Partition: "web", NodeID: node, Resources: api.Resources{CPUs: 500, Mem: 64 << 20}}}})
	spec := &api.JobSpec{Kind: api.KindBatch, Partition: "web", AtMostOnce: true, TaskSpec: api.TaskSpec{Command: []string{"sleep", "100"}, User: "bob", Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 32 << 20}}}}
	spec.Complete(w.store.View().Chain("web"), nil)
	said, err := wire.Marshal(wire.Protobuf, &v1.TaskInfo{Name: "shop task", TaskID: &v1.TaskID{Value: id}, AgentID: &v1.AgentID{Value: node}, Labels: &v1.Labels{Labels: []*v1.Label{{Key: "k", Value: new("v")}}},
		HealthCheck: &v1.HealthCheck{Command: &v1.CommandInfo{Value: new("check"), Environment: &v1.Environment{Variables: []*v1.EnvironmentVariable{{Name: "KEY", Value: new("secret")}}}}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(&fsm.FrameworkAccept{Meta: meta, Framework: "f1", Session: "s1", Offers: []string{"o-" + id}, Tasks: []fsm.FrameworkLaunch{{Resources: spec.Need(),
		Task: &api.FrameworkTask{Framework: "f1", ID: id, Name: "shop task", Spec: spec, Info: said}}}})
	if w.store.View().FrameworkTask("f1", id) == nil {
		w.t.Fatal("the task of the framework was refused")
	}
}

// becomes is what the node says of a task of the framework.
func (w *world) becomes(id string, state api.TaskState) {
	w.t.Helper()
	t := w.store.View().FrameworkTask("f1", id)
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: state, PID: 77, Time: testTime}
	if state.Final() {
		st.ExitCode, st.Reason = new(3), api.ReasonExited
	}
	w.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{st}})
}

// job has a job run one task on a node.
func (w *world) job(name, node string) {
	w.t.Helper()
	meta := fsm.Meta{At: testTime}
	spec := &api.JobSpec{Name: name, Kind: api.KindService, Partition: api.DefaultPartition, Labels: map[string]string{"team": "a"}, TaskSpec: api.TaskSpec{Command: []string{"sleep", "100"}, Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 16 << 20}}}}
	spec.Normalize()
	j := w.do(&fsm.JobCreate{Meta: meta, Spec: spec}).(*api.Job)
	w.do(&fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: j.ID, Attempt: 1, NodeID: node}}})
}

// newToken has that one right.
func (w *world) newToken(right string) string {
	w.t.Helper()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Name: "ci", Rights: []string{right}}, testTime)
	w.do(&fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	return api.ClientToken{ID: tok.ID, Secret: secret}.String()
}

// send makes a call.
func (w *world) send(method string, body []byte, header http.Header) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+"/api/v1", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Header = header; w.token != "" {
		r.SetBasicAuth("ci", w.token)
	}
	res, err := w.http.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) text(res *http.Response) string {
	w.t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// call makes one that is answered with that status, and returns the body.
func (w *world) call(format wire.Format, m *v1.MasterCall, status int) string {
	w.t.Helper()
	body, err := wire.Marshal(format, m)
	if err != nil {
		w.t.Fatal(err)
	}
	res := w.send(http.MethodPost, body, http.Header{"Content-Type": {format.MediaType()}, "Accept": {format.MediaType()}})
	b := w.text(res)
	if res.StatusCode != status {
		w.t.Fatalf("%v: %s: %.300s", *m.Type, res.Status, b)
	}
	if status == http.StatusOK && b != "" && res.Header.Get("Content-Type") != format.MediaType() {
		w.t.Fatalf("%v: %v", *m.Type, res.Header)
	}
	return b
}

// get is the answer of a call that reads.
func (w *world) get(format wire.Format, kind v1.MasterCallType) *v1.MasterResponse {
	w.t.Helper()
	m := &v1.MasterResponse{}
	if err := wire.Unmarshal(format, []byte(w.call(format, &v1.MasterCall{Type: &kind}, http.StatusOK)), m); err != nil {
		w.t.Fatal(err)
	}
	if m.Type == nil || m.Type.String() != kind.String() {
		w.t.Fatalf("%v is answered with %v", kind, m.Type)
	}
	return m
}

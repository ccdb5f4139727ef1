package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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

// fakeHost has tasks that are files and texts.
type fakeHost struct {
	dir string // has a folder for each attempt

	mu      sync.Mutex
	run     func(ctx context.Context, c Command, stdio IO) Exit
	typed   bytes.Buffer
	sizes   []Size
	wrote   map[string][2]string // by containers
	cut     int64                // so many bytes of each stream are not kept any more
	ends    chan struct{}        // closed: the tasks have ended
	failing error                // what reads fail with
}

func (h *fakeHost) Run(ctx context.Context, c Command, begin func() (IO, error)) (Exit, error) {
	if c.Args[0] == "missing" {
		return Exit{}, api.Errorf(api.CodeFailed, "missing: there is no such program")
	}
	stdio, err := begin()
	if err != nil {
		return Exit{}, err
	}
	e := h.run(ctx, c, stdio)
	return e, context.Cause(ctx)
}

type fakeTerminal struct{ *fakeHost }

func (t fakeTerminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.typed.Write(p)
}

func (t fakeTerminal) Resize(s Size) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sizes = append(t.sizes, s)
}

func (t fakeTerminal) Close() error { return nil }

func (h *fakeHost) Open(_ context.Context, task string, _ int) (Terminal, error) {
	if task == "other.0" {
		return nil, api.Errorf(api.CodeConflict, "task other.0 has no terminal")
	}
	return fakeTerminal{h}, nil
}

func (h *fakeHost) Read(ctx context.Context, task string, attempt int, after [2]int64, follow bool, take func(Output) error) error {
	if h.failing != nil {
		return h.failing
	}
	h.mu.Lock()
	said := h.wrote[task+"-"+string(rune('0'+attempt))]
	h.mu.Unlock()
	for i, text := range said {
		if after[i] < 0 || after[i] >= int64(len(text)) {
			continue
		}
		if from := max(after[i], h.cut); from < int64(len(text)) {
			if err := take(Output{Stderr: i == 1, Data: []byte(text[from:]), Pos: int64(len(text))}); err != nil {
				return err
			}
		}
	}
	if follow {
		select {
		case <-h.ends:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (h *fakeHost) Written(task string, attempt int) (n [2]int64, at time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, text := range h.wrote[task+"-"+string(rune('0'+attempt))] {
		n[i] = int64(len(text))
	}
	return n, testTime, nil
}

func (h *fakeHost) Folder(task string, attempt int, _ *api.TaskSpec) string {
	return filepath.Join(h.dir, task, string(rune('0'+attempt)))
}

func (h *fakeHost) Stats(context.Context) ([]api.TaskStats, error) {
	return []api.TaskStats{{Task: "mine.0", Attempt: 1, CPUTime: 2 * time.Second, Mem: 5 << 20, Processes: 3}}, nil
}

// audit is what was recorded.
type audit struct {
	mu  sync.Mutex
	all []api.AuditRecord
}

func (a *audit) Note(r api.AuditRecord, _, _ any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, r)
}

// world is a node with two tasks of frameworks, in two partitions.
type world struct {
	t      *testing.T
	store  *fsm.Store
	server *Server
	host   *fakeHost
	http   *httptest.Server
	audit  *audit
	token  string // shown by calls; "" = none
	as     string // the container whose executor calls
}

func newWorld(t *testing.T, cred auth.Credentials) *world {
	w := &world{t: t, store: fsm.NewStore(nil), audit: &audit{}, host: &fakeHost{dir: t.TempDir(), wrote: map[string][2]string{}, ends: make(chan struct{})}}
	meta := fsm.Meta{At: testTime}
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine", Created: testTime}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak",
		Addr: "10.0.0.11:5050", Level: int(fsm.Newest), Joined: testTime, Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
	for _, path := range []string{"web", "ops"} {
		w.do(&fsm.PartitionPut{Meta: meta, Partition: &api.Partition{Path: path, Weight: 1000}})
	}
	a := auth.New(auth.Config{Directory: func() auth.Directory { return w.store.View() }, Final: func() bool { return true }, Now: func() time.Time { return testTime }})
	w.server = New(Config{Store: w.store, Cluster: solo{}, Auth: a, Host: w.host, Self: func() *api.Node { return w.store.View().Node("oak") }, Now: func() time.Time { return testTime }, Started: testTime,
		Log: slog.New(slog.DiscardHandler), NodeName: "oak", Version: "9.9", Audit: w.audit})
	w.begin("mine", "web")
	w.begin("other", "ops")
	w.assign("mine.0", "other.0")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.server.Run(ctx) // it has no error of its own
	}()
	own := w.server.Handler(cred)
	w.http = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.as != "" {
			r = OfExecutor(r, "web", w.as)
		}
		own.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		cancel()
		w.http.CloseClientConnections()
		w.http.Close()
		<-done
	})
	return w
}

// assign has the node run tasks: mine is in web, all others in ops.
func (w *world) assign(ids ...string) {
	var all []api.Assignment
	for _, id := range ids {
		partition := "ops"
		if id == "mine.0" {
			partition = "web"
		}
		if err := os.MkdirAll(w.host.Folder(id, 1, nil), 0o755); err != nil {
			w.t.Fatal(err)
		}
		job, _, _ := strings.Cut(id, ".")
		all = append(all, api.Assignment{Spec: &api.TaskSpec{User: api.TaskUser}, Task: &api.Task{ID: id, Job: job, Attempt: 1, Version: 1, NodeID: "oak", Partition: partition, State: api.TaskRunning, Created: testTime,
			Resources: api.Resources{CPUs: 500, Mem: 64 << 20}, Framework: &api.FrameworkTask{Framework: "f1", ID: job, Name: "a " + job}}})
	}
	w.server.Assign(all)
}

// begin has a job's task run.
func (w *world) begin(job, partition string) {
	w.t.Helper()
	w.do(&fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: jobIn(job, partition)})
	w.run(job)
}

func jobIn(job, partition string) *api.JobSpec {
	s := &api.JobSpec{Name: job, Kind: api.KindService, Partition: partition, TaskSpec: api.TaskSpec{Command: []string{partition}}}
	s.Normalize()
	return s
}

// run has the next attempt of a job's task run.
func (w *world) run(job string) *api.Task {
	w.t.Helper()
	meta := fsm.Meta{At: testTime}
	w.do(&fsm.TaskCreate{Meta: meta, Job: job, First: 0, Count: 1})
	t := w.store.View().TaskOf(job, 0)
	w.do(&fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: job, Attempt: t.Attempt, NodeID: "oak"}}})
	w.report(job, api.TaskRunning)
	return w.store.View().TaskOf(job, 0)
}

func (w *world) report(job string, state api.TaskState) {
	w.t.Helper()
	t := w.store.View().TaskOf(job, 0)
	w.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: t.ID, Attempt: t.Attempt, NodeID: "oak", State: state, PID: 7, Time: testTime}}})
}

func (w *world) do(c fsm.Command) {
	w.t.Helper()
	if _, err := w.store.Do(context.Background(), c); err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
}

// newToken has those rights.
func (w *world) newToken(rights ...string) string {
	w.t.Helper()
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Name: "ci", Rights: rights}, testTime)
	w.do(&fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	return api.ClientToken{ID: tok.ID, Secret: secret}.String()
}

// send sends a request to a path.
func (w *world) send(ctx context.Context, method, path string, body io.Reader, header http.Header) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, w.http.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Header = header; header == nil {
		r.Header = http.Header{}
	}
	if w.token != "" {
		r.SetBasicAuth("ci", w.token)
	}
	if r.ContentLength > maxCall { // without a connection, which is closed before all of it is sent
		res := httptest.NewRecorder()
		w.http.Config.Handler.ServeHTTP(res, r)
		return res.Result()
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

func headers(f wire.Format) http.Header {
	return http.Header{"Content-Type": {f.MediaType()}, "Accept": {f.MediaType()}}
}

// call makes one that is answered with that status, and returns the body.
func (w *world) call(m *v1.AgentCall, status int) string {
	w.t.Helper()
	body, err := wire.Marshal(wire.JSON, m)
	if err != nil {
		w.t.Fatal(err)
	}
	res := w.send(w.t.Context(), http.MethodPost, "/slave(1)/api/v1", bytes.NewReader(body), headers(wire.JSON))
	b := w.text(res)
	if res.StatusCode != status {
		w.t.Fatalf("%v: %s: %.300s", *m.Type, res.Status, b)
	}
	return b
}

func (w *world) get(path string, status int) string {
	w.t.Helper()
	res := w.send(w.t.Context(), http.MethodGet, path, nil, nil)
	b := w.text(res)
	if res.StatusCode != status {
		w.t.Fatalf("%s: %s: %.300s", path, res.Status, b)
	}
	return b
}

// beside is a container beside the one of task mine.
func beside(id string) *v1.ContainerID {
	return &v1.ContainerID{Value: id, Parent: &v1.ContainerID{Value: "mine.0-1"}}
}

func shell(line string) *v1.CommandInfo { return &v1.CommandInfo{Value: &line} }

// session begins one whose records are messages in that form.
func (w *world) session(ctx context.Context, id string, f wire.Format, tty bool) *http.Response {
	w.t.Helper()
	l := &v1.AgentCallLaunchNestedContainerSession{ContainerID: beside(id), Command: shell("x")}
	if tty {
		l.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, TTYInfo: &v1.TTYInfo{}}
	}
	body, err := wire.Marshal(f, &v1.AgentCall{Type: new(v1.AgentCallTypeLaunchNestedContainerSession), LaunchNestedContainerSession: l})
	if err != nil {
		w.t.Fatal(err)
	}
	// As mesos-go does: two headers of that name, of which the last one counts.
	return w.send(ctx, http.MethodPost, "/api/v1", bytes.NewReader(body), http.Header{"Content-Type": {f.MediaType()}, "Accept": {f.MediaType(), recordIO}, "Message-Accept": {f.MediaType()}})
}

// printed is what the records of an answer print, by their streams.
func (w *world) printed(res *http.Response, f wire.Format) (out [2]string) {
	w.t.Helper()
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != recordIO || res.Header.Get("Message-Content-Type") != f.MediaType() {
		b, _ := io.ReadAll(res.Body) // what there is of it says enough
		w.t.Fatalf("%s %v: %s", res.Status, res.Header, b)
	}
	r := wire.NewRecordReader(res.Body, 1<<20)
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		var m v1.ProcessIO
		if err == nil {
			err = wire.Unmarshal(f, b, &m)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if *m.Type == v1.ProcessIOTypeData {
			i := 0
			if *m.Data.Type == v1.ProcessIODataTypeStderr {
				i = 1
			}
			out[i] += string(m.Data.Data)
		}
	}
}

// typing are the records that attach to a container and type there.
func typing(t *testing.T, f wire.Format, id *v1.ContainerID, all ...*v1.ProcessIO) []byte {
	t.Helper()
	var out bytes.Buffer
	rw := wire.NewRecordWriter(&out, f)
	attach := func(in *v1.AgentCallAttachContainerInput) {
		if err := rw.Write(&v1.AgentCall{Type: new(v1.AgentCallTypeAttachContainerInput), AttachContainerInput: in}); err != nil {
			t.Fatal(err)
		}
	}
	attach(&v1.AgentCallAttachContainerInput{Type: new(v1.AgentCallAttachContainerInputTypeContainerID), ContainerID: id})
	for _, p := range all {
		attach(&v1.AgentCallAttachContainerInput{Type: new(v1.AgentCallAttachContainerInputTypeProcessIO), ProcessIO: p})
	}
	return out.Bytes()
}

func types(text string) *v1.ProcessIO {
	return &v1.ProcessIO{Type: new(v1.ProcessIOTypeData), Data: &v1.ProcessIOData{Type: new(v1.ProcessIODataTypeStdin), Data: []byte(text)}}
}

func resizes(rows, cols uint32) *v1.ProcessIO {
	return &v1.ProcessIO{Type: new(v1.ProcessIOTypeControl), Control: &v1.ProcessIOControl{Type: new(v1.ProcessIOControlTypeTTYInfo), TTYInfo: &v1.TTYInfo{WindowSize: &v1.TTYInfoWindowSize{Rows: rows, Columns: cols}}}}
}

func (w *world) attach(f wire.Format, body io.Reader) *http.Response {
	w.t.Helper()
	return w.send(w.t.Context(), http.MethodPost, "/api/v1", body, http.Header{"Content-Type": {recordIO}, "Message-Content-Type": {f.MediaType()}})
}

// output attaches to what a container prints until its end.
func (w *world) output(id *v1.ContainerID) (status int, body string) {
	w.t.Helper()
	m, err := wire.Marshal(wire.JSON, &v1.AgentCall{Type: new(v1.AgentCallTypeAttachContainerOutput), AttachContainerOutput: &v1.AgentCallAttachContainerOutput{ContainerID: id}})
	if err != nil {
		w.t.Fatal(err)
	}
	res := w.send(w.t.Context(), http.MethodPost, "/api/v1", bytes.NewReader(m), http.Header{"Content-Type": {"application/json"}})
	return res.StatusCode, w.text(res)
}

// status is what a call is answered with.
func (w *world) status(m *v1.AgentCall) int {
	w.t.Helper()
	body, err := wire.Marshal(wire.JSON, m)
	if err != nil {
		w.t.Fatal(err)
	}
	res := w.send(w.t.Context(), http.MethodPost, "/api/v1", bytes.NewReader(body), headers(wire.JSON))
	w.text(res)
	return res.StatusCode
}

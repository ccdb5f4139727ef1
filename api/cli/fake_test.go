package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
)

// fake is a cluster that speaks the HTTP contract: three nodes, a service, an
// array of which one task failed, and a job that waits. New services run at
// the second look; new batches have ended at the second.
type fake struct {
	mu           sync.Mutex
	http         *httptest.Server
	jobs         map[string]*api.Job
	blobs        map[string][]byte
	looks        map[string]int
	older        bool     // it knows no attempt in what it is told to stop
	calls        []string // that change something
	next         int      // number of the last unnamed job, above 58
	version      int      // of the tasks of web
	drain        int      // tasks left on fir
	parts        map[string]*api.PartitionStatus
	now          time.Time
	noLocal      bool                    // as cluster set has it
	old          bool                    // it changes one at a time
	bare         bool                    // it has no frameworks
	raced        int                     // so often something is changed meanwhile
	long         bool                    // all names and texts of it are
	silent       bool                    // a node is, when asked what its tasks use
	hangs        chan struct{}           // if not nil, hears of each question what tasks use, none of which is answered
	dir          string                  // of its tasks
	plan         *api.RebalancePlan      // if not nil, instead of its own
	empties      *api.DrainPlan          // the same of a drain
	alter        func(*api.Task)         // changes a task that is looked at by itself
	sick         string                  // why the node that answers has no leader; "" = it has one
	reservations []api.ReservationStatus // of elm
}

func newFake(socket string) (*fake, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	f := &fake{version: 2, jobs: map[string]*api.Job{}, blobs: map[string][]byte{}, looks: map[string]int{}, now: time.Now().Add(-9*time.Minute - time.Second), drain: 2}
	f.jobs["web"] = &api.Job{ID: "web", Version: 2, State: api.JobRunning, Counts: api.JobCounts{Running: 3}, Actor: "root", Created: f.now,
		Spec: &api.JobSpec{Name: "web", Kind: api.KindService, Count: new(3), Labels: map[string]string{"team": "web", "tier": "2"}, TaskSpec: api.TaskSpec{Command: []string{"/srv/server", "--listen", ":{http}"},
			Placing: api.Placing{Request: api.Request{CPUs: 250, Mem: 128 << 20, Ports: []api.PortRequest{{Name: "http"}}}}}}}
	reserved := func(partition, by string, cpus, used api.MilliCPU) api.ReservationStatus {
		return api.ReservationStatus{Reservation: &api.Reservation{ID: partition + by, Partition: partition, Principal: by, Resources: api.Resources{CPUs: cpus}}, Used: api.Resources{CPUs: used}}
	}
	f.reservations = []api.ReservationStatus{reserved("ml", "ci", 2000, 500), reserved("ml", "", 1000, 0)}
	code := 7
	f.jobs["57"] = &api.Job{ID: "57", Version: 1, State: api.JobFailed, Counts: api.JobCounts{Finished: 9, Failed: 1}, Actor: "ci", Created: f.now, Ended: f.now, ExitCode: &code,
		Spec: &api.JobSpec{Kind: api.KindBatch, Array: "0-9", TaskSpec: api.TaskSpec{Command: []string{"/bin/train"}, Placing: api.Placing{Request: api.Request{CPUs: 1000, Mem: 2 << 30}}}}}
	f.jobs["58"] = &api.Job{ID: "58", Version: 1, State: api.JobPending, Counts: api.JobCounts{Pending: 1}, Actor: "ci", Created: f.now,
		Spec: &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"/bin/merge"}, Placing: api.Placing{Request: api.Request{CPUs: 64000, Mem: 2 << 30}}}}}
	f.jobs["ml"] = &api.Job{ID: "ml", Version: 1, State: api.JobPending, Counts: api.JobCounts{Running: 1, Pending: 1}, Actor: "ci", Created: f.now,
		Spec: &api.JobSpec{Name: "ml", Kind: api.KindBatch, Partition: "ml", Array: "0-1", TaskSpec: api.TaskSpec{Command: []string{"/bin/train"}}}}
	for _, j := range f.jobs {
		j.Spec.Normalize()
	}
	f.addPartitions()
	f.http = &httptest.Server{Listener: l, Config: &http.Server{Handler: f.routes()}}
	f.http.Start()
	return f, nil
}

func (f *fake) routes() http.Handler {
	m := http.NewServeMux()
	handle := func(pattern string, h func(r *http.Request) (any, error)) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if r.Method != http.MethodGet && !r.URL.Query().Has("dry_run") {
				f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
			}
			v, err := h(r)
			if f.sick != "" {
				w.Header().Set("X-Mesita-Stale", "1")
			}
			if f.long {
				v = lengthened(v)
			}
			reply(w, v, err)
		})
	}
	f.readRoutes(handle)
	f.blobRoutes(m, handle)
	f.writeRoutes(handle)
	f.partitionRoutes(handle)
	f.frameworkRoutes(handle)
	f.applyRoute(handle)
	m.HandleFunc("GET /v1/tasks/{id}/logs", f.logs)
	m.HandleFunc("POST /v1/tasks/{id}/exec", f.exec)
	return m
}

func reply(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		e := &api.Error{Code: api.ErrorCode(err), Message: err.Error()}
		if own, ok := err.(*api.Error); ok {
			e = own
		}
		status, v = e.Code.HTTPStatus(), map[string]any{"error": e}
	}
	if h, ok := v.(api.Health); ok && h.Reason != "" {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

func items[T any](list []T) map[string]any { return map[string]any{"items": list, "index": 7} }

func (f *fake) readRoutes(handle func(string, func(*http.Request) (any, error))) {
	handle("GET /v1/health", func(*http.Request) (any, error) {
		if f.sick != "" {
			return api.Health{Node: "oak", Version: "1.0.0", Index: 7, Role: "voter", Reason: f.sick}, nil
		}
		return api.Health{Leader: "oak", Quorum: true, Node: "oak", Version: "1.0.0", Index: 7}, nil
	})
	handle("GET /v1/cluster", func(*http.Request) (any, error) {
		about := map[string]any{"id": "c1", "name": "pine", "created": f.now, "leader": "oak", "nodes": 3, "voters": 3, "noLocalAdmin": f.noLocal}
		if f.looks["rotate-ca"] > 0 {
			about["ca"] = f.nextCA()
		}
		return about, nil
	})
	handle("POST /v1/cluster", func(r *http.Request) (any, error) {
		var in api.ClusterChange
		err := api.DecodeStrict(r.Body, &in)
		if err == nil {
			f.noLocal = *in.NoLocalAdmin
		}
		return struct{}{}, err
	})
	handle("GET /v1/level", func(*http.Request) (any, error) { return f.level(), nil })
	handle("GET /v1/nodes", func(*http.Request) (any, error) { return items(f.nodes()), nil })
	handle("GET /v1/nodes/{ref}", func(r *http.Request) (any, error) {
		for _, n := range f.nodes() {
			if n.Name == r.PathValue("ref") || strings.HasPrefix(n.ID, r.PathValue("ref")) {
				return n, nil
			}
		}
		return nil, api.Errorf(api.CodeNotFound, "no node %q: `mesita node ls` lists them", r.PathValue("ref"))
	})
	handle("POST /v1/nodes/{ref}/unreserve", func(r *http.Request) (any, error) {
		kept := &f.reservations[0]
		kept.Reservation = &api.Reservation{ID: kept.ID, Partition: kept.Partition, Principal: kept.Principal, Resources: kept.Used}
		f.reservations = f.reservations[:1]
		return &api.NodeStatus{Node: &api.Node{Name: r.PathValue("ref")}, Reservations: f.reservations}, nil
	})
	handle("GET /v1/jobs", func(r *http.Request) (any, error) {
		var out []*api.Job
		labels, err := api.ParseLabels("label", r.URL.Query()["label"])
		if err != nil {
			return nil, err
		}
		for _, id := range []string{"57", "58", "web"} {
			if j := f.jobs[id]; j != nil && api.MatchAll(labels, "", j.Spec.Labels) && (r.URL.Query().Has("all") || !j.State.Ended()) {
				out = append(out, j)
			}
		}
		return jobsPage(r.URL.Query(), out)
	})
	handle("GET /v1/jobs/{id}", f.getJob)
	handle("GET /v1/tasks", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		if q.Has("framework") {
			return tasksPage(q, f.ofFramework(q.Get("framework"), q.Get("own")))
		}
		if id := q.Get("job"); id != "" && f.jobs[id] == nil {
			return nil, noJob(id)
		}
		defer func() { // the new version of a service is there at the second look
			if w := f.jobs["web"]; w != nil {
				f.version = w.Version
			}
		}()
		labels, err := api.ParseLabels("label", q["label"])
		if err != nil {
			return nil, err
		}
		return tasksPage(q, slices.DeleteFunc(f.tasks(), func(t *api.Task) bool {
			return len(labels) > 0 && !api.MatchAll(labels, "", f.jobs[t.Job].Spec.Labels) || q.Has("job") && t.Job != q.Get("job") || q.Has("node") && t.Node != q.Get("node") || !q.Has("all") && t.State.Final() || q.Has("state") && t.State.Word() != q.Get("state")
		}))
	})
	handle("GET /v1/tasks/{id}", func(r *http.Request) (any, error) { return f.task(r.PathValue("id")) })
	handle("GET /v1/tasks/{id}/why", func(r *http.Request) (any, error) {
		_, err := f.task(r.PathValue("id"))
		return f.why(r.PathValue("id")), err
	})
	handle("GET /v1/jobs/{id}/why", func(r *http.Request) (any, error) {
		if f.jobs[r.PathValue("id")] == nil {
			return nil, noJob(r.PathValue("id"))
		}
		return f.why(r.PathValue("id")), nil
	})
	handle("GET /v1/queue", f.queue)
	handle("GET /v1/stats", func(r *http.Request) (any, error) {
		if r.URL.Query().Get("node") != "" {
			return items([]api.TaskStats{{Task: "web.0", OldKeeper: true, Throttle: api.Throttle{Throttled: 1234567890}}, {Task: "web.1", Throttle: api.Throttle{Throttled: 1500 * time.Millisecond}, CPULimit: 500, OwnCPUs: "2-3,8"}, {Task: "web.2", OldKeeper: true}}), nil
		}
		f.looks["stats"]++
		if f.hangs != nil {
			f.hangs <- struct{}{}
			<-r.Context().Done()
		}
		answer := items([]api.TaskStats{{Task: "web.0", Node: "oak", Attempt: 1, Mem: 90 << 20, MemPeak: 100 << 20, Processes: 4},
			{Task: "web.1", Node: "fir", Attempt: 1, CPUTime: time.Duration(f.looks["stats"]) * time.Second, Mem: 64 << 20, MemPeak: 64 << 20, Processes: 1}})
		if f.silent {
			answer["missing"] = []client.SilentNode{{Node: "elm", Reason: "is down"}}
		}
		return answer, nil
	})
	handle("GET /v1/events", func(r *http.Request) (any, error) {
		if r.URL.Query().Get("for") == "wbe" {
			return nil, api.Errorf(api.CodeNotFound, "no node, job, task, partition or token is called %q", "wbe")
		}
		return items(f.events(r.URL.Query(), []api.Event{{Index: 6, Time: f.now, Kind: api.EventJobCreated, Object: "web", Job: "web", Actor: "root", Message: "service, 3 tasks"},
			{Index: 7, Time: f.now, Kind: api.EventTaskState, Object: "web.0", Job: "web", Node: "oak", Task: f.tasks()[0]}})), nil
	})
	handle("POST /v1/tokens/{id}/rights", func(r *http.Request) (any, error) {
		if r.PathValue("id") != "ci" {
			return nil, api.Errorf(api.CodeNotFound, "no token %q", r.PathValue("id"))
		}
		return map[string]int{"tokens": 2}, nil
	})
	handle("GET /v1/can", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		if q.Get("on") == "prod/web" {
			return items([]api.Can{{Token: "k3f9x2ab", Actor: "token:" + q.Get("who"), Has: "deployer@prod", May: true, RunAs: api.TaskUser}}), nil
		}
		return items([]api.Can{{Actor: "root", Has: "viewer", Why: "root may not " + q.Get("action")}}), nil
	})
	handle("GET /v1/tokens", func(r *http.Request) (any, error) {
		if r.URL.Query().Get("kind") == api.TokenJoin.String() {
			return items([]api.Token{{ID: "t1", Kind: api.TokenJoin, Created: f.now}}), nil
		}
		return items([]api.Token{{ID: "k3f9x2ab", Kind: api.TokenClient, Name: "ci", Role: api.RoleOperator, Uses: 2, Created: f.now}}), nil
	})
}

// events are the newest that are wanted.
func (f *fake) events(q url.Values, all []api.Event) []api.Event {
	index := func(name string) uint64 {
		n, _ := strconv.ParseUint(q.Get(name), 10, 64)
		return n
	}
	when := func(name string) time.Time {
		t, _ := api.ParseWhen(q.Get(name), time.Now())
		if !q.Has(name) {
			t = time.Time{}
		}
		return t
	}
	want := api.EventFilter{After: index("after"), Before: index("before"), Since: when("since"), Until: when("until")}
	all = slices.DeleteFunc(all, func(e api.Event) bool { return !want.Match(&e) })
	return all[max(0, len(all)-int(index("limit"))):]
}

func noJob(id string) error {
	return api.NotFound("job", id)
}

func (f *fake) why(id string) api.Why {
	if strings.HasPrefix(id, "doom") {
		return api.Why{ID: id + ".0", State: "pending"}
	}
	if id == "crash" {
		return api.Why{ID: "crash.0", State: "pending", Summary: "crash.0 waits 4s before attempt 3; attempt 2 ended: exit code 7"}
	}
	if id == "ml" {
		return api.Why{ID: id, State: "pending", Summary: "ml.1 waits: partition ml is at its fair share (49%).", Nearest: "fir lacks 1 cpu", Holders: []string{"gang 55", "web"},
			Nodes: []api.WhyNode{{Node: "oak", Reason: "needs 1 cpu, 0 free"}, {Node: "fir", Reason: "1 cpu held for gang 55"}, {Node: "ash", Reason: "needs 1 cpu, 0 free"}},
			Hints: []string{"would start now with --time 9m (backfill)"}, Estimate: time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)}
	}
	return api.Why{ID: id, State: "pending", Summary: id + " waits: no node has room for it.",
		Nodes: []api.WhyNode{{Node: "fir", Reason: "needs 64 cpus, 4 free"}, {Node: "oak", Reason: "is draining"}}, Hints: []string{"would fit with --cpus 4"}}
}

func (f *fake) nodes() []*api.NodeStatus {
	make := func(id, name, role string, state api.NodeState, tasks int, attrs map[string]string) *api.NodeStatus {
		total := api.Resources{CPUs: 4000, Mem: 8 << 30}
		used := api.Resources{CPUs: api.MilliCPU(250 * tasks), Mem: api.Bytes(tasks) * 128 << 20}
		return &api.NodeStatus{Node: &api.Node{ID: id, Name: name, Addr: "10.0.0.11:5050", State: state, Version: "1.0.0", Resources: total, Joined: f.now, Attrs: attrs},
			Role: role, Tasks: tasks, Ledger: api.Ledger{Allocated: used, Free: total.Minus(used)}}
	}
	fir := make("f1f2", "fir", "voter", api.NodeReady, f.drain, nil)
	if web := f.jobs["web"]; f.looks["drain fir"] > 0 && (web == nil || !web.Hold) {
		fir.State, f.drain = api.NodeDraining, max(f.drain-1, 0)
	}
	elm := make("e1e2", "elm", "voter", api.NodeUnreachable, f.looks["drain elm"], map[string]string{"arch": "amd64", "disk": "hdd"})
	elm.Drain, elm.Since = elm.Tasks > 0, f.now
	elm.Reservations = f.reservations
	return []*api.NodeStatus{make("a1a2", "oak", "voter, leader", api.NodeReady, 1, map[string]string{"disk": "ssd", "zone": "a"}), fir, elm}
}

func (f *fake) tasks() []*api.Task {
	var out []*api.Task
	zero, seven := 0, 7
	for i, node := range []string{"oak", "fir", "fir"} {
		out = append(out, &api.Task{ID: api.TaskID("web", i), Job: "web", Index: i, Version: f.version, State: api.TaskRunning, Node: node, NodeID: node, Attempt: 1, PID: 100 + i,
			Resources: api.Resources{CPUs: 250, Mem: 128 << 20}, Ports: map[string]int{"http": 20000 + i}, Created: f.now, Started: f.now})
	}
	if w := f.jobs["web"]; w == nil || w.Stop {
		out = nil
	}
	out = append(out, &api.Task{ID: "ml.0", Job: "ml", State: api.TaskRunning, Frozen: true, Desired: api.DesiredFreeze, Reason: api.ReasonPreempted, Node: "oak", NodeID: "oak", Attempt: 1, Created: f.now},
		&api.Task{ID: "ml.1", Job: "ml", Index: 1, State: api.TaskStaging, Attempt: 1, Created: f.now})
	out = append(out, &api.Task{ID: "57.0", Job: "57", State: api.TaskFinished, Node: "oak", NodeID: "oak", Attempt: 1, ExitCode: &zero, Reason: api.ReasonExited, Created: f.now, Ended: f.now},
		&api.Task{ID: "57.1", Job: "57", Index: 1, State: api.TaskFailed, Node: "fir", NodeID: "fir", Attempt: 2, ExitCode: &seven, Reason: api.ReasonExited, Message: "exited with 7\x1b[31m",
			Created: f.now, Ended: f.now, Earlier: []api.Attempt{{Attempt: 1, Node: "oak", State: api.TaskFailed, Signal: "SIGKILL", Reason: api.ReasonOOM, Started: f.now, Ended: f.now}}},
		&api.Task{ID: "58.0", Job: "58", State: api.TaskStaging, Attempt: 1, Resources: api.Resources{CPUs: 64000, Mem: 2 << 30}, Created: f.now})
	if f.jobs["sweep"] != nil {
		for i := 36; i < 100; i++ {
			out = append(out, &api.Task{ID: api.TaskID("sweep", i), Job: "sweep", Index: i, State: api.TaskStaging, Attempt: 1, Created: f.now})
		}
	}
	if f.jobs["crash"] != nil {
		out = append(out, &api.Task{ID: "crash.0", Job: "crash", Version: 1, State: api.TaskStaging, Attempt: 3, Created: f.now,
			Earlier: []api.Attempt{{Attempt: 1, Version: 1, Node: "fir", Signal: "SIGSEGV"}, {Attempt: 2, Version: 1, Node: "oak", ExitCode: &seven, Reason: api.ReasonExited}}})
	}
	for name, code := range map[string]int{"doom": 7, "doom0": 0} {
		if f.jobs[name] == nil {
			continue
		}
		t := &api.Task{ID: name + ".0", Job: name, Version: 1, State: api.TaskStaging, Attempt: 4, Created: f.now}
		for i := range 3 {
			t.Earlier = append(t.Earlier, api.Attempt{Attempt: i + 1, Version: 1, Node: "oak", ExitCode: &code, Reason: api.ReasonExited, Started: f.now, Ended: f.now.Add(time.Second)})
		}
		out = append(out, t)
	}
	return out
}

func (f *fake) task(id string) (*api.Task, error) {
	for _, t := range append(f.tasks(), f.frameworkTask()) {
		if t.ID == id {
			if f.looks["move "+id] > 0 && f.looks["moves"] > 0 {
				t.Attempt, t.Node = 2, "oak"
			}
			if f.alter != nil {
				f.alter(t)
			}
			return t, nil
		}
	}
	return nil, api.Errorf(api.CodeNotFound, "no task %q", id)
}

// getJob moves new jobs on with each look.
func (f *fake) getJob(r *http.Request) (any, error) {
	id := r.PathValue("id")
	j := f.jobs[id]
	if j == nil {
		return nil, noJob(id)
	}
	f.looks[id]++
	switch {
	case id == "57" || id == "58" || f.looks[id] < 2 || id == "crash" && f.looks["crash.0"] == 0, strings.HasPrefix(id, "doom"):
	case j.Stop:
		j.State, j.Counts = api.JobStopped, api.JobCounts{}
	case j.Spec.Kind == api.KindService && j.Spec.CPUs < 64000:
		j.State, j.Counts = api.JobRunning, api.JobCounts{Running: j.Spec.Tasks()}
	case j.Spec.Kind == api.KindBatch:
		code := 0
		if _, err := fmt.Sscanf(strings.Join(j.Spec.Command, " "), "exit %d", &code); err == nil && code != 0 {
			j.State, j.Counts = api.JobFailed, api.JobCounts{Failed: 1}
		} else {
			j.State, j.Counts = api.JobFinished, api.JobCounts{Finished: j.Spec.Tasks()}
		}
		j.ExitCode = &code
	}
	if r.URL.Query().Get("wait") == "ended" && !j.State.Ended() {
		return nil, api.Errorf(api.CodeTimeout, "it continues")
	}
	return j, nil
}

// lengthened is an answer in which what people name, or say, is long.
func lengthened(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return v // as it would be answered
	}
	return json.RawMessage(regexp.MustCompile(`"(id|name|job|task|node|object|partition|path|message|reason|actor|user|action)":"([^"]*)"`).
		ReplaceAllFunc(b, func(field []byte) []byte {
			return append(field[:len(field)-1:len(field)-1], "-ünd-a-very-long-name-of-somebody's\""...)
		}))
}

package server

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/meter"
	"github.com/mesita/mesita/fsm"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

type fakeMachine struct{}

func (fakeMachine) Raft() RaftState {
	return RaftState{State: "leader", Term: 3, Log: 9, Commit: 8, Applied: 7, Voters: 3}
}
func (fakeMachine) CertificateEnds() time.Time           { return testTime }
func (fakeMachine) Disk() (free, total int64, err error) { return 5, 9, nil }

// All that is told has a name, a unit and a help as Prometheus wants them, and is read by
// its own parser.
func TestMetricsAreConventional(t *testing.T) {
	n := newLeader(t, func(c *Config) { c.Machine = fakeMachine{} })
	token := n.token(api.RoleOperator)
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
	runTask(t, n.store, "web", 0)
	n.stats = []api.TaskStats{{Task: "web.0", Attempt: 1, CPUTime: 3 * time.Second, Mem: 7, Throttle: api.Throttle{Throttled: time.Second}}}
	r := n.send(request{method: "GET", path: "/metrics", token: token})
	r.want(t, 200)
	problems, err := promlint.New(bytes.NewReader(r.body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 60 {
		t.Errorf("only %d families", len(families))
	}
	for _, line := range []string{
		`mesita_job_cpu_seconds_total{job="web"} 3`, `mesita_job_cpu_throttled_seconds_total{job="web"} 1`, `mesita_job_memory_bytes{job="web"} 7`,
		`mesita_job_tasks_waiting{job="web"} 1`, `mesita_job_restarts{job="web"} 0`, `mesita_job_oom_kills{job="web"} 0`, `mesita_job_memory_limit_bytes{job="web"} 6.7108864e+07`,
		`mesita_raft_state{state="leader"} 1`, `mesita_raft_state{state="candidate"} 0`, "mesita_raft_lag_entries 2", "mesita_raft_voters 3", "mesita_disk_free_bytes 5",
		"mesita_certificate_expiry_timestamp_seconds 1.7776368e+09", "mesita_scheduler_pass_duration_seconds_count 0", "mesita_scheduler_wait_seconds_count 0",
		"mesita_raft_commit_duration_seconds_count 0", `mesita_partition_cpus_guaranteed{partition="default"} 0`,
	} {
		if !strings.Contains(string(r.body), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, r.body)
		}
	}
}

// What only some tasks use is not told as what the node does, but it counts as used.
func TestWhatIsNotKnownIsNotTold(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	n.stats = []api.TaskStats{{Task: "web.0", Attempt: 1, CPUTime: 3 * time.Second, Mem: 7}}
	for _, err := range []error{nil, context.DeadlineExceeded} {
		n.statsErr = err
		r := n.send(request{method: "GET", path: "/metrics", token: token})
		r.want(t, 200)
		for line, told := range map[string]bool{"mesita_node_tasks 1": err == nil, `mesita_job_memory_bytes{job="web"} 7`: err == nil, `mesita_job_cpu_seconds_total{job="web"} 3`: true} {
			name, _, _ := strings.Cut(line, " ")
			if strings.Contains(string(r.body), "\n"+line+"\n") != told || !told && strings.Contains(string(r.body), "\n"+name+" ") {
				t.Errorf("%v: %s is told: %v", err, line, !told)
			}
		}
	}
}

// To who sees only some jobs, what the others used never becomes less while they come
// into sight and leave it.
func TestHiddenJobsAreACounter(t *testing.T) {
	n := newLeader(t)
	operator, reader := n.token(api.RoleOperator), n.with("", "viewer@default")
	want := func(step string, lines ...string) {
		t.Helper()
		r := n.send(request{method: "GET", path: "/metrics", token: reader})
		r.want(t, 200)
		var got []string
		for line := range strings.Lines(string(r.body)) {
			if strings.HasPrefix(line, "mesita_job_cpu_seconds_total") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if !slices.Equal(got, lines) {
			t.Errorf("%s: %q, want %q", step, got, lines)
		}
	}
	web := api.TaskStats{Task: "web.0", Attempt: 1, CPUTime: 3 * time.Second}
	n.stats = []api.TaskStats{web}
	want("there is no such job", `mesita_job_cpu_seconds_total{job=""} 3`)
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: operator}).want(t, 201)
	web.CPUTime = 10 * time.Second
	n.stats = []api.TaskStats{web}
	want("it is in sight", `mesita_job_cpu_seconds_total{job=""} 3`, `mesita_job_cpu_seconds_total{job="web"} 10`)
	n.send(request{method: "POST", path: "/v1/jobs/web/stop", token: operator}).want(t, 200)
	n.send(request{method: "DELETE", path: "/v1/jobs/web", token: operator}).want(t, 200)
	want("it is removed", `mesita_job_cpu_seconds_total{job=""} 3`)
	web.CPUTime = 11 * time.Second
	n.stats = []api.TaskStats{web}
	want("it is not in sight", `mesita_job_cpu_seconds_total{job=""} 4`)
}

// Sums of the cluster are told once, by who leads.
func TestTheLeaderAloneTellsOfTheCluster(t *testing.T) {
	_, oak, elm := twoNodes(t)
	token := oak.token(api.RoleViewer)
	for n, tells := range map[*testNode]bool{oak: true, elm: false} {
		r := n.send(request{method: "GET", path: "/metrics", token: token})
		r.want(t, 200)
		for _, name := range []string{"mesita_nodes{", "mesita_jobs{", "mesita_tasks{", "mesita_capacity_cpus", "mesita_partition_share{", "mesita_incidents_open"} {
			if strings.Contains(string(r.body), "\n"+name) != tells {
				t.Errorf("%s tells %s: %v", n.id, name, !tells)
			}
		}
	}
}

// What a job used only grows while its tasks come and go, and no cluster has more series
// than the bound.
func TestWhatJobsUsedOnlyGrows(t *testing.T) {
	m, at := meter.New("1", 0), testTime
	use := func(stats ...api.TaskStats) string {
		at = at.Add(time.Minute)
		m.Use(stats, jobOf, at)
		s := &meter.Scrape{}
		m.Used(s, "", func(string) bool { return true })
		var b bytes.Buffer
		if err := m.Write(&b, s); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	task := func(id string, attempt int, seconds time.Duration) api.TaskStats {
		return api.TaskStats{Task: id, Attempt: attempt, CPUTime: seconds * time.Second}
	}
	for _, step := range []struct {
		stats []api.TaskStats
		want  string
	}{
		{[]api.TaskStats{task("web.0", 1, 5), task("web.1", 1, 1)}, "6"},
		{[]api.TaskStats{task("web.0", 1, 7)}, "8"},
		{[]api.TaskStats{task("web.0", 2, 1), task("web.1", 1, 1)}, "9"}, // web.1 was not there for a look
		{nil, "9"},
	} {
		if got := use(step.stats...); !strings.Contains(got, "\nmesita_job_cpu_seconds_total{job=\"web\"} "+step.want+"\n") {
			t.Errorf("want %s in\n%s", step.want, got)
		}
	}
	at = at.Add(2 * time.Hour)
	if got := use(); strings.Contains(got, `job="web"`) {
		t.Error("a job that is long gone is told still")
	}
	var many []api.TaskStats
	for i := range meter.MaxJobs + 5 {
		many = append(many, task(strings.Repeat("x", i+1)+".0", 1, 2))
	}
	got := use(many...)
	if n := strings.Count(got, "\nmesita_job_cpu_seconds_total{"); n != meter.MaxJobs+1 || !strings.Contains(got, "mesita_job_cpu_seconds_total{job=\"\"} 10\n") {
		t.Errorf("%d series", n)
	}
}

func TestDiscovery(t *testing.T) {
	n := newLeader(t)
	do(t, n.store, &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "oak", Hello: api.NodeHello{Addr: "10.0.0.1:5050", Level: int(fsm.Newest),
		Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 20000, Last: 20010}}}}})
	s := batchSpec("sums")
	s.Ports = []api.PortRequest{{Name: "metrics"}}
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: s})
	meta := fsm.Meta{At: testTime}
	do(t, n.store, &fsm.TaskCreate{Meta: meta, Job: "sums", First: 0, Count: 1})
	do(t, n.store, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: "sums", Attempt: 1, NodeID: "oak",
		Resources: &api.Resources{CPUs: s.CPUs, Mem: s.Mem, Ports: api.Ranges{{First: 20001, Last: 20001}}}, Ports: map[string]int{"metrics": 20001}}}})
	do(t, n.store, &fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: "sums.0", Attempt: 1, NodeID: "oak", State: api.TaskRunning, PID: 7, Time: testTime}}})
	ask := func(token, query string) []target {
		r := n.send(request{method: "GET", path: discoveryPath + query, token: token})
		r.want(t, 200)
		return into[[]target](t, r)
	}
	viewer := n.token(api.RoleViewer)
	got := ask(viewer, "")
	if len(got) != 2 || got[0].Targets[0] != "10.0.0.1:5050" || got[0].Labels["__scheme__"] != "https" || got[1].Targets[0] != "10.0.0.1:20001" || got[1].Labels["__meta_mesita_task"] != "sums.0" || got[1].Labels["__scheme__"] != "http" {
		t.Errorf("%+v", got)
	}
	if got := ask(n.with("", "viewer@prod"), ""); len(got) != 1 {
		t.Errorf("who does not see the job is told of its task: %+v", got)
	}
	for i, kind := range targetKinds {
		if one := ask(viewer, "?kind="+kind); !reflect.DeepEqual(one, got[i:i+1]) {
			t.Errorf("kind=%s: %+v", kind, one)
		}
	}
	r := n.send(request{method: "GET", path: discoveryPath + "?kind=tasks", token: viewer})
	if r.want(t, 400); !strings.Contains(string(r.body), `"tasks\" is none of node, task`) {
		t.Errorf("%s", r.body)
	}
}

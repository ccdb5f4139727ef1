package server

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

func TestHealthAndCluster(t *testing.T) {
	_, oak, elm := twoNodes(t)
	for _, n := range []*testNode{oak, elm} {
		r := n.send(request{method: "GET", path: "/v1/health"})
		r.want(t, 200)
		if h := into[api.Health](t, r); !h.Quorum || h.Leader != "oak-name" || h.Node != n.id+"-name" || h.Version != "1.2.3" || h.Index == 0 {
			t.Errorf("%+v", h)
		}
	}
	r := elm.send(request{method: "GET", path: "/v1/cluster", token: oak.token(api.RoleViewer)})
	r.want(t, 200)
	if c := into[ClusterStatus](t, r); c.Name != "pine" || c.Nodes != 2 || c.Voters != 2 || c.Leader != "oak-name" {
		t.Errorf("%s", r.body)
	}
}

func TestNoAnswerHoldsASecret(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	for _, rt := range routeTable(nil) {
		if rt.Method != "GET" || rt.Action == auth.BeNode || strings.Contains(rt.Path, "{") {
			continue
		}
		r := n.send(request{method: "GET", path: rt.Path, token: token})
		for tok := range n.store.View().Tokens() {
			if bytes.Contains(r.body, []byte(tok.Hash)) {
				t.Errorf("%s shows a token's hash", rt.Path)
			}
		}
		if bytes.Contains(r.body, []byte("top secret")) || bytes.Contains(r.body, []byte("dG9wIHNlY3JldA")) {
			t.Errorf("%s shows the CA's key", rt.Path)
		}
	}
}

func TestIndexAndMetrics(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	page := string(n.send(request{method: "GET", path: "/"}).body)
	for _, s := range []string{"oak-name", "POST   /v1/jobs ", "/v1/openapi.json"} {
		if !strings.Contains(page, s) {
			t.Errorf("the index lacks %q:\n%s", s, page)
		}
	}
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
	runTask(t, n.store, "web", 0)
	r := n.send(request{method: "GET", path: "/metrics", token: token})
	r.want(t, 200)
	for _, s := range []string{
		`mesita_jobs{state="running"} 1`, `mesita_jobs{state="failed"} 0`, `mesita_node_tasks 0`, `mesita_job_tasks_running{job="web"} 1`, `mesita_build_info{version="1.2.3"} 1`,
		`mesita_tasks{state="TASK_RUNNING"} 1`, `mesita_nodes{state="ready"} 1`, "mesita_cpus_free 3.9\n", "mesita_incidents_open 0\n",
		`mesita_tasks{state="pending"} 1`, `mesita_partition_cpus_allocated{partition="default"} 0.1`, `mesita_partition_running{partition="default"} 1`,
		`mesita_partition_pending{partition="default"} 1`, `mesita_partition_frozen{partition="default"} 0`, `mesita_partition_fair{partition="default"} 0.5`, "mesita_is_leader 1\n",
		`mesita_http_requests_total{code="2xx",method="POST",path="/v1/jobs"} 1`, `mesita_http_request_duration_seconds_count{method="GET",path="/v1/jobs"} 0`, "process_start_time_seconds", "go_goroutines", "# TYPE mesita_http_requests_total counter",
	} {
		if !strings.Contains(string(r.body), s) {
			t.Errorf("the metrics lack %q:\n%s", s, r.body)
		}
	}
}

func TestListenerKinds(t *testing.T) {
	n := newLeader(t)
	for cred, status := range map[auth.Credentials]int{auth.TLS: 401, auth.Unix: 401, auth.Bearer: 401, auth.Open: 200} {
		s := n.listen(cred)
		res, err := s.Client().Do(n.newRequest(s, request{method: "GET", path: "/v1/tokens"}))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("listener %d: %s", cred, res.Status)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	n := newLeader(t)
	r := n.send(request{method: "GET", path: "/v1/openapi.json"})
	r.want(t, 200)
	var doc struct {
		Openapi    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct {
			Schemas map[string]struct {
				Properties map[string]map[string]any
			}
		}
	}
	if err := json.Unmarshal(r.body, &doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, rt := range routeTable(nil) {
		op, ok := doc.Paths[strings.Replace(rt.Path, "...}", "}", 1)][strings.ToLower(rt.Method)]
		if !ok || op.OperationID == "" || ids[op.OperationID] {
			t.Errorf("%s %s: %+v", rt.Method, rt.Path, op)
		}
		ids[op.OperationID] = true
	}
	// Every reference leads somewhere.
	for ref := range strings.SplitSeq(string(r.body), `"$ref":"#/components/schemas/`) {
		name, _, ok := strings.Cut(ref, `"`)
		if _, known := doc.Components.Schemas[name]; ok && name != "" && !strings.HasPrefix(name, "{") && !known {
			t.Errorf("no schema %q", name)
		}
	}
	spec := doc.Components.Schemas["JobSpec"].Properties
	for name, typ := range map[string]string{"command": "array", "cpus": "number", "stopGrace": "string", "kind": "string", "privileged": "boolean", "env": "object"} {
		if spec[name]["type"] != typ {
			t.Errorf("%s is a %v, not a %s", name, spec[name], typ)
		}
	}
	for _, name := range api.FieldNames(reflect.TypeFor[api.JobSpec]()) {
		if spec[name] == nil {
			t.Errorf("the description of a job lacks %s", name)
		}
	}
}

// FuzzDecodeSpec looks for a job file that passes the checks and breaks what
// comes after them: the log's encoding, and the same answer a second time.
func FuzzDecodeSpec(f *testing.F) {
	for _, s := range []string{webJob, `{}`, `{"kind":"batch","command":["x"],"array":"0-9","custom":{"a":1,"b":"1-2","c":["x"]}}`,
		`{"kind":"batch","command":["x"],"ports":["http","a=80"],"constraints":["a=b",{"attr":"c","op":"!=","value":"d"}],"time":"1h"}`,
		`{"kind":"service","name":"a","command":["x"],"mem":"1.5GiB","restart":{"delay":"1s"}}`, `null`, `[]`, `{"cpus":1e308}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := new(api.JobSpec)
		if err := api.DecodeStrict(bytes.NewReader(body), s); err != nil {
			if exchange.AsError(err).Code == api.CodeInternal && len(body) < 1<<16 {
				t.Logf("no code: %v", err)
			}
			return
		}
		s.Normalize()
		if s.Validate() != nil {
			return
		}
		if s.Need().CPUs <= 0 || s.Tasks() < 0 || s.Tasks() > math.MaxInt32 {
			t.Fatalf("%+v passed", s)
		}
		store := newStore(t)
		first, err := store.Do(t.Context(), &fsm.JobCreate{Spec: s})
		if err != nil {
			return
		}
		b, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("the job cannot be shown: %v", err)
		}
		var back api.Job
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("what is shown cannot be read: %v in %s", err, b)
		}
		if err := back.Spec.Validate(); err != nil {
			t.Fatalf("what is shown is not valid: %v in %s", err, b)
		}
	})
}

// A node whose log cannot be written says so, and by 503 to what watches it.
func TestHealthOfASickNode(t *testing.T) {
	n := newLeader(t)
	n.sick = api.Errorf(api.CodeUnavailable, "the raft log of this node cannot be written: no space")
	r := n.send(request{method: "GET", path: "/v1/health"})
	r.want(t, 503)
	if h := into[api.Health](t, r); !strings.Contains(h.Reason, "no space") || h.Node == "" {
		t.Errorf("%+v", h)
	}
}

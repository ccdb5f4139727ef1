package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// rowsPage is an answer of any list.
type rowsPage struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"`
	Total *int              `json:"total"`
	Index uint64            `json:"index"`
}

// crowded is a leader with several rows in each list.
func crowded(t testing.TB) (n *testNode, token string) {
	n = newLeader(t)
	meta := fsm.Meta{At: testTime}
	for _, id := range []string{"fir", "ash", "elm"} {
		addNode(t, n.store, id)
	}
	for _, path := range []string{"prod", "ml", "ml/train", "ml-two"} {
		p := &api.Partition{Path: path}
		p.Normalize()
		do(t, n.store, &fsm.PartitionPut{Meta: meta, Partition: p})
	}
	for i, array := range []string{"0-4", "8-19", "", "7-7"} {
		s := batchSpec(fmt.Sprintf("j%d", i*7)) // j14 comes before j7
		s.Array = array
		s.Normalize()
		do(t, n.store, &fsm.JobCreate{Meta: meta, Spec: s})
	}
	for i := range 3 {
		do(t, n.store, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: "j7", Index: 8 + i, Attempt: 1, NodeID: "oak"}}})
	}
	do(t, n.store, &fsm.TaskStop{Meta: meta, IDs: []string{"j7.13"}, Reason: api.ReasonStopped})
	for _, id := range []string{"fir", "ash", "elm"} {
		do(t, n.store, &fsm.NodeState{Meta: meta, ID: id, State: api.NodeUnreachable, Since: n.store.View().Node(id).Since})
		if id != "ash" {
			do(t, n.store, &fsm.NodeHello{Meta: meta, ID: id, Hello: api.NodeHello{Addr: "x:1"}})
		}
	}
	n.token(api.RoleViewer)
	return n, n.token(api.RoleAdmin)
}

func (n *testNode) pageOf(path string, q url.Values, token string) (p rowsPage) {
	n.t.Helper()
	r := n.send(request{method: "GET", path: path + "?" + q.Encode(), token: token})
	r.want(n.t, 200)
	if err := json.Unmarshal(r.body, &p); err != nil {
		n.t.Fatalf("%s: %v", r.body, err)
	}
	return p
}

// Whatever is listed, and by whatever it is sorted: the pages of any size are the
// whole list, each row once and in its order.
func TestPagesAreTheList(t *testing.T) {
	n, token := crowded(t)
	for _, user := range []string{"alice", "bob"} { // so that a report has several
		s := batchSpec("of-" + user)
		s.Normalize()
		do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime, Actor: user}, Spec: s})
		do(t, n.store, &fsm.TaskPlace{Meta: fsm.Meta{At: testTime}, Placements: []fsm.Placement{{Job: s.Name, Attempt: 1, NodeID: "oak"}}})
		do(t, n.store, &fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: s.Name + ".0", Attempt: 1, NodeID: "oak", State: api.TaskRunning, PID: 7, Time: testTime}}})
	}
	for _, id := range []string{"fa", "fb", "fc"} {
		addFramework(t, n.store, id, "default", "ml")
		launch(t, n.store, id, "default", "t1")
	}
	lists := 0
	for _, rt := range routeTable(n.server) {
		if rt.Key == nil {
			continue
		}
		lists++
		for _, sort := range append([]string{"", "-"}, sortable(rt)...) {
			q := url.Values{}
			if sort != "" && sort != "-" {
				q.Set("sort", sort)
			}
			if slices.Contains(rt.Query, "all") {
				q.Set("all", "1")
			}
			whole := n.pageOf(rt.Path, q, token)
			total := len(whole.Items)
			if rt.Path == "/v1/queue" { // of which a row is all that waits of a job
				total = 0
				for _, q := range into[struct{ Items []api.Queued }](t, n.send(request{method: "GET", path: rt.Path, token: token})).Items {
					total += q.Count
				}
			}
			if whole.Next != "" || whole.Total == nil || *whole.Total != total || len(whole.Items) < 2 {
				t.Fatalf("%s %v: %d rows, next %q, total %v", rt.Path, q, len(whole.Items), whole.Next, whole.Total)
			}
			for _, size := range []string{"1", "2", "3", "7"} {
				q.Set("limit", size)
				q.Del("cursor")
				var got []json.RawMessage
				for {
					p := n.pageOf(rt.Path, q, token)
					got = append(got, p.Items...)
					if (p.Total == nil) != q.Has("cursor") || p.Total != nil && *p.Total != total {
						t.Errorf("%s %v: total %v of %d", rt.Path, q, p.Total, total)
					}
					if p.Next == "" || len(got) > len(whole.Items) {
						break
					}
					q.Set("cursor", p.Next)
				}
				if !reflect.DeepEqual(got, whole.Items) {
					t.Errorf("%s %v: pages are\n%s\nthe list is\n%s", rt.Path, q, got, whole.Items)
				}
			}
		}
	}
	if lists < 6 {
		t.Errorf("only %d lists come in pages", lists)
	}
}

// How many rows there are is counted by what is kept of jobs, once a page is full:
// it is as many as there are, whatever is asked for, and whatever the caller sees.
func TestTotalsAreOfWhatIsListed(t *testing.T) {
	n, admin := crowded(t)
	meta := fsm.Meta{At: testTime}
	for _, of := range []struct{ name, array, partition, label string }{{"waits", "0-9", "ml/train", "a"}, {"ends", "3-8", "ml", "a"}, {"stopped", "0-4", "prod", "b"}, {"one", "", "ml", "b"}} {
		s := batchSpec(of.name)
		s.Array, s.Partition, s.Labels = of.array, of.partition, map[string]string{"of": of.label}
		s.Normalize()
		do(t, n.store, &fsm.JobCreate{Meta: meta, Spec: s})
	}
	for i, state := range []api.TaskState{api.TaskRunning, api.TaskFinished, api.TaskFailed} {
		do(t, n.store, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: "ends", Index: 3 + i, Attempt: 1, NodeID: "oak"}}})
		do(t, n.store, &fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: api.TaskID("ends", 3+i), Attempt: 1, NodeID: "oak", State: state, Time: testTime}}})
	}
	do(t, n.store, &fsm.JobStop{Meta: meta, ID: "stopped"})
	few := n.with("few", "viewer@ml")
	for _, token := range []string{admin, few} {
		for _, path := range []string{"/v1/jobs", "/v1/tasks", "/v1/tasks?fold=1", "/v1/tasks?job=ends", "/v1/tasks?job=ends&fold=1"} {
			for _, more := range []string{"", "all=1", "state=running", "state=pending", "label=of=a", "label=of!=a", "all=1&label=of=b", "state=stopped", "state=killed&all=1", "kind=batch"} {
				if strings.HasPrefix(path, "/v1/jobs") && (strings.Contains(more, "state=killed")) || strings.HasPrefix(path, "/v1/tasks") && (more == "kind=batch" || more == "state=stopped") {
					continue
				}
				at, query, _ := strings.Cut(path, "?")
				q, err := url.ParseQuery(query + "&" + more)
				if err != nil {
					t.Fatal(err)
				}
				there := 0
				for _, row := range n.pageOf(at, q, token).Items {
					r := struct{ Count int }{}
					if err := json.Unmarshal(row, &r); err != nil {
						t.Fatal(err)
					}
					there += max(r.Count, 1)
				}
				q.Set("limit", "1")
				if p := n.pageOf(at, q, token); p.Total == nil || *p.Total != there {
					t.Errorf("%s?%s&%s: total %v, and there are %d", at, query, more, p.Total, there)
				}
			}
		}
	}
}

// sortable are the fields that a list can be sorted by, both ways round.
func sortable(rt *exchange.Route) (out []string) {
	for _, name := range api.FieldNames(reflect.TypeOf(rt.Answer).Elem()) {
		if exchange.CheckSort(rt, name) == nil {
			out = append(out, name, "-"+name)
		}
	}
	return out
}

// A list that is sorted is in the order of its values, not of their digits.
func TestListsAreSortedByValue(t *testing.T) {
	n, token := crowded(t)
	for query, want := range map[string]string{
		"?sort=index&limit=4&all=1&job=j7":                   "j7.8 j7.9 j7.10 j7.11",
		"?sort=-index&limit=3":                               "j7.19 j7.18 j7.17",
		"?sort=state&state=staging&limit=1":                  "j0.0",
		"?sort=-pid&job=j7&all=1&limit=2":                    "j7.8 j7.9",
		"?sort=node&limit=2&job=j7":                          "j7.11 j7.12",
		"?sort=-node&limit=2&job=j7":                         "j7.8 j7.9",
		"?job=j7&limit=2&cursor=" + cursorOf("j7", 9):        "j7.10 j7.11",
		"?limit=2&cursor=" + cursorOf("j21", 7):              "j7.8 j7.9",
		"?limit=2&cursor=" + cursorOf("j200", 7):             "j21.7 j7.8", // of a job that is gone
		"?job=j7&limit=3&all=1&cursor=" + cursorOf("j7", 11): "j7.12 j7.13 j7.14",
	} {
		var ids []string
		for _, task := range into[items[api.Task]](t, n.send(request{method: "GET", path: "/v1/tasks" + query, token: token})).Items {
			ids = append(ids, task.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func cursorOf(job string, index int) string {
	return exchange.Cursor(taskKey(&api.Task{Job: job, Index: index}))
}

// A row has the fields that were asked for, and what is asked wrongly is named.
func TestFieldsOfRows(t *testing.T) {
	n, token := crowded(t)
	p := n.pageOf("/v1/tasks", url.Values{"fields": {"state,id"}, "job": {"j0"}, "limit": {"1"}}, token)
	if got := string(p.Items[0]); got != `{"state":"TASK_STAGING","id":"j0.0"}` {
		t.Errorf("%s", got)
	}
	if p := n.pageOf("/v1/events", url.Values{"fields": {"kind"}, "limit": {"1"}}, token); !strings.HasPrefix(string(p.Items[0]), `{"kind":`) || strings.Contains(string(p.Items[0]), ",") {
		t.Errorf("%s", p.Items)
	}
	for query, field := range map[string]string{"fields=idd": "fields.idd", "fields=": "fields", "sort=ports": "sort", "sort=nod": "sort.nod", "limit=0": "limit", "limit=1000001": "limit", "sort=job&limit=10001": "limit", "cursor=!": "cursor",
		"sort=index&cursor=" + cursorOf("j7", 9): "cursor", "cursor=" + exchange.Cursor("oak"): "cursor"} {
		if e := n.send(request{method: "GET", path: "/v1/tasks?" + query, token: token}).want(t, 400); e == nil || e.Field != field {
			t.Errorf("%s: %+v", query, e)
		}
	}
}

// A list that did not change is not sent again, whatever else did.
func TestListsHaveATag(t *testing.T) {
	n, token := crowded(t)
	first := n.send(request{method: "GET", path: "/v1/tasks", token: token})
	tag := first.Header.Get("Etag")
	do(t, n.store, &fsm.NodeDrain{Meta: fsm.Meta{At: testTime}, ID: "fir", Drain: true})
	for given, status := range map[string]int{tag: 304, `"other", ` + tag: 304, "*": 304, `"other"`: 200} {
		r := n.send(request{method: "GET", path: "/v1/tasks", token: token, header: http.Header{"If-None-Match": {given}}})
		if r.want(t, status); status == 304 && (len(r.body) > 0 || r.Header.Get("Etag") != tag) {
			t.Errorf("%s: %q, tag %s", given, r.body, r.Header.Get("Etag"))
		}
	}
	do(t, n.store, &fsm.TaskStop{Meta: fsm.Meta{At: testTime}, IDs: []string{"j0.2"}, Reason: api.ReasonStopped})
	n.send(request{method: "GET", path: "/v1/tasks", token: token, header: http.Header{"If-None-Match": {tag}}}).want(t, 200)
}

// Who takes it gets a long list compressed, through any node: in one piece or, as
// it is longer than what is held, in many.
func TestListsAreCompressed(t *testing.T) {
	n, token := crowded(t)
	s := batchSpec("wide")
	s.Array = "0-9999"
	s.Normalize()
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: s})
	other := newTestNode(t, n.world, "fir", n.store)
	for _, at := range []*testNode{n, other} {
		for _, limit := range []string{"1000", "10000"} {
			get := func(accept string) reply {
				r := at.send(request{method: "GET", path: "/v1/tasks?job=wide&limit=" + limit, token: token, header: http.Header{"Accept-Encoding": {accept}}})
				r.want(t, 200)
				return r
			}
			plain := get("identity")
			for accept, zipped := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "deflate": false} {
				r := get(accept)
				body := r.body
				if (r.Header.Get("Content-Encoding") == "gzip") != zipped {
					t.Errorf("%s of %s: encoding %q", limit, accept, r.Header.Get("Content-Encoding"))
				}
				if zipped {
					z, err := gzip.NewReader(bytes.NewReader(r.body))
					if err != nil {
						t.Fatal(err)
					}
					if body, err = io.ReadAll(z); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(body, plain.body) || len(body) < 100_000 {
					t.Errorf("%s of %s: %d bytes, %d as they are", limit, accept, len(body), len(plain.body))
				}
			}
		}
	}
}

// What waits and differs in its number alone is one row, counted with its tasks.
func TestWaitingTasksAreFolded(t *testing.T) {
	n, token := crowded(t)
	show := func(query string) (out []string, total int) {
		r := n.send(request{method: "GET", path: "/v1/tasks?fold=1" + query, token: token})
		r.want(t, 200)
		var l struct {
			Items []api.TaskRun `json:"items"`
			Total int           `json:"total"`
		}
		if err := json.Unmarshal(r.body, &l); err != nil {
			t.Fatal(err)
		}
		for _, run := range l.Items {
			out = append(out, fmt.Sprintf("%s-%d(%d)", run.ID, run.Through, run.Count))
		}
		return out, l.Total
	}
	for query, want := range map[string]string{
		"":                       "[j0.0-4(5) j14.0-0(1) j21.7-7(1) j7.8-8(1) j7.9-9(1) j7.10-10(1) j7.11-12(2) j7.14-19(6)] 18",
		"&limit=1":               "[j0.0-4(5)] 18",
		"&job=j7&all=1&limit=5":  "[j7.8-8(1) j7.9-9(1) j7.10-10(1) j7.11-12(2) j7.13-13(1)] 12",
		"&state=pending&limit=2": "[j0.0-4(5) j14.0-0(1)] 15",
	} {
		rows, total := show(query)
		if got := fmt.Sprint(rows, " ", total); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// BenchmarkListWaiting is a page of a long list of tasks that wait, in arrays and
// in jobs of one.
func BenchmarkListWaiting(b *testing.B) {
	for name, jobs := range map[string]int{"arrays": 4, "jobs": 200_000} {
		n := newLeader(b)
		for i := range jobs {
			s := &api.JobSpec{Name: fmt.Sprintf("a%d", i), Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", 200_000/jobs-1), TaskSpec: api.TaskSpec{Command: []string{"x"}}}
			s.Normalize()
			do(b, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: s})
		}
		token := n.token(api.RoleViewer)
		for _, query := range []string{"", "?fold=1", "?sort=-created", "?limit=1000000"} {
			b.Run(name+query, func(b *testing.B) {
				for b.Loop() {
					n.send(request{method: "GET", path: "/v1/tasks" + query, token: token}).want(b, 200)
				}
			})
		}
	}
}

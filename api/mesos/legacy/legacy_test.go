package legacy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// every are the paths of all pages.
func every() (out []string) {
	for _, r := range Routes(Config{Master: master{}}) {
		if r.Method == http.MethodGet {
			out = append(out, strings.ReplaceAll(r.Path, "{id}", "oak"))
		}
	}
	return out
}

// Each page is JSON of one value, at two paths, whatever the method, and has nothing that
// its reader may not see.
func TestPagesAreJSON(t *testing.T) {
	w := known(t, auth.Anybody)
	n := 0
	for _, path := range every() {
		if strings.HasSuffix(path, "/health") {
			continue
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			status, _, body := w.send(method, path, "", nil)
			if slices.Contains([]string{"/quota", "/weights", "/maintenance/schedule"}, strings.TrimPrefix(path, "/master")) && method == http.MethodPost {
				if status != http.StatusNotImplemented {
					t.Errorf("%s: %d %s", path, status, body)
				}
				continue
			}
			if status != 200 || !json.Valid([]byte(body)) || strings.Contains(body, "secret") || strings.Contains(body, "null") {
				t.Errorf("%s %s: %d %s", method, path, status, body)
			}
			n++
		}
	}
	if n < 60 {
		t.Errorf("only %d answers", n)
	}
}

// Who sees one partition sees its frameworks, tasks and offers, and nothing of others';
// nodes are everybody's.
func TestPagesShowWhatTheirReaderSees(t *testing.T) {
	w := known(t, auth.Bearer)
	for _, c := range []struct{ rights, sees, not string }{
		{"viewer", "marathon chronos app.1 web.0 o2 prod dev", ""},
		{"viewer@prod", "marathon app.1 web.0 prod", "chronos o2 dev"},
		{"deployer@dev", "chronos o2 dev", "marathon app.1 web.0 prod f1"},
		{"viewer@prod/web*", "web.0", "marathon app.1 chronos o2 f1 f2"},
	} {
		token := w.token(c.rights)
		var all strings.Builder
		for _, path := range []string{"/state", "/state-summary", "/frameworks", "/tasks", "/roles", "/quota", "/weights"} {
			status, _, body := w.get(path, token)
			if status != 200 {
				t.Errorf("%s: %s: %d %s", c.rights, path, status, body)
			}
			all.WriteString(body)
		}
		for word := range strings.FieldsSeq(c.sees) {
			if !strings.Contains(all.String(), `"`+word+`"`) {
				t.Errorf("%s does not see %s", c.rights, word)
			}
		}
		for word := range strings.FieldsSeq(c.not) {
			if strings.Contains(all.String(), `"`+word+`"`) {
				t.Errorf("%s sees %s", c.rights, word)
			}
		}
		got := map[string]float64{}
		w.read("/metrics/snapshot", token, &got)
		if want := map[string]float64{"viewer": 2, "viewer@prod": 2, "deployer@dev": 0, "viewer@prod/web*": 1}[c.rights]; got["master/tasks_running"] != want {
			t.Errorf("%s: %v tasks run", c.rights, got["master/tasks_running"])
		}
	}
	for _, path := range every() {
		want := http.StatusUnauthorized
		if page := strings.TrimPrefix(path, "/master"); page == "/health" || page == "/version" {
			want = http.StatusOK
		}
		if status, h, body := w.get(path, ""); status != want || want == http.StatusUnauthorized && !strings.HasPrefix(h.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("a stranger: %s: %d %s", path, status, body)
		}
	}
}

// A page may be had of one thing alone, by the end of its path or by a parameter.
func TestPagesOfOneThing(t *testing.T) {
	w := known(t, auth.Anybody) // where both tasks began to run at the same time
	w.now = w.now.Add(time.Minute)
	w.runJob(&api.JobSpec{Name: "later", Kind: api.KindService, Count: new(1), Partition: "dev", TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 1 << 20, Ports: []api.PortRequest{{Name: "http"}}}}}}, "elm", 31003)
	for path, want := range map[string]string{
		"/slaves/oak": "oak", "/slaves?slave_id=elm": "elm", "/slaves/nobody": "", "/frameworks/f1": "f1", "/frameworks/?framework_id=f2": "f2", "/frameworks/mesita": "mesita",
		"/tasks/?task_id=app.1&framework_id=f1": "app.1", "/tasks?framework_id=mesita&limit=1": "later.0", "/tasks?framework_id=mesita&order=asc": "web.0 later.0", "/tasks?framework_id=mesita": "later.0 web.0", "/tasks?framework_id=f2": "", "/tasks/web.0": "web.0",
		"/tasks?framework_id=mesita&offset=1": "web.0", "/tasks?limit=1&offset=3": "", "/tasks?limit=1": "later.0", "/tasks?limit=0": "", "/tasks?offset=9": "",
	} {
		var got struct{ Slaves, Frameworks, Tasks []struct{ ID string } }
		w.read(path, "", &got)
		var ids []string
		for _, x := range slices.Concat(got.Slaves, got.Frameworks, got.Tasks) {
			ids = append(ids, x.ID)
		}
		if strings.Join(ids, " ") != want {
			t.Errorf("%s: %v, not %s", path, ids, want)
		}
	}
	for _, path := range []string{"/tasks?limit=x", "/tasks?order=up", "/tasks?limit=-1", "/state?limit=1", "/state?jsonp=a&jsonp=b"} {
		if status, h, body := w.get(path, ""); status != 400 || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// Tasks that have ended are told of as such, a framework that was removed, too.
func TestWhatHasEnded(t *testing.T) {
	w := known(t, auth.Anybody)
	w.report(w.store.View().FrameworkTask("f1", "app.1"), api.TaskFinished)
	var s exporterState
	w.read("/state", "", &s)
	if f := s.Frameworks[0]; len(f.Tasks) != 0 || len(f.Completed) != 1 || f.Completed[0].State != "TASK_FINISHED" {
		t.Errorf("%+v", f)
	}
	w.do(&fsm.FrameworkRemove{Meta: meta, ID: "f1"})
	var got struct {
		Frameworks, Completed []struct {
			ID           string
			Active       bool
			Unregistered float64 `json:"unregistered_time"`
		}
		Gone []struct {
			ID           string
			Active       bool
			Unregistered float64 `json:"unregistered_time"`
		} `json:"completed_frameworks"`
	}
	w.read("/frameworks", "", &got)
	if len(got.Frameworks) != 2 || len(got.Gone) != 1 || got.Gone[0].ID != "f1" || got.Gone[0].Unregistered == 0 {
		t.Errorf("%+v", got)
	}
}

// A function's name and nothing else is taken for JSONP, and from pages of this server
// alone: others would read what is of the browser's user.
func TestJSONP(t *testing.T) {
	w := known(t, auth.Anybody)
	for _, name := range []string{"f", "angular.callbacks._0", "jQuery110_1", "$x"} {
		status, h, body := w.get("/state-summary?jsonp="+name+"&_=123", "")
		if status != 200 || h.Get("Content-Type") != "text/javascript" || !strings.HasPrefix(body, name+"({") || !strings.HasSuffix(body, "});") {
			t.Errorf("%s: %d %v %s", name, status, h, body)
		}
	}
	for _, name := range []string{"1f", "alert(1)//", "a b", "<script>", ".a", "ä", strings.Repeat("f", 129), "a-b", "a[0]"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/state", nil)
		r.URL.RawQuery = "jsonp=" + strings.NewReplacer(" ", "+", "<", "%3C").Replace(name)
		rec := httptest.NewRecorder()
		w.mux.ServeHTTP(rec, r)
		if rec.Code != 400 || !strings.Contains(rec.Body.String(), "'jsonp'") {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	host := strings.TrimPrefix(w.http.URL, "http://")
	for _, c := range []struct {
		header []string
		status int
	}{
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200}, {[]string{"Sec-Fetch-Site", "none"}, 200}, {[]string{"Sec-Fetch-Site", "cross-site"}, 403}, {[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Referer", "http://" + host + "/x"}, 200}, {[]string{"Referer", "http://evil.example/x"}, 403}, {[]string{"User-Agent", "Mozilla/5.0"}, 403}, {[]string{"User-Agent", "curl/8"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site", "Referer", "http://" + host + "/x"}, 403},
	} {
		if status, _, body := w.get("/version?jsonp=f", "", c.header...); status != c.status {
			t.Errorf("%v: %d %s", c.header, status, body)
		}
	}
}

// The form of Mesos ends a framework, for who may.
func TestTeardown(t *testing.T) {
	w := known(t, auth.Bearer)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	admin := w.token("admin")
	for _, c := range []struct {
		rights, body string
		status       int
		says         string
	}{
		{"deployer@prod", "", 400, "Missing 'frameworkId'"}, {"deployer@prod", "frameworkId=nobody", 400, "No framework found with specified ID"}, {"deployer@prod", "frameworkId=%zz", 400, "decode"},
		{"viewer", "frameworkId=f1", 403, ""}, {"deployer@dev", "frameworkId=f1", 400, "No framework found with specified ID"}, {"deployer@prod", "frameworkId=mesita", 400, "No framework"},
		{"deployer@prod", "frameworkId=" + strings.Repeat("x", maxForm), 413, ""}, {"deployer@prod", "frameworkId=f1", 200, ""}, {"deployer@prod", "frameworkId=f1", 400, "No framework found"},
	} {
		token := w.token(c.rights)
		before := w.store.View().Index()
		status, _, body := w.send(http.MethodPost, "/teardown", token, strings.NewReader(c.body), form...)
		if status != c.status || !strings.Contains(body, c.says) || status == 200 && body != "" || (w.store.View().Index() != before) != (status == 200) {
			t.Errorf("%s %.40s: %d %s", c.rights, c.body, status, body)
		}
	}
	if f := w.store.View().Framework("f1"); f.Ended.IsZero() {
		t.Error("it has not ended")
	}
	if status, h, _ := w.get("/master/teardown", admin); status != 405 || h.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", status, h)
	}
}

// Texts are written as encoding/json writes them, and one value after the other is sent in
// parts.
func TestWriter(t *testing.T) {
	var sent []string
	w := &writer{send: func(b []byte) error { sent = append(sent, string(b)); return nil }}
	words := []string{"", "plain", "\"\\/\b\f\n\r\t", "<script>&\u2028", "\x00\xff\xc3", "äöü€😀", strings.Repeat("x", part)}
	w.open("", '[')
	for range 3 {
		w.open("", '{')
		w.texts("words", words)
		w.number("n", 4)
		w.number("m", -0.125)
		w.number("big", 1e21)
		w.flag("yes", true)
		w.count("count", -3)
		w.raw("raw", []byte(`{"a":[]}`))
		w.texts("none", nil)
		w.close('}')
	}
	w.close(']')
	w.flush()
	var got []map[string]any
	if err := json.Unmarshal([]byte(strings.Join(sent, "")), &got); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(words)
	if err != nil {
		t.Fatal(err)
	}
	var want []any
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !reflect.DeepEqual(got[2]["words"], want) || got[1]["n"] != 4.0 || got[1]["m"] != -0.125 || got[1]["big"] != 1e21 || got[0]["count"] != -3.0 || len(sent) < 3 {
		t.Errorf("%d parts, %.300v", len(sent), got[0])
	}
	if !strings.Contains(strings.Join(sent, ""), `"n":4.0,`) {
		t.Errorf("a number is told without a point: %.300s", sent[0][part:])
	}
}

// stuck is a reader that takes the beginning of an answer, and no more.
type stuck struct {
	http.ResponseWriter
	begun chan struct{}
	over  context.Context
	took  int
}

func (s *stuck) Write(b []byte) (int, error) {
	if s.took++; s.took == 1 {
		close(s.begun)
	}
	<-s.over.Done()
	return 0, errors.New("it does not read")
}

// Who does not read what it asked for holds up nobody but itself: the state changes, and
// others read it. Of itself, one answer at a time is made.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	w := known(t, auth.Bearer)
	slow, other := w.token("viewer"), w.token("viewer")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ask := func(rw http.ResponseWriter, ctx context.Context, token string) {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/state", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		w.mux.ServeHTTP(rw, r)
	}
	s := &stuck{ResponseWriter: httptest.NewRecorder(), begun: make(chan struct{}), over: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ask(s, ctx, slow)
	}()
	<-s.begun
	w.partition(&api.Partition{Path: "later"})
	if status, _, body := w.get("/roles", other); status != 200 || !strings.Contains(body, "later") {
		t.Errorf("%d %s", status, body)
	}
	for _, small := range []string{"/metrics/snapshot", "/flags", "/system/stats.json", "/quota", "/weights", "/maintenance/status", "/version"} {
		if status, _, body := w.get(small, slow); status != 200 {
			t.Errorf("%s waits behind a large answer: %d %s", small, status, body)
		}
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	rec := httptest.NewRecorder()
	ask(rec, gone, slow) // its turn does not come
	if rec.Code == 200 {
		t.Error("a caller has two answers made at a time")
	}
	cancel()
	<-done
}

// What is reserved of a node is told by role, is in use as far as tasks have it, and on
// offer as far as that: a node has each amount once.
func TestPagesTellWhatIsReserved(t *testing.T) {
	w := known(t, auth.Anybody)
	w.do(&fsm.ReservationChange{Meta: meta, NodeID: "elm", Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "dev", Resources: api.Resources{CPUs: 500}}}})
	for r := range w.store.View().Reservations("elm") {
		w.do(&fsm.OfferMake{Meta: meta, Offers: []*api.Offer{{ID: "o9", Framework: "f2", Partition: "dev", NodeID: "elm", Reserved: []api.Reserved{{Reservation: r.ID, Resources: api.Resources{CPUs: 200}}}}}})
	}
	for _, path := range []string{"/state", "/slaves", "/state-summary"} {
		var s struct {
			Slaves []struct {
				ID         string
				Resources  resources
				Used       resources                                `json:"used_resources"`
				Offered    resources                                `json:"offered_resources"`
				Reserved   map[string]resources                     `json:"reserved_resources"`
				Unreserved resources                                `json:"unreserved_resources"`
				Full       map[string][]struct{ Name, Role string } `json:"reserved_resources_full"`
			}
		}
		w.read(path, "", &s)
		for _, n := range s.Slaves {
			if n.ID != "elm" {
				if len(n.Reserved) > 0 {
					t.Errorf("%s: %+v", path, n)
				}
				continue
			}
			if n.Resources.CPUs != 2 || n.Used.CPUs != 0.25 || n.Offered.CPUs != 1.2 || n.Unreserved.CPUs != 1.5 || len(n.Reserved) != 1 || n.Reserved["dev"].CPUs != 0.5 {
				t.Errorf("%s: %+v", path, n)
			}
			if path == "/slaves" && (len(n.Full["dev"]) != 1 || n.Full["dev"][0].Role != "dev" || n.Full["dev"][0].Name != "cpus") {
				t.Errorf("%s: %+v", path, n.Full)
			}
		}
	}
}

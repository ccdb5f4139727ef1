package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
)

// mover is a job that is moved between partitions, changed, made anew, and whose task
// fails. All that is said of it says where it was then.
type mover struct {
	batch bool // it is moved while it waits, and put back for that
	t     testing.TB
	store *fsm.Store
	said  int
	where string            // it is now
	began map[string]string // whose version an attempt is of
}

func (m *mover) word(where string) string {
	m.said++
	return fmt.Sprintf("said-in-%s-%d", strings.ReplaceAll(where, "/", "."), m.said)
}

func (m *mover) meta(where string) fsm.Meta {
	word := m.word(where)
	return fsm.Meta{At: m.now(), Actor: word}
}

func (m *mover) now() time.Time { return testTime.Add(time.Duration(m.said) * time.Second) }

func (m *mover) spec(where string) *api.JobSpec {
	s := &api.JobSpec{Name: "shop", Kind: api.KindService, Partition: where, Count: new(2), TaskSpec: api.TaskSpec{Command: []string{m.word(where)}}}
	if m.batch {
		s.Kind, s.Count, s.Retries = api.KindBatch, nil, 100
	}
	s.Normalize()
	return s
}

func (m *mover) make(where string) {
	if j := m.store.View().Job("shop"); j != nil {
		do(m.t, m.store, &fsm.JobStop{Meta: m.meta(m.where), ID: "shop"})
		m.report(0, api.TaskKilled)
		m.report(1, api.TaskKilled)
	}
	do(m.t, m.store, &fsm.JobCreate{Meta: m.meta(where), Spec: m.spec(where)})
	m.where = where
}

func (m *mover) move(where string) {
	if m.batch {
		if t := m.task(0); t.NodeID != "" {
			do(m.t, m.store, &fsm.JobRequeue{Meta: m.meta(m.where), ID: "shop"})
			m.report(0, api.TaskKilled)
		}
		do(m.t, m.store, &fsm.JobSet{Meta: m.meta(where), ID: "shop", Spec: m.spec(where)})
		m.where = where
		return
	}
	do(m.t, m.store, &fsm.JobUpdate{Meta: m.meta(where), ID: "shop", Spec: m.spec(where)})
	m.where = where
}

func (m *mover) key(t *api.Task) string { return fmt.Sprint(t.Attempt) }

// start starts the tasks that wait. The second one lives on, so that the job does.
func (m *mover) start() {
	for i := range m.store.View().Job("shop").Spec.Tasks() {
		t := m.task(i)
		if t == nil || t.NodeID != "" || t.State.Final() {
			continue
		}
		if i == 0 {
			m.began[m.key(t)] = m.store.View().Job("shop").SpecOf(t.Version).Partition
		}
		do(m.t, m.store, &fsm.TaskPlace{Meta: m.meta(m.where), Placements: []fsm.Placement{{Job: "shop", Index: i, Attempt: t.Attempt, NodeID: "oak"}}})
		m.report(i, api.TaskRunning)
	}
}

func (m *mover) task(i int) *api.Task { return m.store.View().TaskOf("shop", i) }

// report says what became of a task, if it was started, in words of where it was then.
func (m *mover) report(i int, state api.TaskState) {
	t := m.task(i)
	if t == nil || t.NodeID == "" || t.State.Final() {
		return
	}
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: "oak", State: state, PID: 7, Time: m.now()}
	if i == 0 && state.Final() {
		where := m.began[m.key(t)]
		if where != m.where { // its end is an event of there, and its attempt of here
			where = "prod/both"
		}
		if st.Message = m.word(where); m.said%2 == 0 { // else it is what the event says
			st.Reason = api.ReasonExited
		}
	}
	do(m.t, m.store, &fsm.TaskReport{Meta: m.meta(m.where), Statuses: []api.TaskStatus{st}})
}

// stop stops the first task by itself, which stays so where its job moves.
func (m *mover) stop() {
	if t := m.task(0); t != nil && t.NodeID != "" && !t.State.Final() {
		do(m.t, m.store, &fsm.TaskStop{Meta: m.meta(m.where), IDs: []string{t.ID}, Reason: api.ReasonStopped})
		m.report(0, api.TaskKilled)
	}
}

// realWhy is the fake of all but of why, which the scheduler says.
type realWhy struct {
	Planner
	why scheduler.Planner
}

func (p realWhy) Explain(v *fsm.View, id string) (*api.Why, error) { return p.why.Explain(v, id) }

var saidIn = regexp.MustCompile(`said-in-([a-z.]+)-(\d+)`)

// Wherever a job was, and whatever it did there: who may read its logs where it is now
// is told nothing of when it was where it may not, by any route; and all of since it
// came. Who sees all jobs is told all.
func TestWhatWasElsewhereIsNotTold(t *testing.T) {
	told := map[string]int{}
	draw.Check(t, func(r *rapid.T) {
		level := rapid.SampledFrom([]fsm.Level{fsm.JobPlaces.Level() - 1, fsm.Newest}).Draw(r, "level")
		n := quietNode(t, newWorld(), "oak", newStoreAt(t, level), func(c *Config) {
			c.Planner = realWhy{c.Planner, scheduler.Planner{Now: c.Now, Begin: func(v *fsm.View) scheduler.Round { return allocator.Begin(v) }}}
		})
		n.world.lead("oak")
		for _, p := range []string{"prod", "prod/eu", "dev", "lab"} {
			do(t, n.store, &fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Partition: &api.Partition{Path: p}})
		}
		h, some, all := n.server.Handler(auth.TLS), n.with("", "viewer@prod"), n.with("", "viewer")
		n.fakeLocal.logs = func(context.Context, LogQuery, func(*LogPiece) error) error { return nil }
		m := &mover{t: t, store: n.store, began: map[string]string{}, batch: level == fsm.Newest && rapid.Bool().Draw(r, "batch")}
		m.make(rapid.SampledFrom([]string{"prod", "dev"}).Draw(r, "begins"))
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			where := rapid.SampledFrom([]string{"prod", "prod", "prod/eu", "dev", "lab"}).Draw(r, "where")
			step := rapid.SampledFrom([]string{"start", "fail", "fail", "move", "change", "again", "end", "stop", "wander", "raise"}).Draw(r, "step")
			if m.batch && (step == "end" || step == "stop") { // which would end it
				step = "fail"
			}
			switch step {
			case "start":
				m.start()
			case "fail":
				m.start()
				m.report(0, api.TaskFailed)
			case "end":
				m.start()
				m.report(0, api.TaskFinished)
			case "stop":
				m.start()
				m.stop()
			case "move":
				m.move(where)
			case "change":
				m.move(m.where)
			case "wander": // until where it was before is not remembered
				for i := range api.MaxPlaces + 1 {
					m.move([]string{"prod", "prod/eu"}[i%2])
				}
			case "raise":
				if n.store.View().Level() < fsm.Newest {
					do(t, n.store, &fsm.LevelSet{Meta: fsm.Meta{At: testTime}, Level: fsm.Newest})
				}
			case "again":
				m.make(where)
			}
			if where == m.where {
				m.look(r, n, h, some, all, told)
			}
		}
		m.look(r, n, h, some, all, told)
	})
	for _, path := range []string{"/v1/events", "/v1/incidents", "/v1/tasks", "/v1/tasks/{id}", "/v1/jobs/{id}", "/v1/jobs/{id}/why", "/v1/tasks/{id}/why", "all /v1/events", "all /v1/incidents", "all /v1/tasks/{id}/why", "folded", "logs"} {
		if told[path] == 0 {
			t.Errorf("%s never told anything: %v", path, told)
		}
	}
}

// past is what one caller is told, by route; and all who may look.
func past(n *testNode, h http.Handler, token string) map[string]string {
	out := map[string]string{}
	for _, rt := range routeTable(nil) {
		if rt.Method != http.MethodGet || rt.Action != auth.Look || strings.HasPrefix(rt.Path, "/v1/local") {
			continue
		}
		path := strings.NewReplacer("/jobs/{id}", "/jobs/shop", "/tasks/{id}", "/tasks/shop.0").Replace(rt.Path)
		switch {
		case strings.Contains(path, "{"):
			continue
		case path == "/v1/events":
			path += "?limit=1000"
		case path == "/v1/tasks":
			path += "?all=1"
		case path == "/v1/report":
			path += "?by=job"
		}
		out[rt.Path] = ask(h, path, token).Body.String()
		if rt.Path == "/v1/tasks" {
			out["folded"] = ask(h, path+"&fold=1", token).Body.String()
		}
	}
	return out
}

func ask(h http.Handler, path, token string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	h.ServeHTTP(w, r)
	return w
}

func (m *mover) look(r *rapid.T, n *testNode, h http.Handler, some, all string, told map[string]int) {
	sees := func(where string) bool { return strings.HasPrefix(where, "prod") }
	everything := past(n, h, all)
	for path, body := range past(n, h, some) {
		for _, w := range saidIn.FindAllStringSubmatch(body, -1) {
			if told[path]++; !sees(w[1]) {
				r.Fatalf("GET %s tells %s: %s", path, w[0], body)
			}
		}
		if sees(m.where) && path != "/v1/partitions" && strings.Contains(body, `"partition":"dev"`) {
			told["tasks of before"]++
			if !strings.Contains(path, "asks") && path != "folded" && path != "/v1/events" { // a task runs on as it was
				r.Fatalf("GET %s tells where the job was: %s", path, body)
			}
		}
		for _, w := range saidIn.FindAllStringSubmatch(everything[path], -1) {
			if !sees(w[1]) {
				told["all "+path]++
			}
		}
		if path == "/v1/events" && sees(m.where) {
			m.nothingIsLeftOut(r, body)
		}
	}
	for attempt := range 1 + m.task(0).Attempt {
		began := m.began[fmt.Sprint(attempt)]
		reply := ask(h, fmt.Sprintf("/v1/tasks/shop.0/logs?attempt=%d", attempt), some)
		if attempt > 0 && began != "" && reply.Code == 200 && !(sees(began) && sees(m.where)) {
			r.Fatalf("the log of attempt %d, which began in %s, is shown of the job in %s: %s", attempt, began, m.where, reply.Body)
		}
		if reply.Code == 200 {
			told["logs"]++
		}
	}
	if j := m.store.View().Job("shop"); sees(m.where) != (ask(h, "/v1/jobs/shop", some).Code == 200) || len(j.Places) > api.MaxPlaces {
		r.Fatalf("the job is in %s: %+v", m.where, j.Places)
	}
}

// nothingIsLeftOut holds that all that happened since the job came to where it is, and
// in places before that the caller sees, is told.
func (m *mover) nothingIsLeftOut(r *rapid.T, body string) {
	places := m.store.View().Job("shop").Places
	if len(places) == 0 { // as below the level
		return
	}
	first := places[0].Event
	for _, e := range m.store.EventsBefore(1<<60, 1<<20) {
		if about := e.Job == "shop" || e.Object == "shop"; about && e.Index >= first && strings.HasPrefix(e.Actor, "said-in-prod") && !strings.Contains(body, e.Actor+`"`) {
			r.Fatalf("event %d, %s by %s, is not told: %s", e.Index, e.Kind, e.Actor, body)
		}
	}
}

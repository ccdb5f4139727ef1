package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// mirror is what a client holds that takes the lists once and follows the events.
type mirror struct {
	t         testing.TB
	h         http.Handler
	token     string
	all       bool   // it sees all jobs
	after     uint64 // the last event that it has
	listed    int    // how often it took the lists
	hidden    int
	jobs      map[string]*api.Job
	tasks     map[string]*api.Task
	nodes     map[string]*api.Node
	incidents map[uint64]*api.Incident
}

// rows are those of a list, and the event to continue after.
func rows[T any](m *mirror, path string) ([]T, uint64) {
	m.t.Helper()
	var out struct {
		Items []T    `json:"items"`
		Event uint64 `json:"event"`
	}
	w := ask(m.h, path, m.token)
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
		m.t.Fatalf("%s: %d %v", path, w.Code, err)
	}
	return out.Items, out.Event
}

// take takes the lists.
func (m *mirror) take() {
	m.t.Helper()
	m.listed++
	m.jobs, m.tasks, m.nodes, m.incidents = map[string]*api.Job{}, map[string]*api.Task{}, map[string]*api.Node{}, map[uint64]*api.Incident{}
	jobs, after := rows[*api.Job](m, "/v1/jobs?all=1")
	for m.after = after; len(jobs) > 0; jobs = jobs[1:] {
		jobs[0].History = nil // events go without
		m.jobs[jobs[0].ID] = jobs[0]
	}
	tasks, _ := rows[*api.Task](m, "/v1/tasks?all=1")
	for _, t := range tasks {
		if j := m.jobs[t.Job]; j == nil || j.Spec.Kind != api.KindBatch || t.Index < j.Made || t.State.Final() {
			m.tasks[t.ID] = t
		}
	}
	nodes, _ := rows[*api.Node](m, "/v1/nodes")
	for _, n := range nodes {
		m.nodes[n.ID] = n
	}
	incidents, _ := rows[*api.Incident](m, "/v1/incidents")
	for _, n := range incidents {
		m.incidents[n.ID] = n
	}
}

// body is what a stream has sent so far.
type body struct {
	mu sync.Mutex
	*httptest.ResponseRecorder
}

func (b *body) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ResponseRecorder.Write(p)
}

// follow reads all events up to now. It may be cut off at any of them, as a client that
// continues after the index that it saw last must be.
func (m *mirror) follow(cut func() bool) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	w, r := &body{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/v1/events", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+m.token)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Last-Event-ID", fmt.Sprint(m.after))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.h.ServeHTTP(w, r)
	}()
	synctest.Wait() // until it has nothing more to say
	cancel()
	<-done
	switch w.Code {
	case 200:
	case 409:
		m.take()
		return
	default:
		m.t.Fatalf("%d %s", w.Code, w.Body)
	}
	for block := range strings.SplitSeq(w.Body.String(), "\n\n") {
		_, data, ok := strings.Cut(block, "\ndata: ")
		if !ok {
			continue
		}
		var e api.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			m.t.Fatal(err)
		}
		m.apply(&e)
		if m.after = e.Index; cut() {
			m.follow(func() bool { return false })
			return
		}
	}
}

func (m *mirror) forget(job string) {
	delete(m.jobs, job)
	maps.DeleteFunc(m.tasks, func(_ string, t *api.Task) bool { return t.Job == job })
	maps.DeleteFunc(m.incidents, func(_ uint64, n *api.Incident) bool { return !m.all && n.Job == job })
}

func (m *mirror) apply(e *api.Event) {
	p := &e.Payload
	switch e.Kind {
	case api.EventJobHidden:
		m.hidden++
		fallthrough
	case api.EventJobRemoved:
		m.forget(e.Object)
		return
	case api.EventJobCreated:
		maps.DeleteFunc(m.tasks, func(_ string, t *api.Task) bool { return t.Job == e.Job })
	case api.EventTaskRemoved:
		delete(m.tasks, e.Object)
	case api.EventIncidentRemoved:
		delete(m.incidents, e.Incident)
		return
	}
	if e.Task != nil {
		m.tasks[e.Task.ID] = e.Task
	}
	if p.Job != nil {
		m.jobs[p.Job.ID] = p.Job
	}
	if j := m.jobs[e.Job]; p.Sum != nil && j != nil {
		j.Take(*p.Sum)
	}
	if p.Node != nil {
		m.nodes[p.Node.ID] = p.Node
	}
	if p.Incident != nil {
		m.incidents[p.Incident.ID] = p.Incident
	}
}

// shows is what the mirror holds, as lists show it.
func (m *mirror) shows() []string {
	var out []string
	add := func(what string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			m.t.Fatal(err)
		}
		out = append(out, what+" "+string(b))
	}
	for _, j := range m.jobs {
		add("job", j)
		for i := j.Made; i < j.Made+j.Unmade()+j.Skipped; i++ {
			if m.tasks[api.TaskID(j.ID, i)] == nil {
				add("task", j.UnmadeTask(i))
			}
		}
	}
	for _, t := range m.tasks {
		add("task", t)
	}
	for _, n := range m.nodes {
		if n.State != api.NodeGone {
			add("node", n)
		}
	}
	for _, n := range m.incidents {
		add("incident", n)
	}
	slices.Sort(out)
	return out
}

// Who takes the lists and follows the events holds what the lists show, whatever
// happens, wherever the stream ends, and whether it sees all or only where a job is at
// times, or what it may see is another by now: from one event on which a snapshot or a
// change of its rights cut off, it is told to take them again.
func TestEventsMirrorTheLists(t *testing.T) {
	var listed, hidden int
	for seed := range uint64(48) {
		synctest.Test(t, func(t *testing.T) {
			some, all := mirrored(t, rand.New(rand.NewPCG(seed, 11)), seed%2 == 1)
			listed, hidden = listed+some.listed, hidden+some.hidden
			if all.listed != 1 {
				t.Errorf("who sees all had to take the lists %d times", all.listed)
			}
		})
	}
	if hidden < 20 || listed < 30 {
		t.Errorf("a job was hidden %d times, lists were taken %d times: the test tests little", hidden, listed)
	}
}

// mirrored has things happen to a job, which is old if it was made before jobs said
// where they were.
func mirrored(t *testing.T, r *rand.Rand, old bool) (some, all *mirror) {
	level := fsm.Newest
	if old {
		level = fsm.JobPlaces.Level() - 1
	}
	n := quietNode(t, newWorld(), "oak", newStoreAt(t, level))
	n.world.lead("oak")
	for _, p := range []string{"prod", "dev"} {
		do(t, n.store, &fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Partition: &api.Partition{Path: p}})
	}
	some = &mirror{t: t, h: n.server.Handler(auth.TLS), token: n.with("", "viewer@prod")}
	all = &mirror{t: t, h: some.h, token: n.token(api.RoleViewer), all: true}
	m := &mover{t: t, store: n.store, began: map[string]string{}, batch: r.IntN(2) == 0}
	pick := func() string { return []string{"prod", "dev"}[r.IntN(2)] }
	if !old {
		some.take()
		all.take()
	}
	m.make(pick())
	if old {
		do(t, n.store, &fsm.LevelSet{Meta: m.meta(m.where), Level: fsm.Newest})
		some.take()
		all.take()
	}
	sees := false // the other partition, too
	for range 40 {
		what := m.step(n.store, r, pick)
		if r.IntN(8) == 0 {
			what, sees = what+", rights", !sees
			change(t, n.store, some.token, sees)
		}
		if r.IntN(3) == 0 {
			continue
		}
		for _, x := range []*mirror{some, all} {
			x.follow(func() bool { return r.IntN(4) == 0 })
			now := &mirror{t: t, h: x.h, token: x.token}
			now.take()
			if has, want := x.shows(), now.shows(); !slices.Equal(has, want) {
				t.Fatalf("after %s, the job in %s, who sees all: %t: it holds\n%s\nand the lists show\n%s", what, m.where, x.all, strings.Join(has, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	return some, all
}

// change has a token see dev, or no more.
func change(t *testing.T, s *fsm.Store, token string, sees bool) {
	t.Helper()
	shown, err := api.ParseClientToken(token)
	if err != nil {
		t.Fatal(err)
	}
	c := &fsm.TokenRights{Meta: fsm.Meta{At: testTime}, Of: shown.ID}
	if sees {
		c.Grant = []string{"viewer@dev"}
	} else {
		c.Revoke = []string{"viewer@dev"}
	}
	do(t, s, c)
}

// heavy has the store let go of what its events are about, for that of one job which is
// more than it has room for.
func (m *mover) heavy() {
	for i := range 6 {
		spec := &api.JobSpec{Name: "heavy", Kind: api.KindService, Partition: "dev", Count: new(0), TaskSpec: api.TaskSpec{Command: []string{fmt.Sprint(i), strings.Repeat("x", 7<<20)}}}
		spec.Normalize()
		if i == 0 {
			do(m.t, m.store, &fsm.JobCreate{Meta: m.meta("dev"), Spec: spec})
		} else {
			do(m.t, m.store, &fsm.JobUpdate{Meta: m.meta("dev"), ID: "heavy", Spec: spec})
		}
	}
	do(m.t, m.store, &fsm.JobStop{Meta: m.meta("dev"), ID: "heavy"})
	do(m.t, m.store, &fsm.JobRemove{Meta: m.meta("dev"), IDs: []string{"heavy"}})
	last := m.store.View().LastEvent()
	do(m.t, m.store, &fsm.NodeClock{Meta: m.meta("dev"), ID: "oak", Off: api.Duration(m.said)})
	if m.store.PayloadsAfter() != last {
		m.t.Fatalf("up to event %d, not %d, it was let go", m.store.PayloadsAfter(), last)
	}
}

// step does something at random, and says what.
func (m *mover) step(s *fsm.Store, r *rand.Rand, pick func() string) string {
	switch k := r.IntN(10); {
	case k < 2:
		m.start()
		return "start"
	case k < 4:
		m.start()
		m.report(0, api.TaskFailed)
		return "fail"
	case k < 7:
		m.move(pick())
		return "move"
	case k == 7 && r.IntN(2) == 0:
		m.make(pick())
		return "make"
	case k == 8 && r.IntN(3) == 0:
		do(m.t, s, &fsm.JobStop{Meta: m.meta(m.where), ID: "shop"})
		m.report(0, api.TaskKilled)
		m.report(1, api.TaskKilled)
		do(m.t, s, &fsm.JobRemove{Meta: m.meta(m.where), IDs: []string{"shop"}})
		m.make(pick())
		return "remove, and make"
	case k == 8 && r.IntN(3) == 0:
		m.heavy()
		return "what events were about is let go"
	case k == 9 && r.IntN(3) == 0:
		var b bytes.Buffer
		if err := s.Snapshot().Write(&b); err != nil {
			m.t.Fatal(err)
		}
		if err := s.Restore(&b); err != nil {
			m.t.Fatal(err)
		}
		return "restore"
	}
	do(m.t, s, &fsm.NodeClock{Meta: m.meta(m.where), ID: "oak", Off: api.Duration(r.IntN(1e9))})
	return "clock"
}

// What the store keeps no longer of an event is told as it is now wherever there is
// something of it now, so who continues after an event of before misses nothing.
func TestWhatIsKeptNoLongerIsToldAsItIs(t *testing.T) {
	for name, let := range map[string]func(*mover){
		"by a snapshot": func(m *mover) {
			var b bytes.Buffer
			if err := errors.Join(m.store.Snapshot().Write(&b), m.store.Restore(&b)); err != nil {
				t.Fatal(err)
			}
		},
		"for its bytes": (*mover).heavy,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := quietNode(t, newWorld(), "oak", newStoreAt(t, fsm.Newest))
				n.world.lead("oak")
				do(t, n.store, &fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Partition: &api.Partition{Path: "dev"}})
				addNode(t, n.store, "elm")
				m := &mover{t: t, store: n.store, began: map[string]string{}}
				m.make("dev")
				all := &mirror{t: t, h: n.server.Handler(auth.TLS), token: n.token(api.RoleViewer), all: true}
				m.start()
				do(t, n.store, &fsm.JobScale{Meta: m.meta("dev"), ID: "shop", Count: 1})
				do(t, n.store, &fsm.TaskStop{Meta: m.meta("dev"), IDs: []string{api.TaskID("shop", 1)}, Reason: api.ReasonScaledDown})
				all.take()
				do(t, n.store, &fsm.NodeRemove{Meta: m.meta("dev"), ID: "elm"})
				m.report(1, api.TaskKilled)
				let(m)
				all.follow(func() bool { return false })
				now := &mirror{t: t, h: all.h, token: all.token}
				now.take()
				if has, want := all.shows(), now.shows(); !slices.Equal(has, want) || all.listed != 1 {
					t.Errorf("it holds\n%s\nand the lists show\n%s", strings.Join(has, "\n"), strings.Join(want, "\n"))
				}
			})
		})
	}
}

// A stream that is open as its token may see more ends with what to do, and who continues
// after an event of before is told the same, unless it does not ask what events are about;
// after the event that told of it, it continues. Of fewer rights it is so, too.
func TestRightsThatChangeEndAMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := quietNode(t, newWorld(), "oak", newStoreAt(t, fsm.Newest))
		n.world.lead("oak")
		token := n.with("", "viewer@prod")
		open := func(query string) func() *body {
			ctx, cancel := context.WithCancel(t.Context())
			w, r := &body{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/v1/events"+query, nil).WithContext(ctx)
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Accept", "text/event-stream")
			done := make(chan struct{})
			go func() {
				defer close(done)
				n.server.Handler(auth.TLS).ServeHTTP(w, r)
			}()
			synctest.Wait()
			return func() *body {
				synctest.Wait()
				cancel()
				<-done
				return w
			}
		}
		for _, more := range []bool{true, false} {
			before := n.store.View().LastEvent()
			after, brief := fmt.Sprint("?after=", before), fmt.Sprint("?fields=index,kind&after=", before)
			full, short := open(after), open(brief)
			change(t, n.store, token, more)
			if said := full().Body.String(); !strings.Contains(said, "event: error") || more && !strings.Contains(said, "take the lists again") {
				t.Errorf("more rights %t, an open stream says %q", more, said)
			}
			if said := short().Body.String(); more == strings.Contains(said, "event: error") {
				t.Errorf("more rights %t, a stream that tells of no rows says %q", more, said)
			}
			if w := open(after)(); w.Code != 409 {
				t.Errorf("more rights %t, who continues is answered %d", more, w.Code)
			}
			for _, query := range []string{brief, fmt.Sprint("?after=", n.store.View().LastEvent())} {
				if w := open(query)(); w.Code != 200 || strings.Contains(w.Body.String(), "event: error") {
					t.Errorf("more rights %t, %s: %d %s", more, query, w.Code, w.Body)
				}
			}
		}
	})
}

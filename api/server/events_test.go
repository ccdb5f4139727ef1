package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// eventReader reads a server-sent event stream.
type eventReader struct {
	t   *testing.T
	res *http.Response
	in  *bufio.Scanner
}

func (n *testNode) follow(t *testing.T, token, query string, header http.Header) *eventReader {
	t.Helper()
	q := request{method: "GET", path: "/v1/events" + query, token: token, header: http.Header{"Accept": {"text/event-stream"}}}
	for k, v := range header {
		q.header[k] = v
	}
	res, err := n.http.Client().Do(n.newRequest(n.http, q))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	return &eventReader{t, res, bufio.NewScanner(res.Body)}
}

// next is the next event; its parts agree with each other.
func (r *eventReader) next() api.Event {
	r.t.Helper()
	field := map[string]string{}
	for r.in.Scan() {
		line := r.in.Text()
		if line == "" && field["data"] != "" {
			var e api.Event
			if err := json.Unmarshal([]byte(field["data"]), &e); err != nil {
				r.t.Fatal(err)
			}
			if field["id"] != fmt.Sprint(e.Index) || field["event"] != string(e.Kind) {
				r.t.Errorf("%v", field)
			}
			return e
		}
		k, v, _ := strings.Cut(line, ": ")
		field[k] = v
	}
	r.t.Fatalf("the stream ended: %v", r.in.Err())
	return api.Event{}
}

func TestEventsResumeWithoutGapOrDouble(t *testing.T) {
	_, oak, elm := twoNodes(t)
	token := oak.token(api.RoleViewer)
	from := oak.store.View().LastEvent()
	make100 := func(prefix string) {
		for i := range 100 {
			do(t, oak.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec(fmt.Sprintf("%s-%d", prefix, i))})
		}
	}
	make100("a")
	var seen []uint64
	r := elm.follow(t, token, fmt.Sprintf("?after=%d", from), nil)
	for range 50 {
		seen = append(seen, r.next().Index)
	}
	r.res.Body.Close() // the connection breaks; the reader continues elsewhere
	r = oak.follow(t, token, "", http.Header{"Last-Event-Id": {fmt.Sprint(seen[49])}})
	go make100("b") // while it is read
	for range 150 {
		seen = append(seen, r.next().Index)
	}
	for i, index := range seen {
		if index != from+uint64(i)+1 {
			t.Fatalf("event %d has index %d, not %d", i, index, from+uint64(i)+1)
		}
	}
}

func TestEventsFromNowOnAndFiltered(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleViewer)
	create := func(name string) {
		do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec(name)})
	}
	create("old")
	create("web")
	r := n.follow(t, token, "?for=web", nil)
	create("other")
	do(t, n.store, &fsm.JobStop{ID: "web"})
	if e := r.next(); e.Kind != api.EventJobStopped || e.Job != "web" {
		t.Errorf("%+v", e)
	}
	r = n.follow(t, token, "?limit=2", nil)
	last := n.store.View().LastEvent()
	create("newer")
	for i := range uint64(3) {
		if e := r.next(); e.Index != last-1+i {
			t.Errorf("event %d, not %d", e.Index, last-1+i)
		}
	}
	list := into[items[api.Event]](t, n.send(request{method: "GET", path: "/v1/events?for=web&limit=1", token: token}))
	if len(list.Items) != 1 || list.Items[0].Kind == api.EventJobCreated {
		t.Errorf("%+v", list.Items)
	}
}

func TestEventsTooOld(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleViewer)
	for range 2*8192 + 10 {
		do(t, n.store, &fsm.PartitionPut{Partition: &api.Partition{Path: "default", Weight: 1000}})
	}
	sse := http.Header{"Accept": {"text/event-stream"}}
	e := n.send(request{method: "GET", path: "/v1/events?after=1", token: token, header: sse}).want(t, 409)
	if e.Code != api.CodeConflict {
		t.Errorf("%+v", e)
	}
}

// Who continues after an event that there is not yet is told so, and what the newest is: it
// would wait for ever. After the newest there is nothing yet, which is not an error.
func TestEventsThatAreNotYet(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleViewer)
	sse := http.Header{"Accept": {"text/event-stream"}}
	last := n.store.View().LastEvent()
	for _, header := range []http.Header{nil, sse} {
		e := n.send(request{method: "GET", path: fmt.Sprint("/v1/events?after=", last+1), token: token, header: header}).want(t, 409)
		if e.Code != api.CodeConflict || !strings.Contains(e.Message, fmt.Sprintf("no event %d yet, the newest is %d:", last+1, last)) {
			t.Errorf("%+v", e)
		}
	}
	list := into[items[api.Event]](t, n.send(request{method: "GET", path: fmt.Sprint("/v1/events?after=", last), token: token}))
	if len(list.Items) != 0 {
		t.Errorf("after the newest: %+v", list.Items)
	}
}

func TestSlowReaderOfEventsIsCut(t *testing.T) {
	n := newLeader(t)
	n.server.http.Patience.Reader = 50 * time.Millisecond
	token := n.token(api.RoleViewer)
	n.follow(t, token, "", nil) // and reads nothing
	until(t, "the stream is open", func() bool { return n.server.http.Streams() == 1 })
	long := strings.Repeat("x", 20000)
	until(t, "the stream is cut", func() bool {
		for range 20 {
			do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime, Actor: long}, Spec: batchSpec("")})
		}
		return n.server.http.Streams() == 0
	})
}

func TestStreamsAreBounded(t *testing.T) {
	n := newLeader(t, func(c *Config) { c.MaxStreams = 4 })
	open := func(token, cert string) reply {
		return n.send(request{method: "GET", path: "/v1/events", token: token, cert: cert, header: http.Header{"Accept": {"text/event-stream"}}})
	}
	busy := func(r reply, why string) {
		t.Helper()
		if e := r.want(t, 429); e.Code != api.CodeBusy || !strings.Contains(e.Message, why) || r.Header.Get("Retry-After") != "5" {
			t.Errorf("%+v, again after %q", e, r.Header.Get("Retry-After"))
		}
	}
	greedy, other := n.token(api.RoleViewer), n.token(api.RoleViewer)
	a := n.follow(t, greedy, "", nil)
	n.follow(t, greedy, "", nil)
	busy(open(greedy, ""), "token "+tokenID(greedy)+" holds 2 streams")
	n.follow(t, other, "", nil)
	n.follow(t, other, "", nil)
	busy(open(n.token(api.RoleViewer), ""), "users hold 4 streams")

	// Nobody of those keeps nodes or root out.
	addNode(t, n.store, "ash")
	n.open(&exchange.Route{Method: "GET"}, "/v1/internal/assignments", "", "ash")
	n.open(&exchange.Route{Method: "GET"}, "/v1/internal/feed", "", "ash")
	until(t, "the node's streams are open", func() bool { return n.server.http.Streams() == 6 })
	root := n.listen(auth.Open) // of this machine, as root is
	r := n.newRequest(root, request{method: "GET", path: "/v1/events", header: http.Header{"Accept": {"text/event-stream"}}})
	if res, err := root.Client().Do(r); err != nil || res.StatusCode != 429 { // who is not root does not have root's part
		t.Errorf("%+v, %v", res, err)
	} else {
		res.Body.Close()
	}
	a.res.Body.Close()
	until(t, "a place is free", func() bool { return n.server.http.Streams() == 5 })
	n.follow(t, n.token(api.RoleViewer), "", nil)
}

// A list about what there is, or was, may be empty; one about a slip is none.
func TestEventsAboutNothing(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleViewer)
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("web")})
	do(t, n.store, &fsm.JobStop{Meta: fsm.Meta{At: testTime}, ID: "web"})
	do(t, n.store, &fsm.JobRemove{Meta: fsm.Meta{At: testTime}, IDs: []string{"web"}})
	for id, code := range map[string]int{"web": 200, "oak": 200, "default": 200, "": 200, "wbe": 404, "web.0": 404, "57": 404, "token:wbe": 404} {
		res := n.send(request{method: "GET", path: "/v1/events?since=2026-05-01T13:00:00Z&for=" + id, token: token})
		if res.StatusCode != code {
			t.Errorf("for=%s: %d, want %d: %s", id, res.StatusCode, code, res.body)
		}
	}
}

// memory is a history of those events, oldest first.
type memory struct {
	events []api.Event
	asked  []api.EventFilter
}

func (m *memory) Newest(_ context.Context, f api.EventFilter, yield func(*api.Event) bool) error {
	m.asked = append(m.asked, f)
	for i := len(m.events) - 1; i >= 0; i-- {
		if f.Match(&m.events[i]) && !yield(&m.events[i]) {
			break
		}
	}
	return nil
}

func TestEventsOfThePast(t *testing.T) {
	past := &memory{}
	n := newLeader(t, func(c *Config) { c.History = past })
	token := n.token(api.RoleViewer)
	for n.store.View().LastEvent() < 3*8192 {
		do(t, n.store, &fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Partition: &api.Partition{Path: "default", Weight: 1000}})
	}
	oldest, newest := n.store.EventBounds()
	for i := range oldest + 100 { // the history has what the store has too
		past.events = append(past.events, api.Event{Index: i + 1, Time: testTime.Add(-time.Hour + time.Duration(i)*time.Second), Kind: api.EventJobScaled, Object: "old", Actor: "token:ci"})
	}
	past.events[7].Kind, past.events[7].Object = api.EventsMissed, "oak"
	list := func(query string) []api.Event {
		t.Helper()
		return into[items[api.Event]](t, n.send(request{method: "GET", path: "/v1/events" + query, token: token})).Items
	}
	check := func(query string, first, last uint64) {
		t.Helper()
		got := list(query)
		if len(got) != int(last-first+1) || got[0].Index != first || got[len(got)-1].Index != last {
			t.Errorf("%s: %d events, %+v", query, len(got), got[:min(1, len(got))])
		}
		for i := range got {
			if got[i].Index != first+uint64(i) {
				t.Errorf("%s: event %d at %d", query, got[i].Index, i)
				break
			}
		}
	}
	check("?limit=10", newest-9, newest)
	if len(past.asked) != 0 {
		t.Errorf("the history was asked for what the store has: %+v", past.asked)
	}
	check(fmt.Sprintf("?limit=10&before=%d", oldest+5), oldest-5, oldest+4)
	check("?limit=10&before=21", 11, 20)
	check("?limit=100&before=21", 1, 20)
	check(fmt.Sprintf("?limit=16384&after=%d", oldest-4), max(oldest-3, newest-16383), newest)
	check("?since=1h&until=59m50s", 1, 11)
	check("?since=2026-05-01T11:00:05Z&until=2026-05-01T13:00:10%2B02:00", 6, 11)
	check("?for=old&limit=3", oldest-3, oldest-1)
	check("?for=token:ci&limit=3", oldest-3, oldest-1)
	if got := list("?for=nobody&until=2026-05-01T11:59:00Z"); len(got) != 1 || got[0].Kind != api.EventsMissed {
		t.Errorf("what is missing may have been about anybody: %+v", got)
	}
	for query, field := range map[string]string{"?since=yesterday": "since", "?until=-5m": "until", "?since=1h&until=2h": "until", "?before=0": "before", "?before=x": "before"} {
		if e := n.send(request{method: "GET", path: "/v1/events" + query, token: token}).want(t, 400); e.Field != field {
			t.Errorf("%s: %+v", query, e)
		}
	}
	sse := http.Header{"Accept": {"text/event-stream"}}
	if e := n.send(request{method: "GET", path: "/v1/events?since=1h", token: token, header: sse}).want(t, 400); e.Field != "since" {
		t.Errorf("%+v", e)
	}
}

// A node that hears of no leader does not know whether the events that a reader saw
// happened: the reader hears that it cannot tell, and not that they were another
// cluster's. Once there is a leader, that one tells.
func TestANodeWithoutALeaderJudgesNoReader(t *testing.T) {
	w, oak, elm := twoNodes(t)
	token := oak.token(api.RoleViewer)
	sse := http.Header{"Accept": {"text/event-stream"}}
	ahead := fmt.Sprint("/v1/events?after=", elm.store.View().LastEvent()+1)
	for _, header := range []http.Header{nil, sse} {
		w.lead("")
		r := elm.send(request{method: "GET", path: ahead, token: token, header: header})
		if e := r.want(t, 503); e.Code != api.CodeUnavailable || !strings.Contains(e.Message, api.NoLeader) || strings.Contains(e.Message, "another cluster") {
			t.Errorf("%+v", e)
		}
		w.lead("oak")
		if e := elm.send(request{method: "GET", path: ahead, token: token, header: header}).want(t, 409); e.Code != api.CodeConflict {
			t.Errorf("%+v", e)
		}
	}
}

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// followed is the data of each event after an index, up to now.
func followed(t *testing.T, n *testNode, token, query string, after uint64) (events []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, r := &body{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/v1/events"+query, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Last-Event-ID", fmt.Sprint(after))
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.server.Handler(auth.TLS).ServeHTTP(w, r)
	}()
	synctest.Wait() // until it has nothing more to say
	cancel()
	<-done
	for block := range strings.SplitSeq(w.Body.String(), "\n\n") {
		if _, data, ok := strings.Cut(block, "\ndata: "); ok {
			events = append(events, data)
		}
	}
	return events
}

// However large a job's spec is and however often it changed, an event is no more than
// a client takes, a list of them is bounded and says where it continues, and who does not
// ask what they are about is told of none of it.
func TestEventsOfTheLargestJobs(t *testing.T) {
	for _, c := range []string{`"`, "\x01"} { // what takes two bytes of JSON, and six
		synctest.Test(t, func(t *testing.T) { eventsOfTheLargestJob(t, c) })
	}
}

func eventsOfTheLargestJob(t *testing.T, char string) {
	n := quietNode(t, newWorld(), "oak", newStoreAt(t, fsm.Newest))
	n.world.lead("oak")
	zero := 0
	js := &api.JobSpec{Name: "shop", Kind: api.KindService, Count: &zero, Partition: "default"}
	js.Command = []string{"x"}
	js.Normalize()
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: js})
	const updates = 80
	after := n.store.View().LastEvent()
	for i := range updates {
		j := *n.store.View().Job("shop").Spec
		j.Env = map[string]string{"A": fmt.Sprintf("%02d", i) + strings.Repeat(char, 128<<10-8), "B": strings.Repeat(char, 128<<10-8)}
		if err := j.Validate(); err != nil {
			t.Fatal(err)
		}
		do(t, n.store, &fsm.JobUpdate{Meta: fsm.Meta{At: testTime}, ID: "shop", Spec: &j})
	}
	admin := n.token(api.RoleAdmin)
	last := n.store.View().LastEvent()
	for _, token := range []string{admin, n.token(api.RoleViewer), n.with("", "viewer@default")} {
		for _, data := range followed(t, n, token, "", last-5) {
			var e api.Event
			if err := json.Unmarshal([]byte(data), &e); err != nil || e.Payload.Job == nil && strings.HasPrefix(string(e.Kind), "job.") || len(data) > client.MaxEvent/2 {
				t.Errorf("%v: an event of %d bytes: %.100s", err, len(data), data)
			}
			if e.Payload.Job != nil && len(e.Payload.Job.History) > 0 {
				t.Errorf("event %d has %d earlier versions", e.Index, len(e.Payload.Job.History))
			}
		}
		want := fmt.Sprintf(`{"index":%d}`, after+1)
		if brief := followed(t, n, token, "?fields=index", after); len(brief) < updates || brief[0] != want {
			t.Errorf("%d events, the first of them %.100s, want %s", len(brief), brief[0], want)
		}
	}
	largestList(t, n, admin, after)
}

func largestList(t *testing.T, n *testNode, token string, after uint64) {
	type page struct {
		Items  []api.Event
		Before uint64
	}
	get := func(query string) (p page) {
		t.Helper()
		w := ask(n.server.Handler(auth.TLS), "/v1/events?limit=1000&after="+fmt.Sprint(after)+query, token)
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
			t.Fatal(w.Code, err)
		}
		if size := w.Body.Len(); size > 7*maxSpecs {
			t.Errorf("an answer of %d bytes", size)
		}
		return p
	}
	all := get("&fields=index")
	if all.Before != 0 {
		t.Errorf("a list of %d without what events are about is cut at %d", len(all.Items), all.Before)
	}
	pages, next := 0, n.store.View().LastEvent()
	for p := get(""); ; p = get(fmt.Sprintf("&before=%d", p.Before)) {
		pages++
		for i := range p.Items {
			if e := p.Items[len(p.Items)-1-i]; e.Index != next || e.Payload.Job != nil && e.Payload.Job.History != nil {
				t.Fatalf("event %d where %d is next, or with earlier versions", e.Index, next)
			}
			next--
		}
		if p.Before == 0 {
			break
		}
		if p.Before != next+1 {
			t.Fatalf("it continues before %d, and %d is next", p.Before, next)
		}
	}
	if pages < 2 || next != after {
		t.Errorf("%d pages, and events after %d up to %d are on none", pages, after, next)
	}
}

// For who has gone no further rows of a list are made.
func TestAListEndsWithItsReader(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for i := range 12 {
		n.send(request{method: "POST", path: "/v1/jobs", body: fmt.Sprintf(`{"name":"q%02d","kind":"batch","command":["x"]}`, i), token: admin}).want(t, 201)
	}
	for _, query := range []string{"", "?sort=job"} {
		ctx, leave := context.WithCancel(t.Context())
		made := 0
		n.tell = func(any) {
			if made++; made == 3 {
				leave()
			}
		}
		r := httptest.NewRequest("GET", "/v1/queue"+query, nil).WithContext(ctx)
		r.Header.Set("Authorization", "Bearer "+admin)
		n.server.Handler(auth.TLS).ServeHTTP(httptest.NewRecorder(), r)
		if leave(); made != 3 {
			t.Errorf("%s: its reader left at row 3, and %d were made", query, made)
		}
	}
}

// A list that its reader has already names the event to continue after as a new one does.
func TestAListThatStayedNamesItsEvent(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	first := n.send(request{method: "GET", path: "/v1/partitions", token: admin})
	n.token(api.RoleViewer) // an event of which no partition tells
	r := n.send(request{method: "GET", path: "/v1/partitions", token: admin, header: http.Header{"If-None-Match": {first.Header.Get("Etag")}}})
	before, now := first.Header.Get(exchange.HeaderEvent), r.Header.Get(exchange.HeaderEvent)
	if body := fmt.Sprintf(`"event":%s}`, before); r.StatusCode != http.StatusNotModified || now != fmt.Sprint(n.store.View().LastEvent()) || now == before || !strings.Contains(string(first.body), body) {
		t.Errorf("%d: event %q after %q, of %d; %.200s", r.StatusCode, now, before, n.store.View().LastEvent(), first.body)
	}
}

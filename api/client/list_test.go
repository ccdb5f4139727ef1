package client

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A list is read to its end, and from a server that knows no pages at once.
func TestListsAreReadWhole(t *testing.T) {
	var asked []string
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		if r.URL.Path == "/v1/incidents" {
			answer(w, 200, json.RawMessage(`{"items":[{"id":4}],"index":1,"next":"two"}`))
			return
		}
		switch r.URL.Query().Get("cursor") {
		case "":
			answer(w, 200, json.RawMessage(`{"items":[{"id":"a.0"}],"index":1,"next":"two","total":3}`))
		case "two":
			answer(w, 200, json.RawMessage(`{"items":[{"id":"a.1"}],"index":2,"next":"three"}`))
		case "three":
			answer(w, 200, json.RawMessage(`{"items":[{"id":"b.0"}],"index":3}`))
		}
	})}})
	tasks, err := c.Tasks(t.Context(), "", "oak", true)
	if err != nil || len(tasks) != 3 || tasks[0].ID != "a.0" || tasks[2].ID != "b.0" {
		t.Errorf("%v %v", tasks, err)
	}
	want := "/v1/tasks?all=1&node=oak /v1/tasks?all=1&cursor=two&limit=10000&node=oak /v1/tasks?all=1&cursor=three&limit=10000&node=oak"
	if got := strings.Join(asked, " "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	asked = nil
	if some, err := c.Incidents(t.Context(), true, "", 1); err != nil || len(some) != 1 || len(asked) != 1 {
		t.Errorf("%d incidents by %s, want one: %v", len(some), asked, err)
	}
}

// An older server folds nothing, and is asked for all.
func TestRunsOfAnOlderServer(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("fold") || r.URL.Query().Has("limit") {
			answer(w, 400, map[string]any{"error": api.FieldErrorf("fold", "is unknown")})
			return
		}
		answer(w, 200, json.RawMessage(`{"items":[{"id":"a.4","job":"a","index":4},{"id":"a.5","job":"a","index":5},{"id":"a.6","job":"a","index":6}],"index":1}`))
	})}})
	runs, total, err := c.TaskRuns(t.Context(), TaskQuery{}, 2)
	if err != nil || total != 3 || len(runs) != 2 || runs[1].ID != "a.5" || runs[1].Through != 5 || runs[1].Count != 1 {
		t.Errorf("%+v %d %v", runs, total, err)
	}
}

package client

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// TestAFollowWaitsForWhatIsNotStarted: for the first attempt, for the next one,
// and for a node that is away; lines of none are asked for twice or left out,
// whatever was asked for of the first.
func TestAFollowWaitsForWhatIsNotStarted(t *testing.T) {
	var mu sync.Mutex
	step, asked := 0, []string{}
	task := func(state api.TaskState, attempt int, node string) *api.Task {
		return &api.Task{ID: "web.0", State: state, Attempt: attempt, NodeID: node}
	}
	away := &api.Error{Code: api.CodeUnavailable, Message: "the node that has it does not answer"}
	// What a log and then the task answer, each time that the log is asked for.
	steps := []struct {
		refuse *api.Error
		text   string
		task   *api.Task
	}{
		{&api.Error{Code: api.CodeConflict, Message: "has not been started yet"}, "", task(api.TaskStaging, 1, "")},
		{&api.Error{Code: api.CodeNotFound, Message: "has no log on this node"}, "", task(api.TaskStarting, 1, "a")},
		{away, "", task(api.TaskRunning, 1, "a")},
		{nil, "one", task(api.TaskStaging, 2, "")},
		{nil, "", task(api.TaskStaging, 2, "")},
		{nil, "", task(api.TaskRunning, 2, "b")},
		{away, "", task(api.TaskRunning, 2, "b")},
		{away, "", task(api.TaskRunning, 3, "c")},
		{nil, "three", task(api.TaskFailed, 3, "c")},
	}
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/v1/tasks/web.0" {
			answer(w, 200, steps[step-1].task)
			return
		}
		s := steps[step]
		step++
		asked = append(asked, r.URL.Query().Get("attempt")+"/"+r.URL.Query().Get("tail"))
		if s.refuse != nil {
			refuse(w, s.refuse)
			return
		}
		w.WriteHeader(200)
		if s.text != "" {
			at := map[string]int{"one": 1, "three": 3}[s.text]
			_ = json.NewEncoder(w).Encode(api.LogLine{Task: "web.0", Attempt: at, Text: s.text, Pos: [2]int64{3, 0}})
		}
	})}, Patience: time.Nanosecond})
	var got []string
	err := c.Logs(t.Context(), "web.0", LogOptions{Follow: true, Tail: -1}, func(l LogLine) error {
		got = append(got, l.Text)
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if want := []string{"/0", "/0", "/0", "/0", "/", "/", "2/", "2/", "3/"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

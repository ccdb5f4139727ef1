package cli

import (
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
)

// The state of a task and why it has it are two things.
func TestEventText(t *testing.T) {
	task := &api.Task{State: api.TaskFailed}
	for message, want := range map[string]string{"": "failed", "it exited with code 7": "failed: it exited with code 7"} {
		if got := eventText(api.Event{Kind: api.EventTaskState, Task: task, Message: message}); got != want {
			t.Errorf("%q", got)
		}
	}
}

// A token is called by its name where it has one and is still there.
func TestEventsNameTokens(t *testing.T) {
	f := withFake(t)
	cl, err := client.New(client.Config{Socket: f.http.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	about := tokenNames(t.Context(), cl)
	for id, want := range map[string]string{"k3f9x2ab": "ci", "t1": "t1", "gone": "gone"} {
		if got := about(api.Event{Kind: api.EventTokenRights, Object: id}); got != want {
			t.Errorf("%s is called %q, want %q", id, got, want)
		}
	}
	if got := about(api.Event{Kind: api.EventTaskState, Object: "k3f9x2ab"}); got != "k3f9x2ab" {
		t.Errorf("a task is called %q", got)
	}
}

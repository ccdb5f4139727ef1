package cli

import (
	"testing"

	"github.com/mesita/mesita/api"
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

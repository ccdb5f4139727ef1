package client

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A command that would not arrive as it is, is refused by field before it is sent.
func TestACommandArrivesAsItIs(t *testing.T) {
	c, err := New(Config{Addrs: []string{"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"\xff", "Caf\xe9", strings.Repeat("x", maxCommand), strings.Repeat("\n", maxCommand/2)} {
		if _, err := c.Exec(t.Context(), "a.0", ExecOptions{Command: []string{"echo", word}}); api.ErrorCode(err) != api.CodeInvalid {
			t.Errorf("%.10q: %v", word, err)
		}
	}
	if _, err := c.Submit(t.Context(), &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"echo", "\xff"}}}); !strings.Contains(fmt.Sprint(err), "command[1]") {
		t.Errorf("a job: %v", err)
	}
	for _, word := range []string{"", "Café", "\x00\x01", strings.Repeat("x", maxCommand-100)} {
		if err := sendable([]string{"echo", word}); err != nil {
			t.Errorf("%.10q: %v", word, err)
		}
	}
}

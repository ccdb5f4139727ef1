package integration

import (
	"fmt"
	"strings"
	"testing"
)

// Who follows the log of a job has that of each of its tasks, also of those that
// start when others have ended, and is done when the job is.
func TestLogsOfLaterTasks(t *testing.T) {
	l := newLab(t, 1)
	l.Form()
	n := l.Nodes[0]
	// Each holds the port that is asked for, so that one runs at a time.
	n.Must("POST", "/v1/jobs", map[string]any{"name": "arr", "kind": "batch", "array": "0-4", "ports": []string{"one=20123"},
		"command": []string{"/bin/sh", "-c", "echo begin {index}; sleep 0.2; echo end {index}"}}, nil)
	out, errs, code := n.CLI("logs", "arr", "-f")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for i := range 5 {
		for _, word := range []string{"begin", "end"} {
			if line := fmt.Sprintf("%s %d\n", word, i); strings.Count(out, line) != 1 {
				t.Errorf("%q is there %d times in:\n%s", line, strings.Count(out, line), out)
			}
		}
	}
	if j := n.AwaitJob("arr", "ended"); j.Counts.Finished != 5 {
		t.Errorf("the follow ended before the job: %+v", j.Counts)
	}
}

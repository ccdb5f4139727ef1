package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/lab"

	"github.com/mesita/mesita/api"
)

// A port that another program on the machine has is not given: who asks for it
// waits, is told who has it, loses no retry, and starts when it is free.
func TestPortOfAnotherProgram(t *testing.T) {
	l := newLab(t, 1)
	l.Form()
	n := l.Nodes[0]
	taken := n.Listen("127.0.0.1:20007")
	id := n.Submit(map[string]any{"name": "fixed", "kind": "batch", "command": []string{"/bin/sleep", "600"}, "ports": []map[string]any{{"name": "http", "port": 20007}}}).ID
	var why api.Why
	l.Await(lab.Patience, "why to say who has the port", func() bool {
		return n.Call(http.MethodGet, "/v1/tasks/"+id+".0/why", nil, &why) == nil && len(why.Nodes) == 1 && strings.HasPrefix(why.Nodes[0].Reason, "port 20007 is taken by integration.tes ")
	})
	task := n.Tasks(id)[0]
	if !task.Pending() || task.Failures != 0 || task.Attempt > 2 {
		t.Errorf("it is %s, with %d failures at attempt %d", task.State, task.Failures, task.Attempt)
	}
	_ = taken.Close()
	l.Await(lab.Patience, "the task to have its port", func() bool { return len(n.Running(id)) == 1 })
}

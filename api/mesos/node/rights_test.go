package node

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// What may be seen and done follows a job where it goes, but what an attempt brought from
// where it began stays of there.
func TestRightsFollowTheJob(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.sandbox()
	close(w.host.ends)
	w.host.run = func(ctx context.Context, _ Command, _ IO) Exit { <-ctx.Done(); return Exit{} }
	id := &v1.ContainerID{Value: "mine.0-1"}
	id.Value = container(w.store.View().Task("mine.0"))
	admin, web, ops := w.newToken("admin"), w.newToken("deployer@web"), w.newToken("deployer@ops")
	n := 0
	check := func(when, who, token string, tasks, list, output, input, launch int) {
		t.Helper()
		w.token = token
		var m v1.AgentResponse
		if err := wire.Unmarshal(wire.JSON, []byte(w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeGetTasks)}, http.StatusOK)), &m); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, task := range m.GetTasks.LaunchedTasks {
			if task.TaskID.Value == "mine" {
				seen++
			}
		}
		n++
		nested := &v1.ContainerID{Value: "c" + string(rune('a'+n)), Parent: id}
		said, _ := w.output(id)
		for what, c := range map[string][2]int{
			"tasks": {seen, tasks}, "output": {said, output},
			"files":  {w.status(&v1.AgentCall{Type: new(v1.AgentCallTypeListFiles), ListFiles: &v1.AgentCallListFiles{Path: latest}}), list},
			"launch": {w.status(&v1.AgentCall{Type: new(v1.AgentCallTypeLaunchNestedContainer), LaunchNestedContainer: &v1.AgentCallLaunchNestedContainer{ContainerID: nested, Command: shell("x")}}), launch},
			"input":  {w.attach(wire.JSON, bytes.NewReader(typing(t, wire.JSON, id))).StatusCode, input},
		} {
			if c[0] != c[1] {
				t.Errorf("%s, %s: %s: %d, not %d", when, who, what, c[0], c[1])
			}
		}
	}
	check("before", "admin", admin, 1, 200, 200, 200, 200)
	check("before", "web", web, 1, 200, 200, 200, 200)
	check("before", "ops", ops, 0, 404, 404, 404, 400)
	w.do(&fsm.JobUpdate{Meta: fsm.Meta{At: testTime}, ID: "mine", Spec: jobIn("mine", "ops")})
	check("moved", "admin", admin, 1, 200, 200, 200, 200)
	check("moved", "web", web, 0, 404, 404, 404, 400)
	check("moved", "ops", ops, 1, 404, 403, 403, 403)
	w.report("mine", api.TaskKilled)
	check("ended", "admin", admin, 1, 200, 200, 200, 400)
}

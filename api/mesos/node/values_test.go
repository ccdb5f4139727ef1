package node

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// What a task was given that may be a secret is read here by who may read it elsewhere.
func TestValuesNeedTheirRight(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	command := shell("x")
	command.Environment = &v1.Environment{Variables: []*v1.EnvironmentVariable{{Name: "KEY", Value: new("hidden")}}}
	command.URIs = []*v1.CommandInfoURI{{Value: "https://me:hidden@example.org/a?hidden"}}
	info := func(m any) []byte {
		b, err := wire.Marshal(wire.Protobuf, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	executor := info(&rows.About{Executor: &v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: "e"}, Command: command, Data: []byte("hidden")}, Framework: &v1.FrameworkInfo{User: "root", Name: "f"}})
	checked := info(&v1.TaskInfo{Name: "a", TaskID: &v1.TaskID{Value: "mine"}, AgentID: &v1.AgentID{Value: "oak"}, HealthCheck: &v1.HealthCheck{Command: command}})
	row := func(f *api.FrameworkTask) api.Assignment {
		task := *w.store.View().Task("mine.0")
		f.Framework, f.ID, task.Framework = "f1", "mine", f
		return api.Assignment{Spec: &api.TaskSpec{}, Task: &task}
	}
	host := row(&api.FrameworkTask{Executor: "e", IsExecutor: true, Info: executor})
	host.Task.ID = "mine.1"
	w.server.Assign([]api.Assignment{host, row(&api.FrameworkTask{Info: checked})})
	for rights, reads := range map[string]bool{"viewer@web": false, "deployer@web": true} {
		w.token = w.newToken(rights)
		for _, kind := range []v1.AgentCallType{v1.AgentCallTypeGetTasks, v1.AgentCallTypeGetExecutors, v1.AgentCallTypeGetState} {
			body := w.call(&v1.AgentCall{Type: &kind}, http.StatusOK)
			told := strings.Contains(body, "hidden") || strings.Contains(body, "aGlkZGVu") // as base64
			if !strings.Contains(body, `"KEY"`) || told != reads {
				t.Errorf("%s, %s: %s", rights, kind, body)
			}
		}
	}
}

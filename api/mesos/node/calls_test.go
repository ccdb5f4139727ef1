package node

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// What is not a call is refused in the order of Mesos, in its words where it has some.
func TestWhatIsNotACall(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.token = w.newToken("admin")
	const health = `{"type":"GET_HEALTH"}`
	for name, c := range map[string]struct {
		method, body string
		header       http.Header
		status       int
		says         string
	}{
		"another method":    {"GET", "", http.Header{}, 405, "Expecting one of { 'POST' }"},
		"no type":           {"POST", health, http.Header{}, 400, "Expecting 'Content-Type' to be present"},
		"another type":      {"POST", health, http.Header{"Content-Type": {"text/plain"}}, 415, "Expecting 'Content-Type'"},
		"no JSON":           {"POST", "{", http.Header{"Content-Type": {"application/json"}}, 400, "Failed to parse body into JSON"},
		"no call":           {"POST", "{}", http.Header{"Content-Type": {"application/json"}}, 400, "Expecting 'type' to be present"},
		"no answer":         {"POST", health, http.Header{"Content-Type": {"application/json"}, "Accept": {"text/html"}}, 406, "Expecting 'Accept'"},
		"no stream":         {"POST", health, http.Header{"Content-Type": {"application/json"}, "Message-Accept": {"application/json"}}, 406, "Message-Accept"},
		"unknown":           {"POST", `{"type":"PRUNE_IMAGES"}`, http.Header{"Content-Type": {"application/json"}}, 501, "PRUNE_IMAGES"},
		"nothing of what":   {"POST", `{"type":"LIST_FILES"}`, http.Header{"Content-Type": {"application/json"}}, 400, "Expecting 'list_files' to be present"},
		"no message type":   {"POST", "2\n{}", http.Header{"Content-Type": {recordIO}}, 400, "Message-Content-Type"},
		"another message":   {"POST", "2\n{}", http.Header{"Content-Type": {recordIO}, "Message-Content-Type": {"text/plain"}}, 415, "Message-Content-Type"},
		"a stream of it":    {"POST", "21\n" + health, http.Header{"Content-Type": {recordIO}, "Message-Content-Type": {"application/json"}}, 415, "not supported for GET_HEALTH"},
		"no stream of it":   {"POST", `{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID","container_id":{"value":"x"}}}`, http.Header{"Content-Type": {"application/json"}}, 415, "to be " + recordIO},
		"no records wanted": {"POST", `{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":"mine.0-1"}}}`, http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, 406, recordIO},
		"a way out":         {"POST", `{"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"../x"}}}`, http.Header{"Content-Type": {"application/json"}}, 400, "invalid characters"},
		"too deep":          {"POST", `{"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"a","parent":{"value":"b","parent":{"value":"mine.0-1"}}}}}`, http.Header{"Content-Type": {"application/json"}}, 404, "mine.0-1.b.a"},
		"no such container": {"POST", `{"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"nobody"}}}`, http.Header{"Content-Type": {"application/json"}}, 404, "Container nobody cannot be found"},
		"a task's own":      {"POST", `{"type":"KILL_CONTAINER","kill_container":{"container_id":{"value":"mine.0-1"}}}`, http.Header{"Content-Type": {"application/json"}}, 400, "its framework stops it"},
		"by itself":         {"POST", `{"type":"LAUNCH_CONTAINER","launch_container":{"container_id":{"value":"x"},"command":{"value":"x"}}}`, http.Header{"Content-Type": {"application/json"}}, 501, "standalone"},
		"too large":         {"POST", strings.Repeat("x", maxCall+1), http.Header{"Content-Type": {"application/json"}}, 413, "1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			res := w.send(t.Context(), c.method, "/api/v1", strings.NewReader(c.body), c.header)
			if b := w.text(res); res.StatusCode != c.status || !strings.Contains(b, c.says) {
				t.Errorf("%s: %s", res.Status, b)
			}
		})
	}
}

// A command that is not to be had, or would not be what was asked for, is refused.
func TestCommandsThatDoNotBegin(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.token = w.newToken("admin")
	for says, change := range map[string]func(*v1.AgentCallLaunchNestedContainer){
		"there is no such program": func(l *v1.AgentCallLaunchNestedContainer) {
			l.Command.Value, l.Command.Shell = new("missing"), new(false)
		},
		"'command.value'": func(l *v1.AgentCallLaunchNestedContainer) { l.Command = nil },
		"'command.uris'": func(l *v1.AgentCallLaunchNestedContainer) {
			l.Command.URIs = []*v1.CommandInfoURI{{Value: "http://x/y"}}
		},
		"not 'root'": func(l *v1.AgentCallLaunchNestedContainer) { l.Command.User = new("root") },
		"'container.type' comes with a": func(l *v1.AgentCallLaunchNestedContainer) {
			l.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeDocker}
		},
		"container_id.parent":       func(l *v1.AgentCallLaunchNestedContainer) { l.ContainerID = &v1.ContainerID{Value: "x"} },
		"Unable to locate executor": func(l *v1.AgentCallLaunchNestedContainer) { l.ContainerID.Parent.Value = "nobody" },
		"nest one deep": func(l *v1.AgentCallLaunchNestedContainer) {
			l.ContainerID.Parent = &v1.ContainerID{Value: "y", Parent: &v1.ContainerID{Value: "mine.0-1"}}
		},
	} {
		l := &v1.AgentCallLaunchNestedContainer{ContainerID: beside("x"), Command: shell("x")}
		change(l)
		if got := w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeLaunchNestedContainer), LaunchNestedContainer: l}, http.StatusBadRequest); !strings.Contains(got, says) {
			t.Errorf("%s: %s", says, got)
		}
	}
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if len(w.server.nested) != 0 {
		t.Errorf("%d are remembered that never began", len(w.server.nested))
	}
}

// Nobody reads or enters a task whose partition it has no right to, and no executor another
// one's.
func TestRights(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.host.run = func(context.Context, Command, IO) Exit { return Exit{} }
	launch := &v1.AgentCall{Type: new(v1.AgentCallTypeLaunchNestedContainer), LaunchNestedContainer: &v1.AgentCallLaunchNestedContainer{ContainerID: beside("x"), Command: shell("x")}}
	list := &v1.AgentCall{Type: new(v1.AgentCallTypeListFiles), ListFiles: &v1.AgentCallListFiles{Path: "/frameworks/f1/executors/mine/runs/latest"}}
	tasks := func() int {
		var m v1.AgentResponse
		if err := wire.Unmarshal(wire.JSON, []byte(w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeGetTasks)}, http.StatusOK)), &m); err != nil {
			t.Fatal(err)
		}
		return len(m.GetTasks.LaunchedTasks)
	}
	w.call(launch, http.StatusUnauthorized)
	for rights, c := range map[string]struct{ tasks, list, launch int }{
		"viewer@ops":   {1, 404, 400},
		"viewer@web":   {1, 200, 403},
		"viewer":       {2, 200, 403},
		"deployer@web": {1, 200, 200},
		"admin":        {2, 200, 202}, // it is there already
	} {
		if rights == "admin" {
			continue
		}
		w.token = w.newToken(rights)
		if got := tasks(); got != c.tasks {
			t.Errorf("%s sees %d tasks", rights, got)
		}
		w.call(list, c.list)
		w.call(launch, c.launch)
	}
	w.token = ""
	launch.LaunchNestedContainer.ContainerID = beside("y")
	for container, c := range map[string]struct{ list, launch int }{"mine.0-1": {200, 200}, "other.0-1": {404, 400}} {
		w.as = container
		if got := tasks(); got != 1 {
			t.Errorf("the executor in %s sees %d tasks", container, got)
		}
		w.call(list, c.list)
		w.call(launch, c.launch)
	}
	w.audit.mu.Lock()
	defer w.audit.mu.Unlock()
	var refused, done int
	for _, r := range w.audit.all {
		switch r.Outcome {
		case api.AuditRefused:
			refused++
		case api.AuditDone:
			done++
			if r.Object != "mine.0" || r.Partition != "web" {
				t.Errorf("%+v", r)
			}
		}
	}
	if refused < 2 || done < 2 {
		t.Errorf("%d refusals and %d that were done are recorded", refused, done)
	}
}

// Each call and each endpoint that reads is answered as is expected of it.
func TestReads(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin")
	for kind, do := range calls {
		if do.recorded || do.lasts || kind == v1.AgentCallTypeListFiles {
			continue
		}
		for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
			body, err := wire.Marshal(f, &v1.AgentCall{Type: &kind, GetContainers: &v1.AgentCallGetContainers{ShowNested: new(true)}})
			if err != nil {
				t.Fatal(err)
			}
			res := w.send(t.Context(), http.MethodPost, "/api/v1", strings.NewReader(string(body)), headers(f))
			var m v1.AgentResponse
			if b := w.text(res); res.StatusCode != http.StatusOK || wire.Unmarshal(f, []byte(b), &m) != nil || m.Type == nil || m.Type.String() != kind.String() {
				t.Errorf("%v: %s: %q", kind, res.Status, b)
			}
		}
	}
	for _, r := range w.server.legacy() {
		path := r.Path
		switch path {
		case "/files/browse", "/files/read", "/files/download":
			continue
		}
		for _, prefix := range []string{"", Prefix} {
			if b := w.get(prefix+path, http.StatusOK); path != "/health" && !json.Valid([]byte(b)) {
				t.Errorf("%s: %s", path, b)
			}
		}
	}
	for path, has := range map[string]string{
		"/state":              `"executors":[{"id":"mine","name":"mine","source":"mine","container":"mine.0-1"`,
		"/monitor/statistics": `"executor_id":"mine","executor_name":"mine","framework_id":"f1","source":"mine","statistics":{"cpus_limit":0.5,"cpus_user_time_secs":2,`,
		"/metrics/snapshot":   `"slave/tasks_running":2`,
		"/version":            `"version":"1.11.0"`,
		"/files/debug":        `"/frameworks/f1/executors/mine/runs/mine.0-1":"`,
	} {
		if b := w.get(path, http.StatusOK); !strings.Contains(b, has) {
			t.Errorf("%s: %s", path, b)
		}
	}
	w.token = ""
	w.get("/state", http.StatusUnauthorized)
	w.get("/health", http.StatusOK)
}

package operator

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// each runs a test with both forms of messages.
func each(t *testing.T, test func(t *testing.T, w *world, format wire.Format)) {
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		t.Run(f.String(), func(t *testing.T) { test(t, newWorld(t, auth.Anybody), f) })
	}
}

// A request that cannot be a call is refused in the order, with the status and in the words of Mesos.
func TestCallsAreChecked(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	for _, c := range []struct {
		name, method, contentType, accept, body string
		status                                  int
		says                                    string
	}{
		{"GetRequest", http.MethodGet, "application/json", "", `{"type":"GET_HEALTH"}`, 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"NoContentType", http.MethodPost, "", "", `{"type":"GET_HEALTH"}`, 400, "Expecting 'Content-Type' to be present"},
		{"UnsupportedContentMediaType", http.MethodPost, "application/unknown", "", "x", 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"MalformedContent", http.MethodPost, "application/x-protobuf", "", "MALFORMED", 400, "Failed to parse body into Call protobuf"},
		{"MalformedJSON", http.MethodPost, "application/json", "", `{"type"`, 400, "Failed to parse body into JSON: "},
		{"ValidJsonButInvalidProtobuf", http.MethodPost, "application/json", "", `{"type":17}`, 400, "Failed to convert JSON into Call protobuf: "},
		{"NoType", http.MethodPost, "application/json", "", `{}`, 400, "Failed to validate master::Call: Expecting 'type' to be present"},
		{"UnknownType", http.MethodPost, "application/json", "", `{"type":"NO_SUCH"}`, 400, "Failed to validate master::Call: Expecting 'type' to be present"},
		{"NotAcceptable", http.MethodPost, "application/json", "text/html", `{"type":"GET_HEALTH"}`, 406, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"},
		{"Unhandled", http.MethodPost, "application/json", "", `{"type":"UNKNOWN"}`, 501, "mesita does not have the call UNKNOWN"},
		{"DefaultAccept", http.MethodPost, "application/json", "*/*", `{"type":"GET_HEALTH"}`, 200, `{"type":"GET_HEALTH","get_health":{"healthy":true}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			for name, v := range map[string]string{"Content-Type": c.contentType, "Accept": c.accept} {
				if v != "" {
					h.Set(name, v)
				}
			}
			res := w.send(c.method, []byte(c.body), h)
			if b := w.text(res); res.StatusCode != c.status || !strings.HasPrefix(b, c.says) {
				t.Errorf("%s %q", res.Status, b)
			}
			if c.status == 405 && res.Header.Get("Allow") != "POST" {
				t.Error(res.Header)
			}
		})
	}
	w.leads = false
	if b := w.call(wire.JSON, &v1.MasterCall{Type: new(v1.MasterCallTypeGetHealth)}, 503); b != "Master has not finished recovery" {
		t.Error(b)
	}
}

// Metrics are those that the node has for whoever asks, each with its name.
func TestGetMetrics(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		roles := float64(len(w.get(format, v1.MasterCallTypeGetRoles).GetRoles.Roles))
		m := w.get(format, v1.MasterCallTypeGetMetrics).GetMetrics.Metrics
		if len(m) != 2 || m[0].Name != "master/elected" || *m[0].Value != 1 || m[1].Name != "master/roles" || *m[1].Value != roles {
			t.Errorf("%+v", m)
		}
	})
}

// Agents are the nodes that are registered, with what each has, holds and offers.
func TestGetAgents(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		agents := w.get(format, v1.MasterCallTypeGetAgents).GetAgents.Agents
		if len(agents) != 2 {
			t.Fatalf("%d agents", len(agents))
		}
		elm, oak := agents[0], agents[1]
		if i := oak.AgentInfo; i.ID.Value != "oak" || i.Hostname != "oak" || i.GetPort() != 5050 || len(i.Attributes) != 1 || i.Attributes[0].Text.Value != "r1" || v1.Get(oak.PID) != "slave(1)@10.0.0.11:5050" || oak.Version != "1.11.0" || !oak.Active {
			t.Errorf("%+v %+v", oak, i)
		}
		if amount(oak.TotalResources, "cpus") != 4 || amount(oak.TotalResources, "mem") != 8192 || amount(oak.AllocatedResources, "cpus") != 0.1 || amount(elm.OfferedResources, "cpus") != 0.5 || amount(elm.AllocatedResources, "mem") != 32 {
			t.Errorf("%+v %+v", oak, elm)
		}
		if in := elm.AllocatedResources[0].AllocationInfo; in == nil || v1.Get(in.Role) != "web" {
			t.Errorf("what tasks hold is allocated to their role: %+v", elm.AllocatedResources[0])
		}
		w.do(&fsm.NodeState{Meta: fsm.Meta{At: testTime}, ID: "elm", State: api.NodeUnreachable, Since: w.store.View().Node("elm").Since})
		if n := len(w.get(format, v1.MasterCallTypeGetAgents).GetAgents.Agents); n != 1 {
			t.Errorf("%d agents with one that is lost", n)
		}
	})
}

func amount(resources []*v1.Resource, name string) float64 {
	for _, r := range resources {
		if r.Name == name {
			return r.Scalar.Value
		}
	}
	return 0
}

// Frameworks have what they said of themselves, their offers, and what they hold; jobs are
// tasks of one more.
func TestGetFrameworks(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		all := w.get(format, v1.MasterCallTypeGetFrameworks).GetFrameworks.Frameworks
		if len(all) != 2 || all[0].FrameworkInfo.ID.Value != "mesita" || all[1].FrameworkInfo.ID.Value != "f1" {
			t.Fatalf("%+v", all)
		}
		own, shop := all[0], all[1]
		if i := shop.FrameworkInfo; i.Name != "shop" || i.User != "ann" || len(i.Roles) != 1 || !shop.Active || !shop.Connected || len(shop.Offers) != 1 || shop.Offers[0].ID.Value != "o2" {
			t.Errorf("%+v %+v", shop, i)
		}
		if amount(shop.AllocatedResources, "cpus") != 0.25 || amount(shop.OfferedResources, "mem") != 64 || amount(own.AllocatedResources, "cpus") != 0.1 || amount(own.AllocatedResources, "mem") != 16 {
			t.Errorf("%+v %+v", shop.AllocatedResources, own.AllocatedResources)
		}
		w.do(&fsm.FrameworkRemove{Meta: fsm.Meta{At: testTime}, ID: "f1"})
		if m := w.get(format, v1.MasterCallTypeGetFrameworks).GetFrameworks; len(m.Frameworks) != 1 || len(m.CompletedFrameworks) != 1 || m.CompletedFrameworks[0].UnregisteredTime == nil {
			t.Errorf("%+v", m)
		}
	})
}

// Tasks are in the list of how they are, with what their framework said of them.
func TestGetTasks(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		w.launch("t2", "oak")
		w.launch("t3", "elm")
		w.becomes("t1", api.TaskRunning)
		w.becomes("t2", api.TaskFailed)
		w.do(&fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: waiting()})
		m := w.get(format, v1.MasterCallTypeGetTasks).GetTasks
		byID := map[string]*v1.Task{}
		for _, task := range m.Tasks {
			byID[task.TaskID.Value] = task
		}
		t1 := byID["t1"]
		if len(m.Tasks) != 3 || len(m.CompletedTasks) != 1 || t1 == nil || t1.FrameworkID.Value != "f1" || t1.Name != "shop task" || t1.State != v1.TaskStateRunning || t1.ExecutorID != nil || v1.Get(t1.User) != "bob" {
			t.Fatalf("%+v", m)
		}
		if st := t1.Statuses[0]; st.ContainerStatus == nil || len(st.ContainerStatus.NetworkInfos) != 1 || st.ExecutorID.Value != "t1" || t1.Labels.Labels[0].Key != "k" || amount(t1.Resources, "mem") != 32 {
			t.Errorf("%+v %+v", t1, st)
		}
		for id, task := range byID {
			if task.FrameworkID.Value == "mesita" && (task.Name != "sleep" || task.AgentID.Value != "oak" || !strings.HasSuffix(id, ".0") || task.Labels.Labels[0].Key != "team") {
				t.Errorf("%s: %+v", id, task)
			}
		}
		if done := m.CompletedTasks[0]; done.TaskID.Value != "t2" || v1.Get(done.Statuses[0].Message) != "Command exited with status 3" || v1.Get(done.Statuses[0].Reason) != v1.TaskStatusReasonCommandExecutorFailed {
			t.Errorf("%+v", done.Statuses[0])
		}
		w.do(&fsm.NodeState{Meta: fsm.Meta{At: testTime}, ID: "elm", State: api.NodeUnreachable, Since: w.store.View().Node("elm").Since})
		if m = w.get(format, v1.MasterCallTypeGetTasks).GetTasks; len(m.UnreachableTasks) != 2 || len(m.Tasks) != 1 {
			t.Errorf("with a lost node: %d and %d tasks", len(m.Tasks), len(m.UnreachableTasks))
		}
	})
}

func waiting() *api.JobSpec {
	s := &api.JobSpec{Name: "wait", Kind: api.KindService, Partition: api.DefaultPartition, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: 100000}}}}
	s.Normalize()
	return s
}

// The state is all of these at once.
func TestGetState(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		m := w.get(format, v1.MasterCallTypeGetState).GetState
		if len(m.GetAgents.Agents) != 2 || len(m.GetFrameworks.Frameworks) != 2 || len(m.GetTasks.Tasks) != 2 || m.GetExecutors == nil {
			t.Errorf("%+v", m)
		}
		v := w.get(format, v1.MasterCallTypeGetVersion).GetVersion.VersionInfo
		if v.Version != "1.11.0" || v1.Get(v.BuildUser) != "mesita 9.9" {
			t.Errorf("%+v", v)
		}
	})
}

// A limited token sees what is of its partitions; without one nobody sees anything.
func TestReadersSeeTheirPartitions(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	kind := v1.MasterCallTypeGetState
	if b := w.call(wire.JSON, &v1.MasterCall{Type: &kind}, http.StatusUnauthorized); !strings.Contains(b, "credentials") {
		t.Error(b)
	}
	w.token = w.newToken("deployer@web")
	m := w.get(wire.JSON, kind).GetState
	if len(m.GetTasks.Tasks) != 1 || m.GetTasks.Tasks[0].TaskID.Value != "t1" || len(m.GetFrameworks.Frameworks) != 2 || len(m.GetFrameworks.Frameworks[0].FrameworkInfo.Roles) != 2 || len(m.GetAgents.Agents) != 2 {
		t.Errorf("%+v %+v", m.GetTasks.Tasks, m.GetFrameworks.Frameworks)
	}
	w.token = w.newToken("viewer@default")
	m = w.get(wire.JSON, kind).GetState
	if len(m.GetTasks.Tasks) != 1 || m.GetTasks.Tasks[0].FrameworkID.Value != "mesita" || len(m.GetFrameworks.Frameworks) != 1 {
		t.Errorf("%+v %+v", m.GetTasks.Tasks, m.GetFrameworks.Frameworks)
	}
}

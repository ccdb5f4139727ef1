package legacy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// large is a cluster of so many nodes, and frameworks that run a hundred tasks each.
func large(b *testing.B, nodes, frameworks int) *world {
	w := newWorld(b, auth.Anybody, false)
	for i := range nodes {
		w.join(fmt.Sprintf("node-%05d", i), fmt.Sprintf("10.%d.%d.1:5050", i/250, i%250), api.NodeHello{Attrs: map[string]string{"zone": "a", "rack": fmt.Sprint(i % 40)},
			Resources: api.Resources{CPUs: 32_000, Mem: 64 << 30, Disk: 100 << 30, Ports: api.Ranges{{First: 20000, Last: 32000}}}})
	}
	for f := range frameworks {
		id := fmt.Sprintf("framework-%04d", f)
		w.framework(id, "default", &v1.FrameworkInfo{Name: id, User: "root"})
		node := fmt.Sprintf("node-%05d", f*nodes/frameworks)
		one := api.Resources{CPUs: 100, Mem: 64 << 20}
		room := api.Resources{CPUs: 10_000, Mem: 100 * 64 << 20}
		w.offer("o-"+id, id, "default", node, room)
		cmd := &fsm.FrameworkAccept{Meta: meta, Framework: id, Session: "s-" + id, Offers: []string{"o-" + id}}
		for i := range 100 {
			task := fmt.Sprintf("task.%d", i)
			info, err := wire.Marshal(wire.Protobuf, &v1.TaskInfo{Name: task, TaskID: &v1.TaskID{Value: task}, AgentID: &v1.AgentID{Value: node}, Command: &v1.CommandInfo{Value: new("sleep 1000")},
				Discovery: &v1.DiscoveryInfo{Visibility: v1.DiscoveryInfoVisibilityCluster, Name: &task}})
			if err != nil {
				b.Fatal(err)
			}
			cmd.Tasks = append(cmd.Tasks, fsm.FrameworkLaunch{Resources: one, Task: &api.FrameworkTask{ID: task, Name: task, Info: info, Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"sleep", "1000"}}}}})
		}
		if got := w.do(cmd).(*fsm.Accepted); got.Invalid != "" {
			b.Fatal(got.Invalid)
		}
		var st []api.TaskStatus
		for t := range w.store.View().FrameworkTasks(id) {
			st = append(st, api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskRunning, PID: 7, Time: testTime})
		}
		w.do(&fsm.TaskReport{Meta: meta, Statuses: st})
	}
	return w
}

// sink counts what it is sent.
type sink struct {
	head  http.Header
	bytes int64
}

func (s *sink) Header() http.Header         { return s.head }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { s.bytes += int64(len(b)); return len(b), nil }

// The state of 10,000 nodes with 100,000 tasks of 1,000 frameworks.
func BenchmarkState(b *testing.B) {
	w := large(b, 10_000, 1000)
	for _, path := range []string{"/state", "/state-summary", "/metrics/snapshot", "/tasks"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s := &sink{head: http.Header{}}
				w.mux.ServeHTTP(s, httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, nil))
				b.SetBytes(s.bytes)
				if s.bytes < 1000 {
					b.Fatal(s.bytes)
				}
			}
		})
	}
}

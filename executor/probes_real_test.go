package executor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

func looked(kind api.ProbeKind, command string) api.Probe {
	return api.Probe{Kind: kind, Command: []string{"sh", "-c", command}, Interval: api.Duration(100 * time.Millisecond), Timeout: api.Duration(time.Minute)}
}

// What checks find of a task is told, also after its daemon was started again, and a task
// that is not healthy any more is killed.
func TestRealHealth(t *testing.T) {
	r := newReal(t)
	up := filepath.Join(r.dir, "executor", "tasks", "web.0.1", "up")
	task := func(found *api.Task) []api.Assignment {
		return set(assignment("web", 0, 1, batch, command("sh", "-c", "touch up; exec sleep 1000"), func(k *api.Task, s *api.JobSpec) {
			s.Health = &api.HealthCheck{Probe: looked(api.ProbeCommand, "test -e up"), Failures: 2}
			s.Check = new(looked(api.ProbeCommand, "test -e up || exit 4"))
			if found != nil {
				k.State, k.Healthy, k.Check = found.State, found.Healthy, found.Check
			}
		}))
	}
	r.Assign(task(nil))
	found := func(healthy bool, code int) {
		t.Helper()
		r.until("it is found out", func() bool {
			st := r.sink.last("web.0")
			return st.Healthy != nil && *st.Healthy == healthy && st.Check != nil && st.Check.Code != nil && *st.Check.Code == code
		})
	}
	found(true, 0)
	r.stop()
	r.start()
	r.Assign(task(&api.Task{State: api.TaskRunning, Healthy: new(true), Check: &api.ProbeStatus{Kind: api.ProbeCommand, Code: new(0)}}))
	<-r.Synced()
	r.state("web.0", api.TaskRunning)
	if err := os.Remove(up); err != nil {
		t.Fatal(err)
	}
	st := r.state("web.0", api.TaskKilled)
	if st.Reason != api.ReasonHealth || st.Healthy == nil || *st.Healthy || !strings.Contains(st.Message, "its health check failed 2 times in a row: its command exited with code 1") {
		t.Errorf("%+v", st)
	}
}

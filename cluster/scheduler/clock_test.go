package scheduler

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// A back-off is waited for, but none that a clock reckoned which was set back
// since: no task waits for 200 days.
func TestBackOffWhenTheClockWasSetBack(t *testing.T) {
	service := &api.Job{Spec: &api.JobSpec{Kind: api.KindService, TaskSpec: api.TaskSpec{Restart: api.RestartPolicy{MaxDelay: api.Duration(5 * time.Minute)}}}}
	batch := &api.Job{Spec: &api.JobSpec{Kind: api.KindBatch}}
	for _, c := range []struct {
		job   *api.Job
		ahead time.Duration
		want  bool
	}{
		{service, -time.Second, false}, {service, 5 * time.Minute, true}, {service, time.Hour, false}, {service, 200 * 24 * time.Hour, false},
		{batch, time.Minute, true}, {batch, time.Hour, false},
	} {
		if got := waits(c.job, &api.Task{NotBefore: t0.Add(c.ahead)}, t0); got != c.want {
			t.Errorf("%s, %s ahead: waits %v", c.job.Spec.Kind, c.ahead, got)
		}
	}
}

package cli

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// A service whose program ends as soon as it was started is not said to run, even
// if each look finds it running; one that runs is, a moment later.
func TestWhatEndsAtOnceDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		look := func(running int) *api.Job {
			j := &api.Job{Spec: &api.JobSpec{Kind: api.KindService, Count: &one}, State: api.JobRunning}
			j.Counts.Running = running
			return j
		}
		done := lasting(settleFor, func(j *api.Job) bool { return j.Counts.Running == 1 })
		for range 10 {
			for _, running := range []int{1, 0} {
				if done(look(running)) {
					t.Fatal("what ended in between is said to run")
				}
				time.Sleep(settleFor - time.Millisecond)
			}
		}
		if done(look(1)) {
			t.Error("it is said to run at once")
		}
		time.Sleep(settleFor)
		if !done(look(1)) {
			t.Error("it runs, and is not said to")
		}
		ended := look(0)
		if ended.State = api.JobFailed; !done(ended) {
			t.Error("one that gave up is waited for")
		}
	})
}

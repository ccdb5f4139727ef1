package server

import (
	"context"
	"errors"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const (
	defaultWait = 30 * time.Second
	maxWait     = 10 * time.Minute
)

// waitsFor are what a job may be waited for.
var waitsFor = words("running", "ended", "stopped")

// waitJob holds the answer until the job is as asked, or cannot become so.
func (c *call) waitJob() (any, error) {
	until := c.Query.OneOf("wait", waitsFor...)
	timeout := c.Query.Duration("timeout", defaultWait, maxWait)
	if until == "" {
		c.Query.Fail(api.FieldErrorf("wait", "is empty: write running, ended or stopped"))
	}
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	leave, err := c.EnterStream()
	if err != nil {
		return nil, err
	}
	defer leave()
	w := c.Store.WatchKey(c.Args[0], fsm.TableJobs)
	defer w.Close()
	ctx, cancel := context.WithTimeout(c.R.Context(), timeout)
	defer cancel()
	for {
		_, _, err := w.Wait(ctx)
		j, missing := c.job()
		switch {
		case missing != nil:
			return nil, missing
		case settled(c.Store.View(), j, until):
			return j, nil
		case errors.Is(err, context.DeadlineExceeded):
			return nil, api.Errorf(api.CodeTimeout, "job %s is %s after %s; it continues: see `mesita why %s`", j.ID, progress(j), timeout, j.ID)
		case err != nil:
			return nil, err
		}
	}
}

// settled reports whether waiting for the job any longer is pointless.
func settled(v *fsm.View, j *api.Job, until string) bool {
	if j.State.Ended() {
		return true
	}
	if until != "running" {
		return false
	}
	if j.Counts.Live() == 0 && j.Counts.Failed+j.Counts.Stopped > 0 {
		return true // gave up
	}
	if j.Spec.Kind != api.KindService {
		return j.Counts.Running+j.Counts.Finished+j.Counts.Failed+j.Counts.Stopped > 0
	}
	if j.Counts.Running < j.Spec.Tasks() {
		return false
	}
	running := 0
	for t := range v.JobTasks(j.ID) {
		if t.State == api.TaskRunning && t.Version == j.Version {
			running++
		}
	}
	return running >= j.Spec.Tasks()
}

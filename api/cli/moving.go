package cli

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/client"
)

// mover moves tasks as a plan has it.
type mover struct {
	*app
	*client.Client
	upFor   time.Duration // how long a moved task has to run until it counts as moved
	timeout time.Duration // the most until it runs
	told    bool          // the last task was told to move, and has not been seen to run for upFor
}

// move moves a task if it is as planned, and waits until it has run on its new node for a
// moment: a program that ends as soon as it was started runs, too, when it is looked at
// in between. It returns why the task stayed, "" if it moved; no further one is to move
// after an error.
func (v *mover) move(ctx context.Context, m api.Move) (stays string, err error) {
	v.told = false
	if stays, err = v.unlikePlanned(ctx, m); err != nil || stays != "" {
		return stays, err
	}
	v.told = true
	err = v.MoveTask(ctx, m.Task, m.Attempt)
	if olderLeader(err, "attempt") {
		err = v.StopTask(ctx, m.Task, true)
	}
	if err != nil {
		switch code := api.ErrorCode(err); {
		case ctx.Err() != nil:
			v.progress("%s may have been told to move, and would start elsewhere by itself", m.Task)
		case code == api.CodeNotFound || code == api.CodeConflict: // somebody was faster
			v.told = false
			return err.Error(), nil
		}
		return "", err
	}
	stays, err = v.await(ctx, m)
	v.told = err != nil
	return stays, err
}

// await waits until a task that was told to move has run elsewhere for upFor.
func (v *mover) await(ctx context.Context, m api.Move) (stays string, err error) {
	end, since := time.Now().Add(v.timeout), time.Time{}
	for looks := backoff.New(firstLook, lookPause); ; {
		t, err := v.Task(ctx, m.Task)
		switch {
		case ctx.Err() != nil:
			v.progress("%s was told to move, and starts elsewhere by itself", m.Task)
			return "", context.Cause(ctx)
		case api.ErrorCode(err) == api.CodeNotFound || err == nil && t.State.Final() && t.Attempt == m.Attempt:
			return "it has ended", nil
		case err != nil:
			return "", err
		case t.State == api.TaskFinished:
			return "", nil // a batch with little to do
		}
		if x := endedSince(t, m.Attempt); x != nil {
			return "", api.Errorf(api.CodeFailed, "%s does not stay up: attempt %d, the first after its move, ended on %s: %s; no further task moves: `mesita logs %s --attempt %d` shows what it printed",
				t.ID, x.Attempt, or(x.Node, "no node"), endText(x), t.ID, x.Attempt)
		}
		up := t.Attempt > m.Attempt && serves(t)
		switch {
		case up && t.Node != m.To:
			return "", api.Errorf(api.CodeConflict, "%s started on %s, not on %s as planned: the cluster has changed meanwhile; no further task moves: run it again", m.Task, t.Node, m.To)
		case up && since.IsZero():
			since = time.Now()
		case !up:
			since = time.Time{}
		}
		switch {
		case up && time.Since(since) >= v.upFor:
			return "", nil
		case !up && time.Now().After(end):
			return "", api.Errorf(api.CodeTimeout, "%s does not run again after %s; no further task moves: `mesita why %s` says why", m.Task, v.timeout, m.Task)
		}
		backoff.Pause(ctx, looks.Next())
	}
}

// serves reports whether a task runs, is to, and is healthy as far as anybody looks.
func serves(t *api.Task) bool {
	return t.State == api.TaskRunning && t.Desired == api.DesiredRun && !t.Frozen && (t.Healthy == nil || *t.Healthy)
}

// endedSince is the first attempt of a task after that one, if it has ended.
func endedSince(t *api.Task, attempt int) *api.Attempt {
	for i := range t.Earlier {
		if x := &t.Earlier[i]; x.Attempt > attempt {
			return x
		}
	}
	if t.State.Final() && t.Attempt > attempt {
		return &api.Attempt{Attempt: t.Attempt, Node: t.Node, State: t.State, ExitCode: t.ExitCode, Signal: t.Signal, Reason: t.Reason, Message: t.Message}
	}
	return nil
}

// unlikePlanned is why a task is not moved any more, as things have changed since the
// plan was made: others move tasks, hold jobs and lose nodes meanwhile. "": they have not.
func (v *mover) unlikePlanned(ctx context.Context, m api.Move) (string, error) {
	t, err := v.Task(ctx, m.Task)
	switch {
	case api.ErrorCode(err) == api.CodeNotFound || err == nil && t.State.Final():
		return "it has ended", nil
	case err != nil:
		return "", err
	case t.Frozen:
		return "it is frozen", nil
	case t.Attempt != m.Attempt || t.Node != m.From || !serves(t):
		return "it is not as it was when the plan was made", nil
	}
	if why, err := v.jobUnlike(ctx, t); err != nil || why != "" {
		return why, err
	}
	for _, name := range []string{m.From, m.To} {
		n, err := v.Node(ctx, name)
		switch {
		case api.ErrorCode(err) == api.CodeNotFound:
			return name + " was removed", nil
		case err != nil:
			return "", err
		case n.Silent():
			return name + " does not answer", nil
		case name == m.To && !n.Schedulable():
			return name + " takes no tasks now", nil
		}
	}
	return "", nil
}

// jobUnlike is why a task is not moved because of its job.
func (v *mover) jobUnlike(ctx context.Context, t *api.Task) (string, error) {
	j, err := v.Job(ctx, t.Job)
	switch {
	case api.ErrorCode(err) == api.CodeNotFound:
		return "its job was removed", nil
	case err != nil:
		return "", err
	case j.Stop:
		return "its job is stopped", nil
	case j.Hold:
		return "its job is on hold", nil
	case j.Spec.AtMostOnce:
		return "it runs at most once", nil
	case j.Spec.Kind != api.KindService:
		if ran := v.Now().Sub(t.Started); ran > api.MostLost {
			return "it would begin " + api.Duration(ran.Round(time.Minute)).String() + " of work anew", nil
		}
		return "", nil
	case j.Version != t.Version:
		return othersDoNot, nil
	}
	all, err := v.Tasks(ctx, j.ID, "", false)
	if err != nil {
		return "", err
	}
	up := 0
	for _, o := range all {
		if serves(o) && o.Version == j.Version {
			up++
		}
	}
	if up < j.Spec.Tasks() {
		return othersDoNot, nil
	}
	return "", nil
}

const othersDoNot = "not all tasks of its job run as they are to"

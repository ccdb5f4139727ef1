package fsm

import (
	"cmp"
	"time"

	"github.com/mesita/mesita/api"
)

// TaskReport is what a node's executor says of attempts. What is old or known
// is ignored, so a report may come twice. Its value is how many changed
// something.
type TaskReport struct {
	Meta
	Statuses []api.TaskStatus `json:"statuses"`
}

func (c *TaskReport) apply(x *tx) (any, error) {
	changed := 0
	for i := range c.Statuses {
		s := &c.Statuses[i]
		job, index, ok := splitTaskID(s.Task)
		if !ok {
			continue
		}
		if t := x.taskAt(job, index); t != nil && x.report(t, s) {
			changed++
		}
	}
	return changed, nil
}

// report applies one status, if it belongs to the current attempt and moves it
// forward.
func (x *tx) report(old *api.Task, s *api.TaskStatus) bool {
	if s.Update != nil && old.Hosted() {
		return x.executorSays(old, s)
	}
	restarted := old.State == api.TaskRunning && s.State == api.TaskRunning && s.PID != 0 && s.PID != old.PID
	froze := s.Frozen && !old.Frozen && old.Desired == api.DesiredFreeze && old.State == api.TaskRunning && s.State == api.TaskRunning
	found := x.does(Frameworks) && old.State == api.TaskRunning && s.State == api.TaskRunning &&
		(s.Healthy != nil && !sameHealth(s.Healthy, old.Healthy) || s.Check != nil && !s.Check.Equal(old.Check))
	if old.Attempt != s.Attempt || old.NodeID != s.NodeID || !restarted && !froze && !found && !old.State.CanBecome(s.State) {
		return false
	}
	t := *old
	if froze {
		t.Frozen, t.FrozenAt = true, s.Time
	}
	t.State, t.Reason, t.Message = s.State, s.Reason, s.Message
	if old.Leaving() && !s.State.Final() || found && old.Desired != api.DesiredRun {
		t.Reason, t.Message = old.Reason, old.Message // why it leaves
	}
	if s.Healthy != nil {
		t.Healthy = s.Healthy
	}
	if s.Check != nil {
		t.Check = s.Check
	}
	if s.PID != 0 {
		t.PID = s.PID
	}
	if s.State == api.TaskRunning && (restarted || t.Started.IsZero()) {
		t.Started = s.Time
	}
	if restarted {
		x.accountRestart(old, &t)
	}
	if s.State.Final() {
		t.Ended, t.ExitCode, t.Signal = s.Time, s.ExitCode, s.Signal
		if t.Started.IsZero() && s.Started != nil && x.does(Accounts) {
			t.Started = *s.Started // nobody told that it ran
		}
	}
	what := t.Message
	switch {
	case what != "":
	case froze:
		what = "its cpus are free"
	case found && t.Healthy != nil && *t.Healthy && !sameHealth(old.Healthy, t.Healthy):
		what = "it is healthy"
	}
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: what})
	if s.State.Final() {
		x.takenPorts(t.NodeID, s.Taken)
		if old.State != api.TaskRunning && t.PID != 0 && x.does(ShortRuns) {
			x.startWorked(&t)
		}
		x.endTask(old, &t, s.Used)
		return true
	}
	if t.State == api.TaskRunning && old.State != api.TaskRunning {
		x.taskIncidentsOver(t.ID, "runs again")
		x.startWorked(&t)
	}
	x.putTask(&t)
	return true
}

// endTask decides, by the job's own policy, what follows the end of an
// attempt. It is part of apply so that no reader ever sees a task ended that
// will be tried again. What it used is nil if nobody measured it.
func (x *tx) endTask(old, t *api.Task, used *api.TaskUse) {
	j := x.jobAt(t.Job)
	if j == nil {
		x.putTask(t)
		return
	}
	x.learn(j, t)
	x.accountEnd(j, old, t, used)
	x.nextAttempt(j, old, t)
	if j.Spec.Gang > 0 && t.State != api.TaskFinished {
		x.breakGang(j.ID, t)
	}
}

// breakGang ends the other tasks of a gang of which one ended early: they
// start again together, or not at all.
func (x *tx) breakGang(job string, t *api.Task) {
	desired := api.DesiredStop
	if now := x.taskAt(t.Job, t.Index); now != nil && now.Pending() {
		desired = api.DesiredMove
	}
	for _, o := range x.jobTasks(job) {
		if desired == api.DesiredMove && o.Leaving() {
			continue // it has until then to save what it did
		}
		if o.Index != t.Index && !o.State.Final() && o.Desired != desired {
			x.stopTask(o, desired, api.ReasonGang)
		}
	}
}

func (x *tx) nextAttempt(j *api.Job, old, t *api.Task) {
	surplus := j.Spec.Kind == api.KindService && t.Index >= j.Spec.Tasks()
	notBefore, elsewhere := x.startFailed(j, t)
	if !elsewhere {
		x.taskIncident(j, t)
	}
	switch {
	case j.Framework != "": // which decides by itself what follows
		x.putTask(t)
		if t.Framework.IsExecutor {
			x.endHosted(t)
		}
		if t.Framework.Group != "" && t.State != api.TaskFinished {
			x.breakGroup(t)
		}
	case j.Stop || t.Desired == api.DesiredStop || surplus:
		x.putTask(t)
		if !j.Stop && (surplus || x.wantedAgain(t, old.Reason)) {
			x.removeTask(t)
		}
	case t.Moves() && !x.finishedFirst(j, t):
		x.requeue(t, time.Time{})
	case elsewhere:
		x.requeue(t, notBefore)
	case t.State == api.TaskLost || t.State == api.TaskDropped, lostWithNode(t):
		x.requeue(t, time.Time{})
	case j.Spec.Kind == api.KindBatch:
		if t.State != api.TaskFinished {
			t.Failures++
		}
		if t.State == api.TaskFinished || t.Failures > j.Spec.Retries {
			x.putTask(t)
			return
		}
		x.requeue(t, x.At.Add(backoff(t.Failures, time.Second, time.Minute)))
	default:
		x.restartService(j, old, t)
	}
}

// finishedFirst reports whether a task that was to move had done its work before
// its node heard of that: whom the node stops is reported as killed.
func (x *tx) finishedFirst(j *api.Job, t *api.Task) bool {
	return x.does(FinishedMoves) && j.Spec.Kind == api.KindBatch && t.State == api.TaskFinished
}

// wantedAgain reports whether a task that has ended was told to as a service was
// scaled down, for that reason or with it. If the service wants it all the same,
// it was scaled up meanwhile.
func (x *tx) wantedAgain(t *api.Task, reason api.Reason) bool {
	return x.does(ScaledAgain) && t.Desired == api.DesiredStop && (reason == api.ReasonScaledDown || t.Reason == api.ReasonScaledDown)
}

// lostWithNode reports whether an attempt ended through no fault of its own, so
// that it costs the task none of its retries. Who was unlucky that often is
// suspected of being the cause.
func lostWithNode(t *api.Task) bool {
	switch t.Reason {
	case api.ReasonReboot, api.ReasonKeeperLost:
		return len(t.Earlier) < api.MaxAttempts
	}
	return false
}

// restartService applies the restart policy. A task that ran for ten times its
// longest back-off, or ten minutes, starts with a clean record.
func (x *tx) restartService(j *api.Job, old, t *api.Task) {
	if x.ofOlder(t, t.Version) {
		x.requeue(t, time.Time{})
		return
	}
	p := j.Spec.Restart
	steady := min(10*time.Duration(p.MaxDelay), 10*time.Minute)
	if old.State == api.TaskRunning && t.Ended.Sub(t.Started) > steady {
		t.Failures = 0
	}
	t.Failures++
	if p.Attempts > 0 && t.Failures > p.Attempts {
		x.gaveUp(t)
		x.putTask(t)
		return
	}
	x.requeue(t, x.At.Add(backoff(t.Failures, time.Duration(p.Delay), time.Duration(p.MaxDelay))))
}

func backoff(failures int, first, most time.Duration) time.Duration {
	d := first
	for i := 1; i < failures && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// requeue files the ended attempt and makes the task pending again, in the
// job's newest version.
func (x *tx) requeue(t *api.Task, notBefore time.Time) {
	next := &api.Task{Extra: t.Extra, ID: t.ID, Job: t.Job, Index: t.Index, Version: t.Version, Partition: t.Partition, Attempt: t.Attempt + 1,
		Resources: t.Resources, Created: t.Created, NotBefore: notBefore, Failures: t.Failures, Reason: t.Reason, Message: t.Message, Preempted: t.Preempted}
	if t.Desired == api.DesiredLeave {
		next.Preempted = x.At // it is left alone from its end on, also where that is early
	}
	if j := x.jobAt(t.Job); j != nil {
		if x.ofOlder(t, t.Version) {
			next.Failures, next.NotBefore = 0, time.Time{}
		}
		next.Version, next.Resources = j.Version, j.Spec.Need()
	}
	earlier := append(make([]api.Attempt, 0, len(t.Earlier)+1), t.Earlier...)
	earlier = append(earlier, api.Attempt{Attempt: t.Attempt, Version: t.Version, Node: t.Node, NodeID: t.NodeID, State: t.State, PID: t.PID,
		Started: t.Started, Ended: t.Ended, ExitCode: t.ExitCode, Signal: t.Signal, Reason: t.Reason, Message: t.Message})
	next.Earlier = earlier[max(0, len(earlier)-api.MaxAttempts):]
	x.happened(api.Event{Kind: api.EventTaskRequeued, Object: t.ID, Job: t.Job, Node: t.Node, Task: next, Message: cmp.Or(string(t.Reason), t.Message, t.State.String())})
	x.putTask(next)
}

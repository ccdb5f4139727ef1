package fsm

import (
	"cmp"
	"time"

	"github.com/mesita/mesita/api"
)

var taskNoun = noun[api.Task]{
	less: func(a, b *api.Task) bool {
		return compareTaskKeys(taskKey{a.Job, a.Index}, taskKey{b.Job, b.Index}) < 0
	},
	watch:    TableTasks,
	id:       func(t *api.Task) string { return t.ID },
	revision: func(t *api.Task) *uint64 { return &t.Revision },
	follow:   (*tx).indexTask,
	forms:    []form[api.Task]{{record: recTask}},
}

// TaskCreate makes the tasks of a service with the indexes First to First+Count-1
// that do not exist. Its value is how many were made.
type TaskCreate struct {
	Meta
	Job   string `json:"job"`
	First int    `json:"first"`
	Count int    `json:"count"`
}

func (c *TaskCreate) apply(x *tx) (any, error) {
	j, err := x.job(c.Job)
	if err != nil {
		return nil, err
	}
	if j.Stop || j.State.Ended() {
		return nil, conflict("job %q is %s", c.Job, j.State)
	}
	if j.Spec.Kind == api.KindBatch {
		return 0, nil // made one by one as they are placed
	}
	return x.makeTasks(c.Job, c.First, c.Count), nil
}

// makeTasks makes those tasks of a job that do not exist, and returns how
// many.
func (x *tx) makeTasks(job string, first, count int) int {
	j := x.jobAt(job)
	made := 0
	need := j.Spec.Need()
	next := *j
	for i := first; i < first+count; i++ {
		if x.taskAt(job, i) != nil {
			continue
		}
		t := &api.Task{ID: api.TaskID(job, i), Job: job, Index: i, Version: j.Version, Partition: j.Spec.Partition,
			Attempt: j.Base + 1, Resources: need, Created: x.At}
		x.happened(api.Event{Kind: api.EventTaskCreated, Object: t.ID, Job: job, Task: t, Message: "its job wants it"})
		x.tasks.put(x, t)
		next.Counts.Pending++
		made++
	}
	if made > 0 {
		x.replaceJob(&next)
	}
	return made
}

// Placement puts one attempt of a task on a node.
type Placement struct {
	Job     string `json:"job"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	NodeID  string `json:"nodeID"`
	// Resources is what it holds there; nil: what the task asks for. One with
	// ports names their numbers here.
	Resources *api.Resources `json:"resources,omitempty"`
	Ports     map[string]int `json:"ports,omitempty"`
}

// need is what the placement of that task holds.
func (p *Placement) need(t *api.Task) api.Resources {
	if p.Resources != nil {
		return *p.Resources
	}
	return t.Resources
}

// TaskPlace places tasks. A placement whose task or node changed meanwhile is
// left out. Its value is how many were placed.
type TaskPlace struct {
	Meta
	Placements []Placement `json:"placements"`
}

func (c *TaskPlace) apply(x *tx) (any, error) {
	placed := 0
	defer x.made()
	for i := 0; i < len(c.Placements); {
		n := 1
		if i == 0 || c.Placements[i].Job != c.Placements[i-1].Job {
			x.made()
		}
		if x.isGang(&c.Placements[i]) {
			for i+n < len(c.Placements) && c.Placements[i+n].Job == c.Placements[i].Job {
				n++
			}
			if !x.gangFits(c.Placements[i : i+n]) {
				i += n
				continue
			}
		}
		for k := range n {
			if x.place(&c.Placements[i+k]) {
				placed++
			}
		}
		for k := range n { // of a gang all, or it would be torn apart
			x.tried(c.Placements[i+k].NodeID)
		}
		i += n
	}
	return placed, nil
}

func (x *tx) isGang(p *Placement) bool {
	j := x.run
	if j == nil || j.ID != p.Job {
		j = x.jobAt(p.Job)
	}
	return j != nil && j.Spec.Gang > 0
}

// place puts one attempt on a node, if both are still as they were.
func (x *tx) place(p *Placement) bool {
	row := x.rowAt(p.NodeID)
	if row == nil || !row.node.Schedulable() {
		return false
	}
	if old := x.taskAt(p.Job, p.Index); old != nil {
		x.made() // its count goes to the job as stored
		t := *old
		if !x.placed(&t, p, row) {
			return false
		}
		x.putTask(&t)
		return true
	}
	j := x.making(p.Job)
	if j == nil {
		return false
	}
	if first, _, err := j.Spec.Indexes(); err != nil || p.Index != first+j.Made {
		return false
	}
	t := j.UnmadeTask(p.Index)
	if !x.placed(t, p, row) {
		return false
	}
	x.putMade(t, j)
	return true
}

// placed makes a pending task one that was placed. It is false, and the task as
// it was, if it cannot be placed there.
func (x *tx) placed(t *api.Task, p *Placement, row *nodeRow) bool {
	need := p.need(t)
	if !t.Pending() || t.Attempt != p.Attempt || t.Desired != api.DesiredRun || !row.free().Fits(need) || !x.knows(row.node, t) {
		return false
	}
	t.Node, t.NodeID, t.Resources, t.Ports = row.node.Name, row.node.ID, need, p.Ports
	x.happened(api.Event{Kind: api.EventTaskPlaced, Object: t.ID, Job: t.Job, Node: t.Node, Task: t})
	return true
}

// knows tells whether the program of a node knows what a task asks for.
func (x *tx) knows(n *api.Node, t *api.Task) bool {
	if x.level < features[ProcessSpecs].level || Level(n.Level) >= x.level {
		return true
	}
	j := x.jobAt(t.Job)
	return j == nil || Level(n.Level) >= SpecLevel(j.SpecOf(t.Version))
}

// making is the copy of a batch that collects what the placements of its
// unmade tasks change, so that a run of them changes the job once; nil if it
// has none to make.
func (x *tx) making(job string) *api.Job {
	if x.run != nil && x.run.ID == job {
		if x.run.Unmade() == 0 {
			return nil
		}
		return x.run
	}
	x.made()
	j := x.jobAt(job)
	if j == nil || j.Unmade() == 0 {
		return nil
	}
	next := *j
	x.run = &next
	return x.run
}

// made stores the job that was being made.
func (x *tx) made() {
	if x.run != nil {
		x.replaceJob(x.run)
		x.run = nil
	}
}

// gangFits tells whether all unfinished tasks of a gang are among ps and have
// room together: it starts whole or not at all.
func (x *tx) gangFits(ps []Placement) bool {
	j := x.jobAt(ps[0].Job)
	if len(ps) != j.Counts.Pending || j.Counts.Live() != j.Counts.Pending {
		return false
	}
	free := map[string]api.Resources{}
	seen := map[int]bool{}
	for i := range ps {
		p := &ps[i]
		t := x.taskAt(p.Job, p.Index)
		if t == nil && p.Index >= 0 && p.Index < j.Spec.Gang && p.Index == j.Made+i {
			t = j.UnmadeTask(p.Index)
		}
		if t == nil || seen[p.Index] || !t.Pending() || t.Attempt != p.Attempt || t.Desired != api.DesiredRun {
			return false
		}
		seen[p.Index] = true
		left, ok := free[p.NodeID]
		if !ok {
			row := x.rowAt(p.NodeID)
			if row == nil || !row.node.Schedulable() {
				return false
			}
			left = row.free()
		}
		need := p.need(t)
		if !left.Fits(need) || !x.knows(x.rowAt(p.NodeID).node, t) {
			return false
		}
		free[p.NodeID] = left.Minus(need)
	}
	return true
}

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
	restarted := old.State == api.TaskRunning && s.State == api.TaskRunning && s.PID != 0 && s.PID != old.PID
	froze := s.Frozen && !old.Frozen && old.Desired == api.DesiredFreeze && old.State == api.TaskRunning && s.State == api.TaskRunning
	if old.Attempt != s.Attempt || old.NodeID != s.NodeID || !restarted && !froze && !old.State.CanBecome(s.State) {
		return false
	}
	t := *old
	if froze {
		t.Frozen, t.FrozenAt = true, s.Time
	}
	t.State, t.Reason, t.Message = s.State, s.Reason, s.Message
	if s.PID != 0 {
		t.PID = s.PID
	}
	if s.State == api.TaskRunning && (restarted || t.Started.IsZero()) {
		t.Started = s.Time
	}
	if s.State.Final() {
		t.Ended, t.ExitCode, t.Signal = s.Time, s.ExitCode, s.Signal
	}
	what := t.Message
	if froze && what == "" {
		what = "its cpus are free"
	}
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: what})
	if s.State.Final() {
		x.endTask(old, &t)
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
// will be tried again.
func (x *tx) endTask(old, t *api.Task) {
	j := x.jobAt(t.Job)
	if j == nil {
		x.putTask(t)
		return
	}
	x.learn(j, t)
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
	case j.Stop || t.Desired == api.DesiredStop || surplus:
		x.putTask(t)
		if !j.Stop && surplus {
			x.removeTask(t)
		}
	case t.Desired == api.DesiredMove:
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

// lostWithNode tells whether an attempt ended through no fault of its own, so
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
	if j := x.jobAt(t.Job); j != nil {
		next.Version, next.Resources = j.Version, j.Spec.Need()
	}
	earlier := append(make([]api.Attempt, 0, len(t.Earlier)+1), t.Earlier...)
	earlier = append(earlier, api.Attempt{Attempt: t.Attempt, Version: t.Version, Node: t.Node, NodeID: t.NodeID, State: t.State, PID: t.PID,
		Started: t.Started, Ended: t.Ended, ExitCode: t.ExitCode, Signal: t.Signal, Reason: t.Reason, Message: t.Message})
	next.Earlier = earlier[max(0, len(earlier)-api.MaxAttempts):]
	x.happened(api.Event{Kind: api.EventTaskRequeued, Object: t.ID, Job: t.Job, Node: t.Node, Task: next, Message: cmp.Or(string(t.Reason), t.Message, t.State.String())})
	x.putTask(next)
}

// removeTask forgets a task that is no longer wanted, but not the number of
// its attempts.
func (x *tx) removeTask(t *api.Task) {
	x.deleteTask(t)
	if prev := x.jobAt(t.Job); prev != nil && prev.Base < t.Attempt {
		j := *prev
		j.Base = t.Attempt
		x.replaceJob(&j)
	}
	x.happened(api.Event{Kind: api.EventTaskRemoved, Object: t.ID, Job: t.Job, Message: "its job wants fewer"})
}

// TaskStop tells tasks to end: for good, or with Move to start again elsewhere.
// Its value is how many were told.
type TaskStop struct {
	Meta
	IDs    []string   `json:"ids"`
	Move   bool       `json:"move,omitempty"`
	Reason api.Reason `json:"reason,omitempty"`
}

func (c *TaskStop) apply(x *tx) (any, error) {
	n := 0
	for _, id := range c.IDs {
		job, index, ok := splitTaskID(id)
		if !ok {
			continue
		}
		t := x.taskAt(job, index)
		if t == nil || t.State.Final() {
			continue
		}
		desired := api.DesiredStop
		if c.Move {
			desired = api.DesiredMove
		}
		if x.stopTask(t, desired, c.Reason) {
			n++
		}
	}
	if n == 0 && len(c.IDs) == 1 {
		return 0, notFound("running task", c.IDs[0])
	}
	return n, nil
}

// stopTask changes what is wanted of a task. One that is pending has nothing
// to end: it ends, or just takes its job's newest version.
func (x *tx) stopTask(old *api.Task, desired api.Desired, reason api.Reason) bool {
	if old.State.Final() || old.Desired == desired || old.Desired == api.DesiredStop || old.Desired == api.DesiredMove && desired == api.DesiredFreeze {
		return false
	}
	t := *old
	t.Desired, t.Reason = desired, reason
	if !t.Pending() {
		if desired != api.DesiredFreeze { // which was told as a preemption
			x.happened(api.Event{Kind: api.EventTaskStop, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: cmp.Or(string(reason), "asked for")})
		}
		x.putTask(&t)
		return true
	}
	if desired == api.DesiredMove {
		j := x.jobAt(t.Job)
		if j == nil || j.Version == t.Version {
			return false
		}
		t.Desired, t.Version, t.Resources = api.DesiredRun, j.Version, j.Spec.Need()
		x.putTask(&t)
		return true
	}
	t.State, t.Ended = api.TaskKilled, x.At
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Task: &t, Message: string(reason)})
	x.endTask(old, &t)
	return true
}

func splitTaskID(id string) (job string, index int, ok bool) {
	i := len(id) - 1
	scale := 1
	for ; i >= 0 && id[i] >= '0' && id[i] <= '9' && scale <= 1e9; i-- {
		index += int(id[i]-'0') * scale
		scale *= 10
	}
	if i < 1 || i == len(id)-1 || id[i] != '.' {
		return "", 0, false
	}
	return id[:i], index, true
}

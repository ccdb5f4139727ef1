package fsm

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// This file has executors of frameworks: tasks that run tasks of theirs, which begin
// after them and end with them.

// FrameworkExecutor is an executor that a framework wants to run a task.
type FrameworkExecutor struct {
	Task      *api.FrameworkTask `json:"task"`
	Resources api.Resources      `json:"resources"`
	Ports     map[string]int     `json:"ports,omitempty"`
}

// Reference is how the other tasks of a command say that the same executor runs them.
func (e *FrameworkExecutor) Reference() *FrameworkExecutor {
	return &FrameworkExecutor{Task: &api.FrameworkTask{Executor: e.Task.Executor, IsExecutor: true, Digest: e.Task.Digest}}
}

// withExecutors are the tasks of a command, each with all of its executor.
func withExecutors(tasks []FrameworkLaunch) []FrameworkLaunch {
	type key struct{ id, digest string }
	whole := map[key]*FrameworkExecutor{}
	out := slices.Clone(tasks)
	for i := range out {
		e := out[i].Executor
		if e == nil || e.Task == nil {
			continue
		}
		k := key{e.Task.Executor, string(e.Task.Digest)}
		if w := whole[k]; e.Task.Spec == nil && w != nil {
			out[i].Executor = w
		} else if e.Task.Spec != nil {
			whole[k] = e
		}
	}
	return out
}

// charged is what an executor takes that is started with a task. Where neither says how much
// memory there is, that is what is usual: no limit is told by none.
func (e *FrameworkExecutor) charged(t *FrameworkLaunch) api.Resources {
	r := e.Resources
	if r.Mem+t.Resources.Mem == 0 {
		r.Mem = e.Task.Spec.Mem
	}
	return r
}

// compareExecutors has an executor before what it runs.
func compareExecutors(a, b *api.Task) int {
	f, g := a.Framework, b.Framework
	hosted := func(f *api.FrameworkTask) int {
		if f.IsExecutor {
			return 0
		}
		return 1
	}
	return cmp.Or(strings.Compare(f.Framework, g.Framework), strings.Compare(a.NodeID, b.NodeID), strings.Compare(f.Executor, g.Executor), hosted(f)-hosted(g), compareTasks(a, b))
}

// indexExecutor keeps the executors that have not ended, and what runs with them.
func (x *tx) indexExecutor(old, t *api.Task) {
	if t != nil && !t.State.Final() {
		x.executors.ReplaceOrInsert(t)
		return
	}
	if old != nil && !old.State.Final() {
		x.executors.Delete(old)
	}
	if t != nil && t.Framework.IsExecutor {
		x.touch(TableExecutors, t.ID)
	}
}

// ofExecutor lists an executor on a node, if it has not ended, and what it runs.
func (tb *tables) ofExecutor(framework, nodeID, id string, yield func(*api.Task) bool) {
	first := &api.Task{NodeID: nodeID, Framework: &api.FrameworkTask{Framework: framework, Executor: id, IsExecutor: true}}
	tb.executors.AscendGreaterOrEqual(first, func(t *api.Task) bool {
		return t.NodeID == nodeID && t.Framework.Framework == framework && t.Framework.Executor == id && yield(tb.tasks.get(t))
	})
}

// executor is nil if there is none.
func (tb *tables) executor(framework, nodeID, id string) (e *api.Task) {
	tb.ofExecutor(framework, nodeID, id, func(t *api.Task) bool {
		if t.Framework.IsExecutor {
			e = t
		}
		return false
	})
	return e
}

// hosted lists what an executor runs.
func (tb *tables) hosted(e *api.Task) (out []*api.Task) {
	tb.ofExecutor(e.Framework.Framework, e.NodeID, e.Framework.Executor, func(t *api.Task) bool {
		if t.Hosted() {
			out = append(out, t)
		}
		return true
	})
	return out
}

func (tb *tables) hostedCount(e *api.Task) (n int) {
	tb.executors.AscendGreaterOrEqual(e, func(t *api.Task) bool {
		same := t.NodeID == e.NodeID && t.Framework.Framework == e.Framework.Framework && t.Framework.Executor == e.Framework.Executor
		if same && t.Hosted() {
			n++
		}
		return same
	})
	return n
}

// Executor is the executor of a framework on a node, nil if it has ended.
func (v *View) Executor(framework, nodeID, id string) *api.Task {
	return v.t.executor(framework, nodeID, id)
}

// Executors lists those of a framework on a node that have not ended.
func (v *View) Executors(framework, nodeID string) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		first := &api.Task{NodeID: nodeID, Framework: &api.FrameworkTask{Framework: framework, IsExecutor: true}}
		v.t.executors.AscendGreaterOrEqual(first, func(t *api.Task) bool {
			return t.NodeID == nodeID && t.Framework.Framework == framework && (!t.Framework.IsExecutor || yield(v.t.tasks.get(t)))
		})
	}
}

// Hosted lists what an executor runs.
func (v *View) Hosted(e *api.Task) []*api.Task { return v.t.hosted(e) }

// lookAtExecutor says why a task cannot start with its executor, and adds that to what is
// to be started if it is not there.
func (l *launcher) lookAtExecutor(t *FrameworkLaunch, w *wanted) refusal {
	e := t.Executor
	switch {
	case e == nil && t.Task.Executor == "" && !t.Task.IsExecutor:
		return refusal{}
	case e == nil || e.Task == nil || e.Task.Spec == nil || !e.Task.IsExecutor || t.Task.IsExecutor || t.Task.Executor == "" || e.Task.Executor != t.Task.Executor:
		return refusal{why: "it does not say which executor runs it"}
	case Level(l.rowAt(l.offer.NodeID).node.Level) < features[Frameworks].level:
		return refusal{why: "the node runs an older mesita that knows no executors"}
	}
	id := e.Task.Executor
	digest := e.Task.Digest
	if others := w.executors[id]; others != nil {
		digest = others.Task.Digest
	} else if runs := l.executor(l.framework.ID, l.offer.NodeID, id); runs == nil {
		w.executors[id] = e
	} else {
		switch {
		case runs.Desired != api.DesiredRun:
			return refusal{why: "Executor terminating", ending: true}
		case t.Resources.GPUs > 0 && !runs.Framework.GPUs && !l.begun[id]:
			return refusal{why: "executor " + id + " began without GPUs, and a program is given none later: give it some of its own, or take another one"}
		case l.hostedCount(runs) >= api.MaxExecutorTasks:
			return refusal{why: "executor " + id + " has " + api.Count(api.MaxExecutorTasks, "task") + ", and gets no more at a time"}
		case runs.Partition == l.offer.Partition:
			digest = runs.Framework.Digest
		default:
			digest = nil // it is allocated to another role
		}
	}
	if !bytes.Equal(digest, e.Task.Digest) {
		return refusal{why: "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID"}
	}
	return refusal{}
}

// begin starts an executor for a task, if it is not there.
func (l *launcher) begin(t *FrameworkLaunch, w *wanted) {
	e := t.Executor
	if e == nil {
		return
	}
	id := e.Task.Executor
	if w.executors[id] != nil {
		delete(w.executors, id)
		r := e.charged(t)
		l.start(e.Task, r, e.Ports, "")
		l.begun[id] = true
	}
	if row := l.executor(l.framework.ID, l.offer.NodeID, id); t.Resources.GPUs+row.Resources.GPUs > 0 && !row.Framework.GPUs {
		with, own := *row, *row.Framework
		own.GPUs = true
		with.Framework = &own
		l.putTask(&with)
	}
}

// FrameworkShutdown has an executor of a framework end, with all that it runs. Its value is
// how many were told.
type FrameworkShutdown struct {
	Meta
	Framework string `json:"framework"`
	NodeID    string `json:"nodeID"`
	Executor  string `json:"executor"`
}

func (c *FrameworkShutdown) apply(x *tx) (any, error) {
	e := x.executor(c.Framework, c.NodeID, c.Executor)
	if e == nil {
		return 0, api.NotFound("executor", c.Executor)
	}
	if !x.stopTask(e, api.DesiredStop, api.ReasonStopped) {
		return 0, nil
	}
	return 1, nil
}

// maxSaid bounds what is shown of the message of an executor.
const maxSaid = 1 << 10

// executorSays applies what an executor says of a task that it runs. The same again changes
// nothing; the state that the task has is news, too, as there may be more in it.
func (x *tx) executorSays(old *api.Task, s *api.TaskStatus) bool {
	u := s.Update
	switch s.State {
	case api.TaskStaging, api.TaskUnreachable, api.TaskUnknown: // which are not for an executor to say
		return false
	}
	if old.Attempt != s.Attempt || old.NodeID != s.NodeID || old.State.Final() || old.State != s.State && !old.State.CanBecome(s.State) || u.Validate() != nil || x.knowsUpdate(old, u.ID) {
		return false
	}
	t, own := *old, *old.Framework
	own.Last = u.ID
	t.Framework, t.State = &own, s.State
	t.Message = strings.ToValidUTF8(s.Message[:min(len(s.Message), maxSaid)], "") // all of it is in the update
	if t.Reason = s.Reason; old.Leaving() && !s.State.Final() || s.Reason == "" && old.Desired != api.DesiredRun {
		t.Reason = old.Reason // why it is to end
	}
	if s.State == api.TaskRunning && t.Started.IsZero() {
		t.Started = s.Time
	}
	if old.State != t.State { // what it says beside is for its framework
		x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: t.Message})
	}
	x.addNews(&t, api.FrameworkUpdate{ID: u.ID, State: t.State, Reason: t.Reason, Message: t.Message, Healthy: t.Healthy, Time: x.At, Status: u.Status})
	if !s.State.Final() {
		x.putTask(&t)
		return true
	}
	t.Ended = s.Time
	x.endTask(old, &t, nil)
	return true
}

// knowsUpdate reports whether a task's executor said that before.
func (x *tx) knowsUpdate(t *api.Task, id []byte) bool {
	if bytes.Equal(t.Framework.Last, id) {
		return true
	}
	row := x.news.get(&newsRow{Framework: t.Framework.Framework, Job: t.Job, Index: t.Index})
	if row == nil {
		return false
	}
	for i := range row.Updates {
		if bytes.Equal(row.Updates[i].ID, id) {
			return true
		}
	}
	return false
}

// handedOn are the reasons of an executor's end that are those of the tasks that it ran.
var handedOn = map[api.Reason]bool{
	api.ReasonOOM: true, api.ReasonDiskFull: true, api.ReasonStartFailed: true, api.ReasonFetchFailed: true, api.ReasonPortTaken: true, api.ReasonUnsupported: true,
	api.ReasonInternal: true, api.ReasonTimeLimit: true, api.ReasonKeeperLost: true, api.ReasonReboot: true, api.ReasonExecutorSilent: true, api.ReasonNodeLost: true,
}

// endHosted ends what an executor ran, which has ended.
func (x *tx) endHosted(e *api.Task) {
	for _, old := range x.hosted(e) {
		t := *old
		t.State, t.Reason, t.Ended = api.TaskFailed, api.ReasonExecutorEnded, e.Ended
		t.Message = "its executor " + e.Framework.Executor + " ended"
		if e.Message != "" {
			t.Message += ": " + e.Message
		}
		switch {
		case e.State != api.TaskFinished && e.State != api.TaskFailed && e.State != api.TaskKilled: // with its node
			t.State, t.Reason, t.Message = e.State, e.Reason, e.Message
		case old.Desired == api.DesiredStop || old.Desired == api.DesiredMove:
			t.State, t.Reason = api.TaskKilled, old.Reason
		case e.Desired == api.DesiredMove:
			t.State, t.Reason = api.TaskKilled, e.Reason
		case handedOn[e.Reason]:
			t.Reason = e.Reason
		}
		x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: t.Message})
		x.endTask(old, &t, nil)
	}
}

// breakGroup ends the other tasks of a group of which one did not finish.
func (x *tx) breakGroup(t *api.Task) {
	job, first, ok := splitTaskID(t.Framework.Group)
	if !ok {
		return
	}
	var others []*api.Task
	for o := range x.tasks.from(&api.Task{Job: job, Index: first}) { // they follow each other
		if o.Job != job || o.Framework.Group != t.Framework.Group {
			break
		}
		others = append(others, o)
	}
	for _, o := range others {
		x.stopTask(o, api.DesiredStop, api.ReasonTaskGroup)
	}
}

package rows

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// FrameworkOf is the framework that a task is shown as one of.
func FrameworkOf(t *api.Task) string {
	if t.Framework == nil {
		return Own
	}
	return t.Framework.Framework
}

// TaskID is the id by which Mesos knows a task.
func TaskID(t *api.Task) string {
	if t.Framework == nil {
		return t.ID
	}
	return t.Framework.ID
}

// ExecutorID is the executor that a framework knows a task to be of; "" if none was named,
// as for a command.
func ExecutorID(t *api.Task) string {
	if t == nil || t.Framework == nil {
		return ""
	}
	return cmp.Or(t.Framework.Executor, t.Framework.GroupExecutor)
}

// A Kind is which of the lists of Mesos a task is in.
type Kind uint8

// The lists of tasks.
const (
	None        Kind = iota // it was never given a node, without which Mesos has no task, or is an executor
	Live                    // it has not ended
	Unreachable             // its node does not answer
	Completed               // it has ended, and is remembered
)

// KindOf is which list a task is in.
func KindOf(t *api.Task) Kind {
	switch {
	case t.NodeID == "" || t.Framework != nil && t.Framework.IsExecutor:
		return None
	case t.State.Final():
		return Completed
	case t.State == api.TaskUnreachable:
		return Unreachable
	}
	return Live
}

// Tasks lists the tasks of a kind that the caller sees.
func (r *Rows) Tasks(kind Kind) iter.Seq[*v1.Task] {
	return func(yield func(*v1.Task) bool) {
		for j, t := range r.each() {
			if KindOf(t) == kind && r.SeesTask(t) && !yield(r.task(j, t)) {
				return
			}
		}
	}
}

// each lists all tasks that have a row, with their jobs.
func (r *Rows) each() iter.Seq2[*api.Job, *api.Task] {
	return func(yield func(*api.Job, *api.Task) bool) {
		for j := range r.View.Jobs() {
			for t := range r.View.MadeTasks(j.ID) {
				if !yield(j, t) {
					return
				}
			}
		}
	}
}

// Task is a task as an operator is told of it.
func (r *Rows) Task(t *api.Task) *v1.Task { return r.task(r.View.Job(t.Job), t) }

func (r *Rows) task(j *api.Job, t *api.Task) *v1.Task {
	st := r.Status(t)
	m := &v1.Task{Name: TaskID(t), TaskID: st.TaskID, FrameworkID: &v1.FrameworkID{Value: FrameworkOf(t)}, AgentID: st.AgentID, State: st.State,
		Resources: r.ofTask(t), Statuses: []*v1.TaskStatus{st}, StatusUpdateState: &st.State}
	if id := ExecutorID(t); id != "" {
		m.ExecutorID = &v1.ExecutorID{Value: id}
	}
	if t.Framework != nil {
		r.said(m, t.Framework)
		if !r.SeesValues(t) {
			maskTask(m)
		}
		return m
	}
	if j != nil {
		m.Name, m.Labels = cmp.Or(j.Spec.Name, t.ID), labels(j.Spec.Labels)
		if s := j.SpecFor(t); s != nil && s.User != "" {
			m.User = &s.User
		}
	}
	return m
}

// said adds what a framework said of its task.
func (r *Rows) said(m *v1.Task, own *api.FrameworkTask) {
	m.Name = own.Name
	if own.Spec != nil && own.Spec.User != "" {
		m.User = &own.Spec.User
	}
	var info v1.TaskInfo
	if wire.Unmarshal(wire.Protobuf, own.Info, &info) != nil {
		return // all that is known is there
	}
	m.Labels, m.Discovery, m.Container, m.HealthCheck, m.KillPolicy, m.Limits = info.Labels, info.Discovery, info.Container, info.HealthCheck, info.KillPolicy, info.Limits
}

func labels(of map[string]string) *v1.Labels {
	if len(of) == 0 {
		return nil
	}
	out := &v1.Labels{}
	for _, k := range slices.Sorted(maps.Keys(of)) {
		out.Labels = append(out.Labels, &v1.Label{Key: k, Value: new(of[k])})
	}
	return out
}

// Status is how a task is now, and since when.
func (r *Rows) Status(t *api.Task) *v1.TaskStatus {
	st := &v1.TaskStatus{TaskID: &v1.TaskID{Value: TaskID(t)}, State: State(t.State), AgentID: &v1.AgentID{Value: t.NodeID},
		Healthy: t.Healthy, CheckStatus: Check(t.Check), Timestamp: Seconds(r.since(t))}
	st.ExecutorID = &v1.ExecutorID{Value: cmp.Or(ExecutorID(t), st.TaskID.Value)}
	st.Source, st.Reason = Why(t.State, t.Reason)
	message := t.Message
	if t.State.Final() && !t.Hosted() {
		message = EndText(t, t.Reason, t.Message)
	}
	switch {
	case r.untold(t):
		st.Source, st.Reason = new(master), nil
	case message != "":
		st.Message = &message
	}
	if !t.Hosted() && (t.State == api.TaskRunning || t.State == api.TaskKilling) {
		st.ContainerStatus = Container(r.View, t)
	}
	return st
}

// since is when a task came into its state, as far as that is remembered.
func (r *Rows) since(t *api.Task) time.Time {
	switch {
	case t.State.Final():
		return t.Ended
	case t.State == api.TaskUnreachable:
		if n := r.View.Node(t.NodeID); n != nil {
			return n.Since
		}
	case !t.Started.IsZero():
		return t.Started
	}
	return t.Created
}

// Executors lists the executors that have not ended, of frameworks that the caller sees.
func (r *Rows) Executors() iter.Seq[*v1.MasterResponseGetExecutorsExecutor] {
	return func(yield func(*v1.MasterResponseGetExecutorsExecutor) bool) {
		for _, t := range r.each() {
			if t.Framework == nil || !t.Framework.IsExecutor || t.State.Final() || !r.SeesTask(t) {
				continue
			}
			if !yield(&v1.MasterResponseGetExecutorsExecutor{ExecutorInfo: r.Executor(t), AgentID: &v1.AgentID{Value: t.NodeID}}) {
				return
			}
		}
	}
}

// About is what the cluster remembers of an executor: the beginning of the event by which
// it is told of itself.
type About struct {
	Executor  *v1.ExecutorInfo  `wire:"1,executor_info,required"`
	Framework *v1.FrameworkInfo `wire:"2,framework_info,required"`
}

// Executor is an executor as an operator is told of it.
func (r *Rows) Executor(t *api.Task) *v1.ExecutorInfo {
	var about About
	if wire.Unmarshal(wire.Protobuf, t.Framework.Info, &about) != nil || about.Executor == nil {
		return &v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: t.Framework.Executor}, FrameworkID: &v1.FrameworkID{Value: t.Framework.Framework}, Resources: r.ofTask(t)}
	}
	if !r.SeesValues(t) {
		MaskExecutor(about.Executor)
	}
	return about.Executor
}

package mesos

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// stateFor is a state as a framework knows it: who is not aware of partitions of the
// network knows one word for all that became of a task that nobody can ask about.
func (c capabilities) stateFor(s v1.TaskState) v1.TaskState {
	if c.partitionAware {
		return s
	}
	switch s {
	case v1.TaskStateDropped, v1.TaskStateUnreachable, v1.TaskStateGone, v1.TaskStateGoneByOperator, v1.TaskStateUnknown:
		return v1.TaskStateLost
	}
	return s
}

const (
	master   = v1.TaskStatusSourceMaster
	executor = v1.TaskStatusSourceExecutor
)

// statusOf is what a framework is told of a change of a task, nil if that is nothing.
func statusOf(v *fsm.View, s *session, n *fsm.News, u *api.FrameworkUpdate) *v1.TaskStatus {
	if u.Status != nil {
		return saidStatus(s, u)
	}
	state := u.State
	if state == api.TaskKilling && !s.caps().taskKilling {
		if !u.Back {
			return nil
		}
		state = api.TaskRunning
	}
	t := v.TaskOf(n.Job, n.Index) // another one may have its id by now
	st := &v1.TaskStatus{TaskID: &v1.TaskID{Value: n.Task}, State: s.caps().stateFor(rows.State(state)), AgentID: &v1.AgentID{Value: n.NodeID}, ExecutorID: executorID(t, n.Task),
		UUID: u.ID, Healthy: u.Healthy, CheckStatus: rows.Check(u.Check), Timestamp: rows.Seconds(u.Time)}
	st.Source, st.Reason = rows.Why(u.State, u.Reason)
	if u.State == api.TaskUnreachable || u.State == api.TaskGoneByOperator {
		st.Source, st.Reason = new(master), new(v1.TaskStatusReasonAgentRemoved)
		if u.State == api.TaskGoneByOperator {
			st.Reason = new(v1.TaskStatusReasonAgentRemovedByOperator)
		} else if !u.Time.IsZero() {
			st.UnreachableTime = &v1.TimeInfo{Nanoseconds: u.Time.UnixNano()}
		}
	}
	if m := messageOf(t, u); m != "" {
		st.Message = &m
	}
	if u.Back {
		st.Source, st.Reason, st.Message = new(master), new(v1.TaskStatusReasonAgentReregistered), new("Unreachable agent re-reregistered")
	}
	if *st.Source == master {
		st.UUID = nil // which is not acknowledged
	}
	if t != nil && !t.Hosted() && (u.State == api.TaskRunning || u.State == api.TaskKilling) {
		st.ContainerStatus = rows.Container(v, t)
	}
	return st
}

// messageOf is what the command executor of Mesos says of an end, or what is known here.
func messageOf(t *api.Task, u *api.FrameworkUpdate) string {
	if t == nil || !u.State.Final() || t.State != u.State {
		return u.Message
	}
	return rows.EndText(t, u.Reason, u.Message)
}

// ofMaster is a status that nobody acknowledges.
func (h *hub) ofMaster(task, node string, state v1.TaskState, reason v1.TaskStatusReason, message string) *v1.TaskStatus {
	st := &v1.TaskStatus{TaskID: &v1.TaskID{Value: task}, State: state, Source: new(master), Reason: &reason, Timestamp: rows.Seconds(h.Now())}
	if node != "" {
		st.AgentID = &v1.AgentID{Value: node}
	}
	if message != "" {
		st.Message = &message
	}
	return st
}

func updateEvent(st *v1.TaskStatus) *v1.SchedulerEvent {
	e := event(v1.SchedulerEventTypeUpdate)
	e.Update = &v1.SchedulerEventUpdate{Status: st}
	return e
}

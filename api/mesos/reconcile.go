package mesos

import (
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// reconcile tells a framework how tasks are, those that it asks about or else all that
// may still change.
func (h *hub) reconcile(s *session, tasks []*v1.SchedulerCallReconcileTask) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.Store.View() // not before: what it was told since would be told as it was
	for _, t := range tasks {
		node := ""
		if t.AgentID != nil {
			node = t.AgentID.Value
		}
		if !s.backlog.add(topic{task: t.TaskID.Value, node: node}) {
			h.drop(s, "Too many tasks are asked about before it was answered of others")
			return
		}
	}
	if len(tasks) == 0 {
		for t := range v.FrameworkTasks(s.framework) {
			if _, news := v.FrameworkNewsOf(s.framework, t.Job, t.Index); news || !t.State.Final() {
				s.backlog.add(stateOf(t))
			}
		}
	}
	h.tell(v, s)
}

// tellTask tells how one task is; the caller holds the lock, and took the view under it.
func (h *hub) tellTask(v *fsm.View, s *session, id, node string) {
	if t := v.FrameworkTask(s.framework, id); t != nil {
		h.tellLatest(v, s, t)
		return
	}
	state, message := v1.TaskStateUnknown, "Reconciliation: Task is unknown"
	var unreachable *v1.TimeInfo
	if n := v.Node(node); n != nil {
		switch n.State {
		case api.NodeGone:
			state, message = v1.TaskStateGoneByOperator, "Reconciliation: Task is gone"
		case api.NodeUnreachable, api.NodeDown:
			state, message = v1.TaskStateUnreachable, "Reconciliation: Task is unreachable"
			unreachable = &v1.TimeInfo{Nanoseconds: n.Since.UnixNano()}
		default:
			state, message = v1.TaskStateGone, "Reconciliation: Task is unknown to the agent"
		}
	}
	st := h.ofMaster(id, node, s.caps().stateFor(state), v1.TaskStatusReasonReconciliation, message)
	st.UnreachableTime = unreachable
	s.push(updateEvent(st))
}

// tellLatest tells the newest state of a task that is known.
func (h *hub) tellLatest(v *fsm.View, s *session, t *api.Task) {
	st := h.ofMaster(t.Framework.ID, t.NodeID, s.caps().stateFor(rows.State(t.State)), v1.TaskStatusReasonReconciliation, "Reconciliation: Latest task state")
	if t.State == api.TaskKilling && !s.caps().taskKilling {
		st.State = v1.TaskStateRunning
	}
	st.ExecutorID, st.Healthy = executorID(t, t.Framework.ID), t.Healthy
	st.CheckStatus = rows.Check(t.Check)
	if !t.Hosted() && (t.State == api.TaskRunning || t.State == api.TaskKilling) {
		st.ContainerStatus = rows.Container(v, t)
	}
	s.push(updateEvent(st))
}

// kill has a task end.
func (h *hub) kill(ctx context.Context, id auth.Identity, s *session, k *v1.SchedulerCallKill) error {
	v := h.Store.View()
	t := v.FrameworkTask(s.framework, k.TaskID.Value)
	switch {
	case t == nil || t.State.Final():
		node := ""
		if k.AgentID != nil {
			node = k.AgentID.Value
		}
		h.tellNow(s, k.TaskID.Value, node)
		return nil
	case k.AgentID != nil && k.AgentID.Value != t.NodeID:
		return nil
	}
	if err := auth.May(id, auth.Deploy, admit.Object(v, t.Partition, "")); err != nil {
		return err
	}
	cmd := &fsm.FrameworkKill{Meta: fsm.Meta{At: h.Now(), Actor: id.Actor}, Framework: s.framework, Task: k.TaskID.Value}
	if grace := graceOf(k.KillPolicy, -1); grace >= 0 {
		cmd.Grace = new(min(api.Duration(max(grace, time.Millisecond)), api.MaxStopGrace))
	}
	_, err := h.Store.Do(ctx, cmd)
	if api.ErrorCode(err) == api.CodeNotFound { // it has ended meanwhile
		h.tellNow(s, k.TaskID.Value, "")
		return nil
	}
	return err
}

// tellNow tells how one task is, in turn with what is told of it else.
func (h *hub) tellNow(s *session, id, node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tellTask(h.Store.View(), s, id, node)
}

package mesos

import (
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sys/unix"
)

// states are those of tasks in the words of Mesos.
var states = map[api.TaskState]v1.TaskState{
	api.TaskStaging: v1.TaskStateStaging, api.TaskStarting: v1.TaskStateStarting, api.TaskRunning: v1.TaskStateRunning, api.TaskKilling: v1.TaskStateKilling,
	api.TaskFinished: v1.TaskStateFinished, api.TaskFailed: v1.TaskStateFailed, api.TaskKilled: v1.TaskStateKilled, api.TaskError: v1.TaskStateError,
	api.TaskLost: v1.TaskStateLost, api.TaskDropped: v1.TaskStateDropped, api.TaskGone: v1.TaskStateGone, api.TaskGoneByOperator: v1.TaskStateGoneByOperator,
	api.TaskUnreachable: v1.TaskStateUnreachable, api.TaskUnknown: v1.TaskStateUnknown,
}

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

// word is why a task is in its state, in the words of Mesos, and who says so.
type word struct {
	source v1.TaskStatusSource
	reason v1.TaskStatusReason
}

const (
	master   = v1.TaskStatusSourceMaster
	agent    = v1.TaskStatusSourceAgent
	executor = v1.TaskStatusSourceExecutor
)

// words are those of what became of a task that did not go as its command meant.
var words = map[api.Reason]word{
	api.ReasonOOM:            {agent, v1.TaskStatusReasonContainerLimitationMemory},
	api.ReasonDiskFull:       {agent, v1.TaskStatusReasonContainerLimitationDisk},
	api.ReasonTimeLimit:      {executor, v1.TaskStatusReasonMaxCompletionTimeReached},
	api.ReasonStartFailed:    {agent, v1.TaskStatusReasonContainerLaunchFailed},
	api.ReasonFetchFailed:    {agent, v1.TaskStatusReasonContainerLaunchFailed},
	api.ReasonPortTaken:      {agent, v1.TaskStatusReasonContainerLaunchFailed},
	api.ReasonUnsupported:    {agent, v1.TaskStatusReasonContainerLaunchFailed},
	api.ReasonInternal:       {agent, v1.TaskStatusReasonContainerLaunchFailed},
	api.ReasonNodeLost:       {master, v1.TaskStatusReasonAgentRemoved},
	api.ReasonKeeperLost:     {agent, v1.TaskStatusReasonExecutorTerminated},
	api.ReasonReboot:         {agent, v1.TaskStatusReasonAgentRestarted},
	api.ReasonPreempted:      {agent, v1.TaskStatusReasonContainerPreempted},
	api.ReasonDrained:        {agent, v1.TaskStatusReasonAgentDraining},
	api.ReasonExecutorEnded:  {agent, v1.TaskStatusReasonExecutorTerminated},
	api.ReasonExecutorSilent: {agent, v1.TaskStatusReasonExecutorRegistrationTimeout},
	api.ReasonNeverDelivered: {agent, v1.TaskStatusReasonTaskKilledDuringLaunch},
	api.ReasonHealth:         {executor, v1.TaskStatusReasonTaskHealthCheckStatusUpdated},
	api.ReasonCheck:          {executor, v1.TaskStatusReasonTaskCheckStatusUpdated},
	api.ReasonSignaled:       {executor, v1.TaskStatusReasonCommandExecutorFailed},
}

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
	st := &v1.TaskStatus{TaskID: &v1.TaskID{Value: n.Task}, State: s.caps().stateFor(states[state]), AgentID: &v1.AgentID{Value: n.NodeID}, ExecutorID: executorID(t, n.Task),
		UUID: u.ID, Healthy: u.Healthy, CheckStatus: checkStatusOf(u.Check), Timestamp: seconds(u.Time)}
	w, known := words[u.Reason]
	switch {
	case known:
		st.Source, st.Reason = new(w.source), new(w.reason)
	case u.State == api.TaskFailed:
		st.Source, st.Reason = new(executor), new(v1.TaskStatusReasonCommandExecutorFailed)
	default:
		st.Source = new(executor)
	}
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
		st.ContainerStatus = containerOf(v, t)
	}
	return st
}

// messageOf is what the command executor of Mesos says of an end, or what is known here.
func messageOf(t *api.Task, u *api.FrameworkUpdate) string {
	if t == nil || !u.State.Final() || t.State != u.State || words[u.Reason].reason != 0 {
		return u.Message
	}
	switch {
	case t.Signal != "":
		return "Command terminated with signal " + signalText(t.Signal)
	case t.ExitCode != nil:
		return "Command exited with status " + strconv.Itoa(*t.ExitCode)
	}
	return u.Message
}

// signalText is what strsignal(3) says of a signal.
func signalText(name string) string {
	switch n := unix.SignalNum(name); n {
	case syscall.SIGTERM:
		return "Terminated"
	case syscall.SIGKILL:
		return "Killed"
	case syscall.SIGINT:
		return "Interrupt"
	case syscall.SIGHUP:
		return "Hangup"
	case syscall.SIGSEGV:
		return "Segmentation fault"
	case syscall.SIGABRT:
		return "Aborted"
	default:
		return name
	}
}

// containerOf is where a task runs.
func containerOf(v *fsm.View, t *api.Task) *v1.ContainerStatus {
	c := &v1.ContainerStatus{ContainerID: &v1.ContainerID{Value: t.ID + "-" + strconv.Itoa(t.Attempt)}}
	if t.PID > 0 {
		c.ExecutorPID = new(uint32(t.PID))
	}
	if n := v.Node(t.NodeID); n != nil {
		if ip, _, ok := addressOf(n); ok {
			c.NetworkInfos = []*v1.NetworkInfo{{IPAddresses: []*v1.NetworkInfoIPAddress{{Protocol: new(protocolOf(ip)), IPAddress: &ip}}}}
		}
	}
	return c
}

func protocolOf(ip string) v1.NetworkInfoProtocol {
	if net.ParseIP(ip).To4() == nil {
		return v1.NetworkInfoProtocolIPv6
	}
	return v1.NetworkInfoProtocolIPv4
}

// addressOf is where a node listens.
func addressOf(n *api.Node) (ip string, port int, ok bool) {
	host, p, err := net.SplitHostPort(n.Addr)
	if err != nil {
		return "", 0, false
	}
	port, err = strconv.Atoi(p)
	return host, port, err == nil
}

func seconds(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	return new(float64(t.UnixMicro()) / 1e6)
}

// ofMaster is a status that nobody acknowledges.
func (h *hub) ofMaster(task, node string, state v1.TaskState, reason v1.TaskStatusReason, message string) *v1.TaskStatus {
	st := &v1.TaskStatus{TaskID: &v1.TaskID{Value: task}, State: state, Source: new(master), Reason: &reason, Timestamp: seconds(h.Now())}
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

package rows

import (
	"net"
	"strconv"
	"syscall"

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

// State is that of a task in the words of Mesos.
func State(s api.TaskState) v1.TaskState { return states[s] }

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

// Why is who says that a task is in its state, and why; the reason is nil if there is none
// but what the task does itself.
func Why(s api.TaskState, why api.Reason) (source *v1.TaskStatusSource, reason *v1.TaskStatusReason) {
	w, known := words[why]
	switch {
	case known:
		return new(w.source), new(w.reason)
	case s == api.TaskFailed:
		return new(executor), new(v1.TaskStatusReasonCommandExecutorFailed)
	}
	return new(executor), nil
}

// EndText is what the command executor of Mesos says of the end of a task, or what is known
// here of why.
func EndText(t *api.Task, why api.Reason, message string) string {
	switch {
	case words[why].reason != 0:
		return message
	case t.Signal != "":
		return "Command terminated with signal " + signalText(t.Signal)
	case t.ExitCode != nil:
		return "Command exited with status " + strconv.Itoa(*t.ExitCode)
	}
	return message
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

// Container is where a task runs.
func Container(v *fsm.View, t *api.Task) *v1.ContainerStatus {
	c := &v1.ContainerStatus{ContainerID: &v1.ContainerID{Value: t.ID + "-" + strconv.Itoa(t.Attempt)}}
	if t.PID > 0 {
		c.ExecutorPID = new(uint32(t.PID))
	}
	if n := v.Node(t.NodeID); n != nil {
		if ip, _, ok := Address(n); ok {
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

// Check is what a check found, in the words of Mesos.
func Check(s *api.ProbeStatus) *v1.CheckStatusInfo {
	if s == nil {
		return nil
	}
	out := &v1.CheckStatusInfo{}
	switch s.Kind {
	case api.ProbeCommand:
		out.Type, out.Command = new(v1.CheckInfoTypeCommand), &v1.CheckStatusInfoCommand{}
		if s.Code != nil {
			out.Command.ExitCode = new(int32(*s.Code))
		}
	case api.ProbeHTTP:
		out.Type, out.HTTP = new(v1.CheckInfoTypeHTTP), &v1.CheckStatusInfoHttp{}
		if s.Code != nil {
			out.HTTP.StatusCode = new(uint32(*s.Code))
		}
	default:
		out.Type, out.TCP = new(v1.CheckInfoTypeTCP), &v1.CheckStatusInfoTcp{Succeeded: s.Open}
	}
	return out
}

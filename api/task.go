package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TaskState is where one attempt of a task is, named as Mesos names it. Values
// are stored as numbers in the log: append only.
type TaskState uint8

// The states of an attempt. A staging task with no node is pending.
const (
	TaskStaging TaskState = iota
	TaskStarting
	TaskRunning
	TaskKilling
	TaskFinished
	TaskFailed
	TaskKilled
	TaskError
	TaskLost
	TaskDropped
	TaskGone
	TaskGoneByOperator
	TaskUnreachable
	TaskUnknown
)

var taskStates = []string{"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_FINISHED", "TASK_FAILED",
	"TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNREACHABLE", "TASK_UNKNOWN"}

func (s TaskState) String() string { return enumString(taskStates, s) }

// Word is the state as people say it.
func (s TaskState) Word() string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "TASK_"))
}

// MarshalText writes the Mesos name.
func (s TaskState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the Mesos name.
func (s *TaskState) UnmarshalText(b []byte) (err error) {
	*s, err = enumText[TaskState]("task state", taskStates, b)
	return err
}

// Final reports whether an attempt in this state can never change again.
func (s TaskState) Final() bool { return s >= TaskFinished && s <= TaskGoneByOperator }

// Active reports whether a process may exist.
func (s TaskState) Active() bool {
	return s == TaskStarting || s == TaskRunning || s == TaskKilling || s == TaskUnreachable
}

// CanBecome reports whether an attempt may go from s to next: only forward,
// except that an unreachable task may be seen running again.
func (s TaskState) CanBecome(next TaskState) bool {
	switch {
	case s.Final() || s == next || next == TaskStaging:
		return false
	case s == TaskUnreachable:
		return next != TaskStarting
	case next == TaskUnreachable || next.Final():
		return true
	}
	return next > s
}

// Desired is what the cluster wants of a task.
type Desired uint8

// The wanted states. Append only.
const (
	DesiredRun    Desired = iota
	DesiredStop           // end, and stay ended
	DesiredMove           // end here, and start again as the next attempt
	DesiredFreeze         // stop in place, and give the cpus back
	DesiredLeave          // run on until Task.Leaves, as it was told, and then move
)

var desireds = []string{"run", "stop", "move", "freeze", "leave"}

func (d Desired) String() string { return enumString(desireds, d) }

// MarshalText writes run or stop.
func (d Desired) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads run or stop.
func (d *Desired) UnmarshalText(b []byte) (err error) {
	*d, err = enumText[Desired]("desired state", desireds, b)
	return err
}

// MaxAttempts is how many earlier attempts a task remembers.
const MaxAttempts = 10

// Task is one instance of a job. Its id is the job's id, a dot and its index.
type Task struct {
	Extra
	Revision  uint64         `json:"revision,omitempty"` // index of the log entry that changed it last
	ID        string         `json:"id"`
	Job       string         `json:"job"`
	Index     int            `json:"index"`
	Version   int            `json:"version"` // of the job
	Partition string         `json:"partition"`
	State     TaskState      `json:"state"`
	Desired   Desired        `json:"desired"`
	Node      string         `json:"node"`             // the node's name; empty while pending
	NodeID    string         `json:"nodeID,omitempty"` // the node's id
	Attempt   int            `json:"attempt"`          // from 1
	PID       int            `json:"pid"`
	Resources Resources      `json:"resources"`
	Ports     map[string]int `json:"ports"` // by name
	Created   time.Time      `json:"created,omitzero"`
	Started   time.Time      `json:"started,omitzero"`
	Ended     time.Time      `json:"ended,omitzero"`
	NotBefore time.Time      `json:"notBefore,omitzero"` // the next attempt's back-off
	ExitCode  *int           `json:"exitCode"`
	Signal    string         `json:"signal,omitempty"` // that ended it, such as SIGKILL
	Reason    Reason         `json:"reason"`
	Message   string         `json:"message,omitempty"`
	Healthy   *bool          `json:"healthy"`         // null without a health check
	Check     *ProbeStatus   `json:"check,omitempty"` // what its check found last
	Failures  int            `json:"failures,omitempty"`
	Frozen    bool           `json:"frozen,omitempty"`    // its processes are stopped in place: it holds no cpus
	FrozenAt  time.Time      `json:"frozenAt,omitzero"`   // since when
	FrozenFor Duration       `json:"frozenFor,omitempty"` // earlier, in this attempt
	Preempted time.Time      `json:"preempted,omitzero"`  // when it last was preempted
	Leaves    *time.Time     `json:"leaves,omitempty"`    // when this attempt, which was told so, gets its stop signal
	Accounted *time.Time     `json:"accounted,omitempty"` // what this attempt did until then is in the report already
	Earlier   []Attempt      `json:"attempts,omitempty"`  // oldest first
	Framework *FrameworkTask `json:"framework,omitempty"` // of a framework's alone
}

// Attempt is one ended run of a task.
type Attempt struct {
	Extra
	Attempt  int       `json:"attempt"`
	Version  int       `json:"version"`
	Node     string    `json:"node"`
	NodeID   string    `json:"nodeID,omitempty"`
	State    TaskState `json:"state"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	ExitCode *int      `json:"exitCode"`
	Signal   string    `json:"signal,omitempty"`
	Reason   Reason    `json:"reason"`
	Message  string    `json:"message,omitempty"`
}

// Reason says in one word why a task is in its state.
type Reason string

// The reasons. Scripts compare them: append only.
const (
	ReasonNone        Reason = ""
	ReasonExited      Reason = "exited"       // by itself
	ReasonSignaled    Reason = "signaled"     // by a signal from outside mesita
	ReasonOOM         Reason = "oom"          // killed for its memory limit, or since its node had no more
	ReasonTimeLimit   Reason = "time_limit"   // over its --time
	ReasonStopped     Reason = "stopped"      // asked for
	ReasonStartFailed Reason = "start_failed" // no such program, user or folder
	ReasonFetchFailed Reason = "fetch_failed" // its program could not be fetched
	ReasonNodeLost    Reason = "node_lost"    //
	ReasonKeeperLost  Reason = "keeper_lost"  // the process that watched it is gone
	ReasonReboot      Reason = "reboot"       // its node was rebooted
	ReasonDrained     Reason = "drained"      //
	ReasonScaledDown  Reason = "scaled_down"  //
	ReasonReplaced    Reason = "replaced"     // by a newer attempt or version
	ReasonDiskFull    Reason = "disk_full"    //
	ReasonUnsupported Reason = "unsupported"  // the node cannot enforce what it needs
	ReasonInternal    Reason = "internal"     //
	ReasonPreempted   Reason = "preempted"    // was preempted for work that had the better claim
	ReasonGang        Reason = "gang"         // another task of its gang ended early
	ReasonPartition   Reason = "partition"    // its partition is being removed
	ReasonRequeued    Reason = "requeued"     // its job was put back
	ReasonPortTaken   Reason = "port_taken"   // another program has one of its ports

	ReasonExecutorEnded  Reason = "executor_ended"  // the executor of its framework that ran it did
	ReasonHealth         Reason = "health"          // its health check failed
	ReasonCheck          Reason = "check"           // of news alone: its check found something else
	ReasonExecutorSilent Reason = "executor_silent" // which never told its node that it is there
	ReasonNeverDelivered Reason = "never_delivered" // it was stopped before its executor was told of it
	ReasonTaskGroup      Reason = "task_group"      // another task of its group did not finish
)

// TaskID is the id of the task of that job and index.
func TaskID(job string, index int) string { return job + "." + strconv.Itoa(index) }

// Pending reports whether the task waits for a node.
func (t *Task) Pending() bool { return t.State == TaskStaging && t.NodeID == "" }

// Holds reports whether the task holds resources on its node.
func (t *Task) Holds() bool { return t.NodeID != "" && !t.State.Final() }

// Leaving reports whether the task was told that it will have to end, and runs on
// until then.
func (t *Task) Leaving() bool {
	return t.Desired == DesiredLeave && t.Leaves != nil && !t.State.Final()
}

// Moves reports whether the task continues as another attempt once this one has ended.
// Whoever was told to leave, and reached a limit of its own first, failed by that.
func (t *Task) Moves() bool {
	switch t.Desired {
	case DesiredMove:
		return true
	case DesiredLeave:
		return t.Reason != ReasonTimeLimit && t.Reason != ReasonOOM && t.Reason != ReasonDiskFull
	}
	return false
}

// Held is what the task holds of its node now, and others get when it ends: what it has
// of reservations is not in it. A frozen task keeps its memory and gives its cpus back.
func (t *Task) Held() Resources {
	r := t.Resources
	if t.Framework != nil && len(t.Framework.Reserved) > 0 {
		r = r.Minus(ReservedSum(t.Framework.Reserved))
	}
	if t.Frozen {
		r.CPUs = 0
	}
	return r
}

// Whole is all that it has of its node now: what is of reservations, too.
func (t *Task) Whole() Resources {
	if t.Framework == nil {
		return t.Held()
	}
	return t.Held().Add(ReservedSum(t.Framework.Reserved))
}

// Thawed is what it holds, or will once it is not frozen any more.
func (t *Task) Thawed() Resources {
	u := *t
	u.Frozen = false
	return u.Held()
}

// Ran is how long the current attempt has run, the time in which it was frozen
// not counted.
func (t *Task) Ran(now time.Time) time.Duration {
	if t.Started.IsZero() {
		return 0
	}
	end := now
	if !t.Ended.IsZero() {
		end = t.Ended
	} else if t.Frozen {
		end = t.FrozenAt
	}
	return max(0, end.Sub(t.Started)-time.Duration(t.FrozenFor))
}

// TaskRun is tasks of one job that wait and differ in nothing but their index, as
// a folded list has them: the first one, and how far they go. Any other task is a
// run of one.
type TaskRun struct {
	*Task
	Through int `json:"through"` // the index of the last
	Count   int `json:"count"`
}

// Joins reports whether a task may be counted with the run: it follows it, and
// waits just so.
func (r *TaskRun) Joins(t *Task) bool {
	f := r.Task
	return f != nil && f.Job == t.Job && t.Index == r.Through+1 && f.Pending() && t.Pending() && f.Version == t.Version && f.Attempt == t.Attempt &&
		f.Desired == t.Desired && f.Reason == t.Reason && f.Message == t.Message && f.NotBefore.Equal(t.NotBefore) && f.Resources.Equal(t.Resources)
}

// TaskStatus is what an executor says of an attempt. It is sent at least once.
type TaskStatus struct {
	Task     string    `json:"task"`
	Attempt  int       `json:"attempt"`
	NodeID   string    `json:"nodeID"`
	State    TaskState `json:"state"`
	PID      int       `json:"pid,omitempty"`
	ExitCode *int      `json:"exitCode,omitempty"`
	Signal   string    `json:"signal,omitempty"`
	Reason   Reason    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	Frozen   bool      `json:"frozen,omitempty"` // running, and stopped in place
	// Taken is who has the ports for which it could not start; told only to a
	// cluster of level 3 and above.
	Taken []PortHolder `json:"taken,omitempty"`
	// Used is of an end, where the node measured it; told only to a cluster of level 4
	// and above.
	Used *TaskUse `json:"used,omitempty"`
	// Started is of an end: when the process was, as that it ran may never have been
	// told; told only to a cluster of level 4 and above.
	Started *time.Time `json:"started,omitempty"`
	// Update is of a hosted task alone: what its executor said. Without one its node speaks
	// for itself.
	Update *ExecutorUpdate `json:"update,omitempty"`
	// What its checks found; told only to a cluster of level 11 and above.
	Healthy *bool        `json:"healthy,omitempty"`
	Check   *ProbeStatus `json:"check,omitempty"`
}

// StatsDetail is how much is asked about what tasks use: each counter is a file that the
// kernel makes up when it is read, and thousands of tasks have tens of thousands. An older
// node reads all of them, whatever is asked for.
type StatsDetail string

const (
	StatsAll StatsDetail = ""
	StatsUse StatsDetail = "use" // without the time that processes waited
	StatsCPU StatsDetail = "cpu" // the CPU time alone
)

// StatsDetails are those that a caller may prefer to all.
var StatsDetails = []StatsDetail{StatsUse, StatsCPU}

// Preference is how the API is asked for it, in the header Prefer.
func (d StatsDetail) Preference() string { return "detail=" + string(d) }

// TaskStats is what a running task uses now.
type TaskStats struct {
	Task      string        `json:"task"`
	Node      string        `json:"node,omitempty"` // its name
	Attempt   int           `json:"attempt"`
	CPUTime   time.Duration `json:"cpuTimeNs"`
	Mem       Bytes         `json:"mem"`
	MemPeak   Bytes         `json:"memPeak,omitempty"`
	Processes int           `json:"processes"`
	Throttle                // by a limit of its own
	CPULimit  MilliCPU      `json:"cpuLimit,omitempty"` // which one; 0: none of its spec
	Bounds    []BoundStats  `json:"bounds,omitempty"`   // the limits of its partition, and of those above, that bound what is used
	Pressure  *Pressure     `json:"pressure,omitempty"`
	OldKeeper bool          `json:"oldKeeper,omitempty"` // its parent process is of a version before the node's
	OwnCPUs   string        `json:"ownCPUs,omitempty"`   // which are its own, as the kernel numbers and lists them: 0-3,8
	// Sampled is when this was so, since its node booted; 0: an older node did not say.
	// What is between two of them is exact, however long an answer is on its way.
	Sampled time.Duration `json:"sampledNs,omitempty"`
	// Began is when the attempt did, by the same clock; told by the node itself alone.
	Began time.Duration `json:"-"`
}

// Throttle is how much a limit of CPU held something up so far.
type Throttle struct {
	Throttled time.Duration `json:"throttledNs,omitempty"`      // of all CPUs together
	Periods   int64         `json:"cpuPeriods,omitempty"`       // of a tenth of a second, in which it had something to do
	Exhausted int64         `json:"cpuPeriodsUsedUp,omitempty"` // those in which it had used up what it may
}

func (t Throttle) text() string {
	d := t.Throttled.Round(time.Millisecond)
	switch {
	case d <= 0:
		return ""
	case t.Periods == 0: // of a parent process that does not say
		return d.String()
	}
	return fmt.Sprintf("%s (in %d of %d periods)", d, t.Exhausted, t.Periods)
}

// BoundStats is what the hard limit of a partition made of all its tasks on one
// node, those below it included.
type BoundStats struct {
	Partition string   `json:"partition"`
	Limit     MilliCPU `json:"limit"` // on all nodes
	Here      MilliCPU `json:"here"`  // this node's part of it
	Throttle
}

// Pressure is the share of the last ten seconds, in percent, in which some
// process waited for the resource.
type Pressure struct {
	CPU float64 `json:"cpu"`
	Mem float64 `json:"mem"`
	IO  float64 `json:"io"`
}

// HeldUp says for how long, and by which limit, the task was kept from running
// although it could have; "" if it was not.
func (s *TaskStats) HeldUp() string {
	var out []string
	switch own := s.Throttle.text(); {
	case own == "":
	case s.CPULimit > 0:
		out = append(out, own+" by its CPU limit of "+s.CPULimit.String())
	default:
		out = append(out, own+" by the quota that an earlier mesita gave it, until it is replaced")
	}
	for i := range s.Bounds {
		b := &s.Bounds[i]
		if all := b.Throttle.text(); all != "" {
			out = append(out, fmt.Sprintf("%s, with all of partition %s on this node, by its hard limit of %s CPUs, %s here", all, b.Partition, b.Limit, b.Here))
		}
	}
	return strings.Join(out, "; and ")
}

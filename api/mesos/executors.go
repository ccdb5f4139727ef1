package mesos

import (
	"cmp"
	"context"
	"crypto/sha256"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sys/unix"
)

// executorGrace is how long an executor has to end, once it is told to, if its framework
// says nothing else.
const executorGrace = 5 * time.Second

// hosted is what a task of a custom executor is here.
func (l *launcher) hosted(t *v1.TaskInfo, info []byte, request api.Request) (*fsm.FrameworkLaunch, error) {
	e, size, err := l.executorOnce(t.Executor)
	if err == nil {
		err = l.allowed()
	}
	if err != nil {
		return nil, err
	}
	s := &api.JobSpec{Kind: api.KindBatch, Partition: l.offer.Partition, AtMostOnce: true, TaskSpec: api.TaskSpec{
		Placing: api.Placing{Request: request}, StopGrace: api.Duration(graceOf(t.KillPolicy, defaultGrace))}}
	need := s.Need()
	s.Complete(l.view.Chain(l.offer.Partition), nil)
	if err := s.ValidateHosted(); err != nil {
		return nil, err
	}
	if err := l.takes(s, 2*len(info)-size); err != nil {
		return nil, err
	}
	own := &api.FrameworkTask{Framework: l.framework.ID, ID: t.TaskID.Value, Name: t.Name, Spec: s, Info: info, Executor: e.Task.Executor}
	return &fsm.FrameworkLaunch{Task: own, Resources: need, Ports: portsOf(s), Executor: e}, nil
}

// executorOnce is the same for all tasks that say the same of it, in so many bytes: it may
// be much.
func (l *launcher) executorOnce(given *v1.ExecutorInfo) (e *fsm.FrameworkExecutor, size int, err error) {
	said, err := wire.Marshal(wire.Protobuf, given)
	if err != nil {
		return nil, 0, err
	}
	if e := l.executors[string(said)]; e != nil {
		return e, len(said), nil
	}
	if e, err = l.executor(given); err != nil {
		return nil, 0, err
	}
	if err := l.takes(e.Task.Spec, 2*len(e.Task.Info)); err != nil {
		return nil, 0, err
	}
	l.executors[string(said)] = e
	return e, len(said), nil
}

// launched is a task as it is in the command: its executor is there with the first that it
// runs.
func (l *launcher) launched(t *fsm.FrameworkLaunch) fsm.FrameworkLaunch {
	out := *t
	if e := t.Executor; e != nil && l.written[e] {
		out.Executor = e.Reference()
	} else if e != nil {
		l.written[e] = true
	}
	return out
}

// executor is what an ExecutorInfo is here, or why there is none. The checks are in the
// order of Mesos.
func (l *launcher) executor(given *v1.ExecutorInfo) (*fsm.FrameworkExecutor, error) {
	if err := validID(given.ExecutorID.Value); err != nil {
		return nil, wrong("Executor has an invalid ID: %v", err)
	}
	e := *given
	switch kind := v1.Get(e.Type); {
	case kind != v1.ExecutorInfoTypeCustom && kind != v1.ExecutorInfoTypeUnknown:
		return nil, wrong("'ExecutorInfo.type' must be 'CUSTOM'")
	case e.Command == nil:
		return nil, wrong("'ExecutorInfo.command' must be set for 'CUSTOM' executor")
	case frameworkID(e.FrameworkID) != "" && e.FrameworkID.Value != l.framework.ID:
		return nil, wrong("ExecutorInfo has an invalid FrameworkID (Actual: %s vs Expected: %s)", e.FrameworkID.Value, l.framework.ID)
	case e.ShutdownGracePeriod != nil && e.ShutdownGracePeriod.Nanoseconds < 0:
		return nil, wrong("ExecutorInfo's 'shutdown_grace_period' must be non-negative")
	case e.Container != nil:
		return nil, wrong("This version of mesita runs executors as they are: containers ('executor.container') come with a later one")
	}
	if err := validCommand(e.Command); err != nil {
		return nil, err
	}
	var request api.Request
	var of share
	if len(e.Resources) > 0 {
		var err error
		if request, of, err = toRequest(e.Resources, role(l.offer.Partition)); err != nil {
			return nil, err
		}
	}
	if err := l.knowVolumes(of.volumes); err != nil {
		return nil, err
	}
	e.Type, e.FrameworkID = new(v1.ExecutorInfoTypeCustom), &v1.FrameworkID{Value: l.framework.ID}
	grace := executorGrace
	if e.ShutdownGracePeriod != nil {
		grace = time.Duration(e.ShutdownGracePeriod.Nanoseconds)
	}
	s := &api.JobSpec{Kind: api.KindBatch, Partition: l.offer.Partition, AtMostOnce: true, TaskSpec: api.TaskSpec{
		Command: argsOf(e.Command), Env: envOf(e.Command), User: userOf(e.Command, l.info), Placing: api.Placing{Request: request}, Fetch: l.fetches(e.Command), StopGrace: api.Duration(grace), Volumes: of.volumes}}
	need := s.Need() // nothing is charged that the framework does not know of
	if err := l.settle(s, e.Command); err != nil {
		return nil, err
	}
	own := &api.FrameworkTask{Framework: l.framework.ID, Name: v1.Get(e.Name), Spec: s, Executor: e.ExecutorID.Value, IsExecutor: true, Reserved: of.reserved}
	if err := l.remember(own, &e); err != nil {
		return nil, err
	}
	return &fsm.FrameworkExecutor{Task: own, Resources: need, Ports: portsOf(s)}, nil
}

// remember notes what an executor is told of itself.
func (l *launcher) remember(own *api.FrameworkTask, e *v1.ExecutorInfo) error {
	said, err := wire.Marshal(wire.Protobuf, e)
	if err != nil {
		return err
	}
	if len(said) > maxTaskInfo {
		return wrong("ExecutorInfo has %d bytes, and at most %d are remembered", len(said), maxTaskInfo)
	}
	digest := sha256.Sum256(said)
	framework := *l.info
	framework.ID = &v1.FrameworkID{Value: l.framework.ID}
	own.Digest = digest[:]
	own.Info, err = wire.Marshal(wire.Protobuf, &rows.About{Executor: e, Framework: &framework})
	return err
}

func envOf(c *v1.CommandInfo) map[string]string {
	if c.Environment == nil {
		return nil
	}
	env := map[string]string{}
	for _, v := range c.Environment.Variables {
		env[v.Name] = v1.Get(v.Value)
	}
	return env
}

func portsOf(s *api.JobSpec) map[string]int {
	ports := map[string]int{}
	for _, p := range s.Ports {
		ports[p.Name] = p.Port
	}
	return ports
}

// What the default executor of Mesos has to have at least, in thousandths.
const (
	leastCPUs = 10
	leastMem  = 32
)

// group is what the tasks of a LAUNCH_GROUP are here: tasks as any, of which the framework
// knows that the default executor runs them. There is no process of that here, and nothing
// is charged for it. If one of them cannot be, none is.
func (l *launcher) group(label string, g *v1.OfferOperationLaunchGroup) ([]*fsm.FrameworkLaunch, error) {
	if err := l.defaultExecutor(g.Executor); err != nil {
		return nil, groupError{err}
	}
	if len(g.TaskGroup.Tasks) > maxGroup {
		return nil, groupError{wrong("Task group has %s, and at most %d start together", api.Count(len(g.TaskGroup.Tasks), "task"), maxGroup)}
	}
	var out []*fsm.FrameworkLaunch
	for _, t := range g.TaskGroup.Tasks {
		launch, err := l.grouped(t, g.Executor)
		if err != nil {
			return nil, groupError{prefixed(t, err)}
		}
		launch.Task.Group, launch.Task.GroupExecutor = label, g.Executor.ExecutorID.Value
		out = append(out, launch)
	}
	return out, nil
}

// maxGroup bounds the tasks of a group.
const maxGroup = 100

// prefixed says which task of a group is why none starts.
func prefixed(t *v1.TaskInfo, err error) error {
	text := wrong("Task '%s' is invalid: %v", t.TaskID.Value, err)
	if _, ok := err.(unauthorized); ok {
		return unauthorized{text}
	}
	return text
}

func (l *launcher) grouped(t *v1.TaskInfo, e *v1.ExecutorInfo) (*fsm.FrameworkLaunch, error) {
	switch {
	case t.Executor != nil:
		return nil, wrong("'TaskInfo.executor' must not be set")
	case len(t.Limits) > 0:
		return nil, wrong("Resource limits are only allowed for tasks of a group with 'container.linux_info.share_cgroups' set to 'false'")
	}
	launch, err := l.task(t)
	if err == nil {
		if env := launch.Task.Spec.Env; env["MESOS_EXECUTOR_ID"] == t.TaskID.Value {
			env["MESOS_EXECUTOR_ID"] = e.ExecutorID.Value
		}
	}
	return launch, err
}

func (l *launcher) defaultExecutor(e *v1.ExecutorInfo) error {
	if err := validID(e.ExecutorID.Value); err != nil {
		return wrong("Executor has an invalid ID: %v", err)
	}
	switch kind := v1.Get(e.Type); {
	case e.Type == nil || kind == v1.ExecutorInfoTypeUnknown:
		return wrong("'ExecutorInfo.type' must be set")
	case kind == v1.ExecutorInfoTypeCustom:
		return wrong("This version of mesita gives task groups to the default executor: those of custom executors come with a later one")
	case e.Command != nil:
		return wrong("'ExecutorInfo.command' must not be set for 'DEFAULT' executor")
	case frameworkID(e.FrameworkID) != "" && e.FrameworkID.Value != l.framework.ID:
		return wrong("ExecutorInfo has an invalid FrameworkID (Actual: %s vs Expected: %s)", e.FrameworkID.Value, l.framework.ID)
	case e.ShutdownGracePeriod != nil && e.ShutdownGracePeriod.Nanoseconds < 0:
		return wrong("ExecutorInfo's 'shutdown_grace_period' must be non-negative")
	case e.Container != nil && e.Container.Type == v1.ContainerInfoTypeDocker:
		return wrong("Docker ContainerInfo is not supported on the executor")
	case e.Container != nil:
		return wrong("This version of mesita runs task groups without containers: 'executor.container' comes with a later one")
	}
	q, of, err := toRequest(e.Resources, role(l.offer.Partition))
	if err == nil {
		err = of.noVolumes("give it to a task of the group")
	}
	switch {
	case err != nil:
		return err
	case q.CPUs < leastCPUs:
		return wrong("Executor '%s' uses less than the %v CPUs that it needs at least", e.ExecutorID.Value, float64(leastCPUs)/1000)
	case q.Mem < leastMem*mebibyte:
		return wrong("Executor '%s' uses less than the %d MB of memory that it needs at least", e.ExecutorID.Value, leastMem)
	case q.Disk == 0:
		return wrong("Executor '%s' uses no disk, and needs some", e.ExecutorID.Value)
	}
	return nil
}

// shutdown has an executor end. Nobody is told if there is none.
func (h *hub) shutdown(ctx context.Context, id auth.Identity, s *session, m *v1.SchedulerCallShutdown) error {
	v := h.Store.View()
	e := v.Executor(s.framework, m.AgentID.Value, m.ExecutorID.Value)
	if e == nil {
		return nil
	}
	if err := auth.May(id, auth.Deploy, admit.Object(v, e.Partition, "")); err != nil {
		return err
	}
	_, err := h.Store.Do(ctx, &fsm.FrameworkShutdown{Meta: fsm.Meta{At: h.Now(), Actor: id.Actor}, Framework: s.framework, NodeID: m.AgentID.Value, Executor: m.ExecutorID.Value})
	if api.ErrorCode(err) == api.CodeNotFound { // it has ended meanwhile
		return nil
	}
	return err
}

// noteExecutor tells a framework that an executor of its has ended by itself or was ended;
// that of a lost node is told as the loss of the node.
func (h *hub) noteExecutor(v *fsm.View, id string) {
	t := v.Task(id)
	if t == nil || t.Framework == nil || t.State != api.TaskFinished && t.State != api.TaskFailed && t.State != api.TaskKilled {
		return
	}
	s := h.sessions[t.Framework.Framework]
	if s == nil || !s.begun {
		return
	}
	e := event(v1.SchedulerEventTypeFailure)
	e.Failure = &v1.SchedulerEventFailure{AgentID: &v1.AgentID{Value: t.NodeID}, ExecutorID: &v1.ExecutorID{Value: t.Framework.Executor}, Status: new(waitStatus(t))}
	s.push(e)
}

// waitStatus is the end of a process as wait(2) tells it.
func waitStatus(t *api.Task) int32 {
	switch {
	case t.Signal != "":
		return int32(unix.SignalNum(t.Signal))
	case t.ExitCode != nil:
		return int32(*t.ExitCode&0xff) << 8
	case t.State == api.TaskKilled:
		return int32(syscall.SIGKILL)
	case t.State == api.TaskFailed:
		return 1 << 8
	}
	return 0
}

// executorID is the executor that a framework knows a task to be of; of a command task it
// has the task's own id.
func executorID(t *api.Task, id string) *v1.ExecutorID {
	return &v1.ExecutorID{Value: cmp.Or(rows.ExecutorID(t), id)}
}

// executorIDs are the executors of a framework on a node.
func executorIDs(v *fsm.View, framework, node string) (out []*v1.ExecutorID) {
	for e := range v.Executors(framework, node) {
		out = append(out, &v1.ExecutorID{Value: e.Framework.Executor})
	}
	return out
}

// saidStatus is what an executor said, as far as its framework knows such states; nil if
// that is nothing.
func saidStatus(s *session, u *api.FrameworkUpdate) *v1.TaskStatus {
	st := &v1.TaskStatus{}
	if err := wire.Unmarshal(wire.Protobuf, u.Status, st); err != nil || st.State == v1.TaskStateKilling && !s.caps().taskKilling {
		return nil
	}
	st.State, st.UUID = s.caps().stateFor(st.State), u.ID
	return st
}

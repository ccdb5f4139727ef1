package mesos

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

const (
	defaultGrace = 3 * time.Second // of a task that says nothing else, once it is killed
	maxID        = 255             // bytes
	maxTaskInfo  = 64 << 10        // bytes of a TaskInfo, which the cluster remembers

	// What an ACCEPT starts is one command, of 8 MiB at most. What a framework says of a task
	// is in it as it was said, and as what is started.
	maxAccept = 5 << 20
	leastOne  = 512 // bytes of a task of which nothing is said
	ofEach    = 40  // of each of its ports and files, of which little is said
)

// launcher makes tasks of a framework what the cluster starts.
type launcher struct {
	view      *fsm.View
	id        auth.Identity // of the caller
	framework *api.Framework
	info      *v1.FrameworkInfo
	offer     *api.Offer // one of those that were taken

	bytes     int                               // of all that starts, about
	executors map[string]*fsm.FrameworkExecutor // by their ExecutorInfo
	written   map[*fsm.FrameworkExecutor]bool   // in the command
}

func newLauncher(v *fsm.View, id auth.Identity, f *api.Framework, o *api.Offer) *launcher {
	return &launcher{view: v, id: id, framework: f, info: &v1.FrameworkInfo{}, offer: o,
		executors: map[string]*fsm.FrameworkExecutor{}, written: map[*fsm.FrameworkExecutor]bool{}}
}

// takes counts the bytes of one more to start, unless those are too many.
func (l *launcher) takes(s *api.JobSpec, n int) error {
	if l.bytes += leastOne + ofEach*(len(s.Ports)+len(s.Fetch)) + n; l.full() {
		return tooMuch
	}
	return nil
}

func (l *launcher) full() bool { return l.bytes > maxAccept }

const tooMuch = taskError("ACCEPT starts too much in one call: start the task in another one, with less beside it")

// taskError is why a task is not started, in the words of Mesos where it has some.
type taskError string

func (e taskError) Error() string { return string(e) }

func wrong(format string, args ...any) error { return taskError(fmt.Sprintf(format, args...)) }

// unauthorized is why a task may not be what it is.
type unauthorized struct{ error }

// task is what a TaskInfo is here, or why there is none. The checks are in the order of
// Mesos.
func (l *launcher) task(t *v1.TaskInfo) (*fsm.FrameworkLaunch, error) {
	if err := validID(t.TaskID.Value); err != nil {
		return nil, err
	}
	if t.AgentID.Value != l.offer.NodeID {
		return nil, wrong("Task uses invalid agent %s while agent %s is expected", t.AgentID.Value, l.offer.NodeID)
	}
	if l.full() {
		return nil, tooMuch
	}
	info, err := wire.Marshal(wire.Protobuf, t)
	if err != nil {
		return nil, err
	}
	if len(info) > maxTaskInfo {
		return nil, wrong("TaskInfo has %d bytes, and at most %d are remembered", len(info), maxTaskInfo)
	}
	if err := validTimes(t); err != nil {
		return nil, err
	}
	request, of, err := toRequest(t.Resources, role(l.offer.Partition))
	if err != nil {
		return nil, err
	}
	if err := validCommand(t.Command); err != nil {
		return nil, err
	}
	if err := validLimits(t.Limits, &request); err != nil {
		return nil, err
	}
	if (t.Command == nil) == (t.Executor == nil) {
		return nil, wrong("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")
	}
	var out *fsm.FrameworkLaunch
	if t.Executor != nil {
		if err = of.noVolumes("give it to the executor, whose tasks are in its folder"); err == nil {
			out, err = l.hosted(t, info, request)
		}
	} else {
		out, err = l.alone(t, info, request, of.volumes)
	}
	if err != nil {
		return nil, err
	}
	out.Task.Reserved = of.reserved
	return out, nil
}

// alone is a task that runs a command of its own.
func (l *launcher) alone(t *v1.TaskInfo, info []byte, request api.Request, volumes []api.VolumeMount) (*fsm.FrameworkLaunch, error) {
	terminal, err := rows.Terminal(t.Container)
	if err != nil {
		return nil, wrong("%v", err)
	}
	return l.launch(t, info, request, terminal, volumes)
}

// launch is the spec of a task that is well formed.
func (l *launcher) launch(t *v1.TaskInfo, info []byte, request api.Request, terminal *api.Terminal, volumes []api.VolumeMount) (*fsm.FrameworkLaunch, error) {
	if err := l.allowed(); err != nil {
		return nil, err
	}
	s := &api.JobSpec{Kind: api.KindBatch, Partition: l.offer.Partition, AtMostOnce: true, TaskSpec: api.TaskSpec{
		Command: argsOf(t.Command), Env: l.env(t), User: userOf(t.Command, l.info), Placing: api.Placing{Request: request}, Fetch: l.fetches(t.Command), StopGrace: api.Duration(graceOf(t.KillPolicy, defaultGrace)), TTY: terminal, Volumes: volumes}}
	if c, ok := t.Limits["cpus"]; ok && !math.IsInf(c.Value, 1) {
		s.CPULimit = api.CPULimit(rows.Milli(c.Value))
	}
	if t.MaxCompletionTime != nil && t.MaxCompletionTime.Nanoseconds > 0 {
		s.Time = max(api.Duration(t.MaxCompletionTime.Nanoseconds), api.Duration(time.Millisecond))
	}
	s.Check, s.Health = l.checkOf(t.Check), l.healthOf(t.HealthCheck)
	if err := l.knowVolumes(volumes); err != nil {
		return nil, err
	}
	if err := l.settle(s, t.Command); err != nil {
		return nil, err
	}
	if err := asItself(t, s); err != nil {
		return nil, unauthorized{err}
	}
	if err := l.takes(s, 2*len(info)); err != nil {
		return nil, err
	}
	own := &api.FrameworkTask{Framework: l.framework.ID, ID: t.TaskID.Value, Name: t.Name, Spec: s, Info: info}
	return &fsm.FrameworkLaunch{Task: own, Resources: s.Need(), Ports: portsOf(s)}, nil
}

// allowed refuses who may not start anything there: the rights of who calls may be others
// than those of when the framework came.
func (l *launcher) allowed() error {
	if err := auth.May(l.id, auth.Deploy, admit.Object(l.view, l.offer.Partition, "")); err != nil {
		return unauthorized{err}
	}
	return nil
}

// settle completes and checks the spec of a process, and says who that runs as.
func (l *launcher) settle(s *api.JobSpec, c *v1.CommandInfo) error {
	s.Complete(l.view.Chain(l.offer.Partition), nil)
	if err := s.ValidateOfFramework(); err != nil {
		return err
	}
	if xz := func(f api.Fetch) bool {
		return f.Extract && !f.Executable && strings.HasSuffix(api.Archive(f.Name()), "xz")
	}; !l.view.Does(fsm.KeptFetches) {
		if i := slices.IndexFunc(s.Fetch, xz); i >= 0 { // a node may not know it, and would not unpack it
			return wrong("%s is packed with xz, which needs level %d of the cluster: raise it, or pack it with gzip", s.Fetch[i].Shown(), fsm.KeptFetches.Level())
		}
	}
	if l.view.Does(fsm.TaskUsers) {
		if err := l.settleUser(s, v1.Get(c.User) != ""); err != nil {
			return unauthorized{err}
		}
	}
	if n := l.view.Node(l.offer.NodeID); n != nil && !s.Uses(n) {
		return unauthorized{wrong("node %s allows users no root: start it with --allow-root, or name another user", n.Name)}
	}
	return nil
}

// validID refuses what cannot be an id, as it may come to name a file.
func validID(id string) error {
	switch {
	case id == "":
		return wrong("ID must not be empty")
	case len(id) > maxID:
		return wrong("ID must not be greater than %d characters", maxID)
	case id == "." || id == "..":
		return wrong("'%s' is disallowed", id)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f || r == '/' || r == '\\' || r == 0xfffd {
			return wrong("'%s' contains invalid characters", id)
		}
	}
	return nil
}

func validTimes(t *v1.TaskInfo) error {
	if graceOf(t.KillPolicy, 0) < 0 {
		return wrong("Task's 'kill_policy.grace_period' must be non-negative")
	}
	if t.MaxCompletionTime != nil && t.MaxCompletionTime.Nanoseconds < 0 {
		return wrong("Task's 'max_completion_time' must be non-negative")
	}
	if err := validCheck(t.Check); err != nil {
		return wrong("Task uses invalid check: %v", err)
	}
	if err := validHealthCheck(t.HealthCheck); err != nil {
		return wrong("Task uses invalid health check: %v", err)
	}
	return nil
}

func validCommand(c *v1.CommandInfo) error {
	if c == nil {
		return nil
	}
	if c.Environment != nil {
		for _, v := range c.Environment.Variables {
			switch {
			case v.GetType() == v1.EnvironmentVariableTypeSecret || v.Secret != nil:
				return wrong("Environment variable '%s' of type 'SECRET' is not supported", v.Name)
			case v.Value == nil:
				return wrong("Environment variable '%s' of type 'VALUE' must have a value set", v.Name)
			}
		}
	}
	if v1.Get(c.Value) == "" {
		return wrong("CommandInfo has no value: it is the program, or with 'shell' the line for /bin/sh")
	}
	return nil
}

func validLimits(limits map[string]*v1.ValueScalar, q *api.Request) error {
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		v := limits[name].Value
		var least int64
		switch name {
		case "cpus":
			least = int64(q.CPUs)
		case "mem":
			least = int64(q.Mem) / mebibyte * 1000
		default:
			return wrong("Only cpus and mem may be included in a task's resource limits")
		}
		switch {
		case least == 0:
			return wrong("When a task specifies a %s limit, it must also specify a %s request", name, name)
		case math.IsNaN(v) || v*1000 < float64(least):
			return wrong("The %s limit must be greater than or equal to the %s request", name, name)
		case name == "mem" && !math.IsInf(v, 1) && v < 1e12:
			q.MemLimit = rows.Bytes(rows.Milli(v))
		}
	}
	return nil
}

// argsOf is what is run. The name by which a program is told of itself is its path.
func argsOf(c *v1.CommandInfo) []string {
	if c.GetShell() {
		return []string{"/bin/sh", "-c", *c.Value}
	}
	args := []string{*c.Value}
	if len(c.Arguments) > 1 {
		args = append(args, c.Arguments[1:]...)
	}
	return args
}

// fetches are the files that a command needs in its folder.
func (l *launcher) fetches(c *v1.CommandInfo) []api.Fetch {
	keeps := l.view.Does(fsm.KeptFetches)
	out := make([]api.Fetch, 0, len(c.URIs))
	for _, u := range c.URIs {
		f := api.Fetch{URI: u.Value, Executable: v1.Get(u.Executable), Extract: u.GetExtract(), Output: v1.Get(u.OutputFile)}
		f.Cache = keeps && v1.Get(u.Cache)
		out = append(out, f)
	}
	return out
}

// settleUser settles who a task runs as. A framework has to say some user of itself, often
// root, whether or not it means it: where tasks may not be that, they are whom its token or
// partition has them be, as a job's are that names nobody. What a task itself says holds.
func (l *launcher) settleUser(s *api.JobSpec, says bool) error {
	was := s.Constraints
	err := admit.SettleUser(l.view, l.id, s, s.ValidateOfFramework)
	if err != nil && !says {
		s.User, s.Constraints = "", was
		err = admit.SettleUser(l.view, l.id, s, s.ValidateOfFramework)
	}
	return err
}

func userOf(c *v1.CommandInfo, f *v1.FrameworkInfo) string {
	if u := v1.Get(c.User); u != "" {
		return u
	}
	return f.User
}

// env is the environment of a command task: what Mesos tells it, below what it says.
func (l *launcher) env(t *v1.TaskInfo) map[string]string {
	env := map[string]string{"MESOS_FRAMEWORK_ID": l.framework.ID, "MESOS_EXECUTOR_ID": t.TaskID.Value, "MESOS_TASK_ID": t.TaskID.Value, "MESOS_SLAVE_ID": l.offer.NodeID,
		"MESOS_AGENT_ID": l.offer.NodeID, "MESOS_ALLOCATION_ROLE": role(l.offer.Partition)}
	if t.Command.Environment != nil {
		for _, v := range t.Command.Environment.Variables {
			env[v.Name] = v1.Get(v.Value)
		}
	}
	return env
}

// graceOf is how long a task has to end, once it is killed.
func graceOf(p *v1.KillPolicy, otherwise time.Duration) time.Duration {
	if p == nil || p.GracePeriod == nil {
		return otherwise
	}
	return time.Duration(p.GracePeriod.Nanoseconds)
}

package node

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// responses are the types of what calls are answered with: their numbers differ.
var responses = map[v1.AgentCallType]v1.AgentResponseType{
	v1.AgentCallTypeGetHealth: v1.AgentResponseTypeGetHealth, v1.AgentCallTypeGetFlags: v1.AgentResponseTypeGetFlags, v1.AgentCallTypeGetVersion: v1.AgentResponseTypeGetVersion,
	v1.AgentCallTypeGetMetrics: v1.AgentResponseTypeGetMetrics, v1.AgentCallTypeGetLoggingLevel: v1.AgentResponseTypeGetLoggingLevel, v1.AgentCallTypeListFiles: v1.AgentResponseTypeListFiles,
	v1.AgentCallTypeReadFile: v1.AgentResponseTypeReadFile, v1.AgentCallTypeGetState: v1.AgentResponseTypeGetState, v1.AgentCallTypeGetContainers: v1.AgentResponseTypeGetContainers,
	v1.AgentCallTypeGetFrameworks: v1.AgentResponseTypeGetFrameworks, v1.AgentCallTypeGetExecutors: v1.AgentResponseTypeGetExecutors, v1.AgentCallTypeGetOperations: v1.AgentResponseTypeGetOperations,
	v1.AgentCallTypeGetTasks: v1.AgentResponseTypeGetTasks, v1.AgentCallTypeGetAgent: v1.AgentResponseTypeGetAgent, v1.AgentCallTypeWaitNestedContainer: v1.AgentResponseTypeWaitNestedContainer,
	v1.AgentCallTypeWaitContainer: v1.AgentResponseTypeWaitContainer,
}

// answer sends a response.
func (s *Server) answer(c *exchange.Call, r *request, m *v1.AgentResponse) (any, error) {
	kind := responses[r.kind]
	m.Type = &kind
	b, err := wire.Marshal(r.accept, m)
	if err != nil {
		return nil, err
	}
	c.W.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.Head(http.StatusOK, []string{r.accept.MediaType()})
	return exchange.Done{}, c.WritePart(b)
}

func (s *Server) getHealth(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetHealth: &v1.AgentResponseGetHealth{Healthy: true}})
}

func (s *Server) getVersion(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetVersion: &v1.AgentResponseGetVersion{VersionInfo: &v1.VersionInfo{Version: rows.Version, BuildUser: new("mesita " + s.Version)}}})
}

func (s *Server) getFlags(c *exchange.Call, r *request) (any, error) {
	m := &v1.AgentResponseGetFlags{}
	for _, f := range s.flags() {
		m.Flags = append(m.Flags, &v1.Flag{Name: f[0], Value: &f[1]})
	}
	return s.answer(c, r, &v1.AgentResponse{GetFlags: m})
}

// flags are settings that programs look for, as far as they mean something here.
func (s *Server) flags() [][2]string {
	return [][2]string{{"executor_registration_timeout", "1mins"}, {"executor_shutdown_grace_period", "5secs"}, {"hostname", s.NodeName}, {"switch_user", "true"}, {"version", "false"}}
}

func (s *Server) getLoggingLevel(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetLoggingLevel: &v1.AgentResponseGetLoggingLevel{}})
}

func (s *Server) getOperations(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetOperations: &v1.AgentResponseGetOperations{}})
}

func (s *Server) getMetrics(c *exchange.Call, r *request) (any, error) {
	m := &v1.AgentResponseGetMetrics{}
	for _, e := range s.metrics() {
		m.Metrics = append(m.Metrics, &v1.Metric{Name: e.name, Value: &e.value})
	}
	return s.answer(c, r, &v1.AgentResponse{GetMetrics: m})
}

func (s *Server) getAgent(c *exchange.Call, r *request) (any, error) {
	m := &v1.AgentResponseGetAgent{}
	if n := s.Self(); n != nil {
		m.AgentInfo = rows.AgentInfo(n)
	}
	return s.answer(c, r, &v1.AgentResponse{GetAgent: m})
}

func (s *Server) getState(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetState: &v1.AgentResponseGetState{GetTasks: s.tasks(c), GetExecutors: s.executors(c), GetFrameworks: s.frameworks(c)}})
}

func (s *Server) getTasks(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetTasks: s.tasks(c)})
}

func (s *Server) getExecutors(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetExecutors: s.executors(c)})
}

func (s *Server) getFrameworks(c *exchange.Call, r *request) (any, error) {
	return s.answer(c, r, &v1.AgentResponse{GetFrameworks: s.frameworks(c)})
}

func (s *Server) tasks(c *exchange.Call) *v1.AgentResponseGetTasks {
	m := &v1.AgentResponseGetTasks{}
	translate := s.seen(c)
	for _, t := range s.running(c) {
		if t.Framework != nil && t.Framework.IsExecutor {
			continue
		}
		switch row := translate.Task(t); {
		case t.State.Final():
			m.TerminatedTasks = append(m.TerminatedTasks, row)
		case t.State == api.TaskStaging && t.Hosted():
			m.QueuedTasks = append(m.QueuedTasks, row)
		default:
			m.LaunchedTasks = append(m.LaunchedTasks, row)
		}
	}
	return m
}

// running are the tasks of this node that the caller sees, those of executors too.
func (s *Server) running(c *exchange.Call) []*api.Task {
	s.mu.Lock()
	out := slices.Clone(s.tasksHere)
	s.mu.Unlock()
	return slices.DeleteFunc(out, func(t *api.Task) bool { return !s.sees(c, t) })
}

func (s *Server) executors(c *exchange.Call) *v1.AgentResponseGetExecutors {
	m := &v1.AgentResponseGetExecutors{}
	translate := s.seen(c)
	for _, a := range s.all(c) {
		e := commandExecutor(a.Task)
		if f := a.Task.Framework; f != nil && f.IsExecutor {
			e = translate.Executor(a.Task)
		}
		m.Executors = append(m.Executors, &v1.AgentResponseGetExecutorsExecutor{ExecutorInfo: e})
	}
	return m
}

// commandExecutor is what Mesos has to run a command.
func commandExecutor(t *api.Task) *v1.ExecutorInfo {
	return &v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: executorName(t)}, FrameworkID: &v1.FrameworkID{Value: rows.FrameworkOf(t)}, Name: new("Command Executor (Task: " + rows.TaskID(t) + ")"),
		Source: new(rows.TaskID(t)), Resources: rows.Resources(t.Resources, rows.Form{Role: rows.Role(t.Partition)})}
}

func (s *Server) frameworks(c *exchange.Call) *v1.AgentResponseGetFrameworks {
	m := &v1.AgentResponseGetFrameworks{}
	seen := map[string]bool{}
	for _, t := range s.running(c) {
		id := rows.FrameworkOf(t)
		if seen[id] {
			continue
		}
		seen[id] = true
		m.Frameworks = append(m.Frameworks, &v1.AgentResponseGetFrameworksFramework{FrameworkInfo: s.frameworkInfo(id)})
	}
	slices.SortFunc(m.Frameworks, func(a, b *v1.AgentResponseGetFrameworksFramework) int {
		return cmp.Compare(a.FrameworkInfo.ID.Value, b.FrameworkInfo.ID.Value)
	})
	return m
}

// frameworkInfo is what is known here of a framework: a node without the state knows its
// id.
func (s *Server) frameworkInfo(id string) *v1.FrameworkInfo {
	info := &v1.FrameworkInfo{User: "root", Name: id, ID: &v1.FrameworkID{Value: id}}
	if f := s.Store.View().Framework(id); f != nil {
		info.User, info.Name = f.User, f.Name
	}
	return info
}

func (s *Server) getContainers(c *exchange.Call, r *request) (any, error) {
	stats, err := s.stats(c)
	if err != nil {
		return nil, err
	}
	m := &v1.AgentResponseGetContainers{}
	for _, a := range s.all(c) {
		st, runs := stats[container(a.Task)]
		if !runs {
			continue
		}
		m.Containers = append(m.Containers, &v1.AgentResponseGetContainersContainer{FrameworkID: &v1.FrameworkID{Value: rows.FrameworkOf(a.Task)}, ExecutorID: &v1.ExecutorID{Value: executorName(a.Task)},
			ExecutorName: new(a.Task.Job), ContainerID: &v1.ContainerID{Value: container(a.Task)}, ContainerStatus: statusOf(a.Task), ResourceStatistics: s.statistics(a, &st)})
	}
	if q := r.call.GetContainers; q != nil && q.ShowNested != nil && *q.ShowNested {
		for _, n := range s.besides(c) {
			m.Containers = append(m.Containers, &v1.AgentResponseGetContainersContainer{ContainerID: n.id})
		}
	}
	return s.answer(c, r, &v1.AgentResponse{GetContainers: m})
}

// besides are the commands that run beside tasks that the caller sees.
func (s *Server) besides(c *exchange.Call) []*nested {
	s.mu.Lock()
	var out []*nested
	for _, n := range s.nested {
		if !n.over() {
			out = append(out, n)
		}
	}
	s.mu.Unlock()
	out = slices.DeleteFunc(out, func(n *nested) bool {
		a := s.find(n.of)
		return a == nil || !s.sees(c, a.Task)
	})
	slices.SortFunc(out, func(a, b *nested) int { return cmp.Compare(a.key, b.key) })
	return out
}

func statusOf(t *api.Task) *v1.ContainerStatus {
	st := &v1.ContainerStatus{ContainerID: &v1.ContainerID{Value: container(t)}}
	if t.PID > 0 {
		st.ExecutorPID = new(uint32(t.PID))
	}
	return st
}

// stats are what the tasks use, by their containers.
func (s *Server) stats(c *exchange.Call) (map[string]api.TaskStats, error) {
	all, err := s.Host.Stats(c.R.Context())
	if err != nil {
		return nil, problemOf(err)
	}
	out := make(map[string]api.TaskStats, len(all))
	for i := range all {
		out[all[i].Task+"-"+strconv.Itoa(all[i].Attempt)] = all[i]
	}
	return out, nil
}

// statistics is what a task uses. All of its CPU time is said to be in its own programs:
// what the kernel did for it is not counted apart.
func (s *Server) statistics(a *api.Assignment, st *api.TaskStats) *v1.ResourceStatistics {
	m := &v1.ResourceStatistics{Timestamp: seconds(s.Now()), CPUsUserTimeSecs: new(st.CPUTime.Seconds()), CPUsSystemTimeSecs: new(0.0), CPUsLimit: new(float64(a.Task.Resources.CPUs) / 1000),
		MemLimitBytes: new(uint64(a.Task.Resources.MemLimit())), MemRssBytes: new(uint64(st.Mem)), MemTotalBytes: new(uint64(st.Mem)), Processes: new(uint32(st.Processes))}
	if d := a.Task.Resources.Disk; d > 0 {
		m.DiskLimitBytes = new(uint64(d))
	}
	return m
}

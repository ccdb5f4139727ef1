package operator

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// responses are the types of what calls are answered with: their numbers differ.
var responses = map[v1.MasterCallType]v1.MasterResponseType{
	v1.MasterCallTypeGetHealth: v1.MasterResponseTypeGetHealth, v1.MasterCallTypeGetFlags: v1.MasterResponseTypeGetFlags, v1.MasterCallTypeGetVersion: v1.MasterResponseTypeGetVersion,
	v1.MasterCallTypeGetMetrics: v1.MasterResponseTypeGetMetrics, v1.MasterCallTypeGetLoggingLevel: v1.MasterResponseTypeGetLoggingLevel, v1.MasterCallTypeGetState: v1.MasterResponseTypeGetState,
	v1.MasterCallTypeGetAgents: v1.MasterResponseTypeGetAgents, v1.MasterCallTypeGetFrameworks: v1.MasterResponseTypeGetFrameworks, v1.MasterCallTypeGetExecutors: v1.MasterResponseTypeGetExecutors,
	v1.MasterCallTypeGetOperations: v1.MasterResponseTypeGetOperations, v1.MasterCallTypeGetTasks: v1.MasterResponseTypeGetTasks, v1.MasterCallTypeGetRoles: v1.MasterResponseTypeGetRoles,
	v1.MasterCallTypeGetWeights: v1.MasterResponseTypeGetWeights, v1.MasterCallTypeGetMaster: v1.MasterResponseTypeGetMaster, v1.MasterCallTypeGetMaintenanceStatus: v1.MasterResponseTypeGetMaintenanceStatus,
	v1.MasterCallTypeGetMaintenanceSchedule: v1.MasterResponseTypeGetMaintenanceSchedule, v1.MasterCallTypeGetQuota: v1.MasterResponseTypeGetQuota,
}

// fieldOf is the name of the field that is of a type.
func fieldOf(kind v1.MasterCallType) string { return strings.ToLower(kind.String()) }

func (s *Server) health(a *answer) error { return a.put(&v1.MasterResponseGetHealth{Healthy: true}) }

func (s *Server) version(a *answer) error {
	return a.put(&v1.MasterResponseGetVersion{VersionInfo: &v1.VersionInfo{Version: rows.Version, BuildUser: new("mesita " + s.Version)}})
}

// flags are those of a master of Mesos that have a meaning here.
func (s *Server) flags(a *answer) error {
	out := &v1.MasterResponseGetFlags{}
	add := func(name, value string) { out.Flags = append(out.Flags, &v1.Flag{Name: name, Value: &value}) }
	if c := a.rows.View.Cluster(); c != nil {
		add("cluster", c.Name)
	}
	if m, _, ok := s.Master(); ok && m.Address != nil {
		add("hostname", v1.Get(m.Hostname))
		add("ip", v1.Get(m.Address.IP))
		add("port", strconv.Itoa(int(m.Port)))
	}
	return a.put(out)
}

func (s *Server) metrics(a *answer) error {
	out := &v1.MasterResponseGetMetrics{}
	s.Figures()(a.rows, func(name string, value float64) {
		out.Metrics = append(out.Metrics, &v1.Metric{Name: name, Value: &value})
	})
	return a.put(out)
}

// loggingLevel is the usual one: a node's log has no others.
func (s *Server) loggingLevel(a *answer) error { return a.put(&v1.MasterResponseGetLoggingLevel{}) }

// operations are what only agents with resource providers have to tell of.
func (s *Server) operations(a *answer) error { return a.put(&v1.MasterResponseGetOperations{}) }

func (s *Server) roles(a *answer) error {
	return a.put(&v1.MasterResponseGetRoles{Roles: a.rows.Roles()})
}

func (s *Server) weights(a *answer) error {
	return a.put(&v1.MasterResponseGetWeights{WeightInfos: a.rows.Weights()})
}

func (s *Server) quota(a *answer) error {
	return a.put(&v1.MasterResponseGetQuota{Status: a.rows.Quota()})
}

func (s *Server) master(a *answer) error {
	m, since, ok := s.Master()
	if !ok {
		return reply.Unavailable(reply.NoLeader)
	}
	return a.put(&v1.MasterResponseGetMaster{MasterInfo: m, ElectedTime: rows.Seconds(since)})
}

func (s *Server) state(a *answer) error { return putState(a.Writer, a.rows, a.kind) }

// putState writes a GetState, of the message that path leads to.
func putState(w *wire.Writer, r *rows.Rows, path ...string) error {
	for name, put := range stateParts {
		if err := put(w, r, append(slices.Clip(path), name)...); err != nil {
			return err
		}
	}
	return nil
}

// stateParts are those of a GetState in their order.
func stateParts(yield func(string, func(*wire.Writer, *rows.Rows, ...string) error) bool) {
	_ = yield("get_tasks", putTasks) && yield("get_executors", putExecutors) && yield("get_frameworks", putFrameworks) && yield("get_agents", putAgents)
}

func (s *Server) agents(a *answer) error     { return putAgents(a.Writer, a.rows, a.kind) }
func (s *Server) frameworks(a *answer) error { return putFrameworks(a.Writer, a.rows, a.kind) }
func (s *Server) tasks(a *answer) error      { return putTasks(a.Writer, a.rows, a.kind) }
func (s *Server) executors(a *answer) error  { return putExecutors(a.Writer, a.rows, a.kind) }

// put writes a list of the message that path leads to.
func put[T any](w *wire.Writer, list iter.Seq[T], name string, path []string) error {
	path = append(slices.Clip(path), name)
	for m := range list {
		if err := w.Put(m, path...); err != nil {
			return err
		}
	}
	return nil
}

func putAgents(w *wire.Writer, r *rows.Rows, path ...string) error {
	if err := w.Enter(path...); err != nil {
		return err
	}
	return put(w, r.Agents(), "agents", path)
}

func putFrameworks(w *wire.Writer, r *rows.Rows, path ...string) error {
	if err := w.Enter(path...); err != nil {
		return err
	}
	if err := put(w, r.Frameworks(false), "frameworks", path); err != nil {
		return err
	}
	return put(w, r.Frameworks(true), "completed_frameworks", path)
}

func putTasks(w *wire.Writer, r *rows.Rows, path ...string) error {
	if err := w.Enter(path...); err != nil {
		return err
	}
	if err := put(w, r.Tasks(rows.Live), "tasks", path); err != nil {
		return err
	}
	if err := put(w, r.Tasks(rows.Unreachable), "unreachable_tasks", path); err != nil {
		return err
	}
	return put(w, r.Tasks(rows.Completed), "completed_tasks", path)
}

func putExecutors(w *wire.Writer, r *rows.Rows, path ...string) error {
	if err := w.Enter(path...); err != nil {
		return err
	}
	return put(w, r.Executors(), "executors", path)
}

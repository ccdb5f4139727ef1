package node

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// legacy are the endpoints from before the v1 API that programs still read.
func (s *Server) legacy() []*exchange.Route {
	files := []string{"path", "_"}
	return []*exchange.Route{
		{Path: "/state", Handle: s.stateDocument, Query: []string{"_"}, Summary: "what runs on a node, as a Mesos agent says it"},
		{Path: "/containers", Handle: s.containersDocument, Query: []string{"_"}, Summary: "containers, as a Mesos agent says it"},
		{Path: "/monitor/statistics", Handle: s.statisticsDocument, Query: []string{"_"}, Summary: "what tasks use, as a Mesos agent says it"},
		{Path: "/monitor/statistics.json", Handle: s.statisticsDocument, Query: []string{"_"}, Summary: "what tasks use, as a Mesos agent says it"},
		{Path: "/metrics/snapshot", Handle: s.metricsDocument, Query: []string{"timeout", "_"}, Summary: "the metrics of a Mesos agent"},
		{Path: "/flags", Handle: s.flagsDocument, Query: []string{"_"}, Summary: "the flags of a Mesos agent"},
		{Path: "/version", Handle: s.versionDocument, Query: []string{"_"}, Action: auth.Nothing, Summary: "the version of a Mesos agent"},
		{Path: "/health", Handle: s.health, Query: []string{"_"}, Action: auth.Nothing, Summary: "that a Mesos agent is there"},
		{Path: "/files/browse", Handle: s.browse, Query: files, Action: auth.ReadLogs, Summary: "the files of a task"},
		{Path: "/files/read", Handle: s.readText, Query: append([]string{"offset", "length"}, files...), Action: auth.ReadLogs, Summary: "a part of a file of a task"},
		{Path: "/files/download", Handle: s.download, Query: files, Action: auth.ReadLogs, Stream: true, Summary: "a file of a task"},
		{Path: "/files/debug", Handle: s.debugFiles, Query: []string{"_"}, Summary: "which files of tasks there are"},
	}
}

// document answers with JSON.
func document(c *exchange.Call, v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	c.W.Header().Set("Content-Length", strconv.Itoa(len(b)))
	c.Head(http.StatusOK, []string{"application/json"})
	if c.R.Method == http.MethodHead {
		return exchange.Done{}, nil
	}
	return exchange.Done{}, c.WritePart(b)
}

func (s *Server) health(c *exchange.Call) (any, error) { return reply.Done(c, http.StatusOK) }

func (s *Server) versionDocument(c *exchange.Call) (any, error) {
	return document(c, struct {
		Version   string `json:"version"`
		BuildUser string `json:"build_user"`
	}{rows.Version, "mesita " + s.Version})
}

func (s *Server) flagsDocument(c *exchange.Call) (any, error) {
	return document(c, map[string]any{"flags": s.flagMap()})
}

func (s *Server) flagMap() map[string]string {
	out := map[string]string{}
	for _, f := range s.flags() {
		out[f[0]] = f[1]
	}
	return out
}

// metric is one by its name in Mesos.
type metric struct {
	name  string
	value float64
}

func (s *Server) metricsDocument(c *exchange.Call) (any, error) {
	out := map[string]float64{}
	for _, m := range s.metrics() {
		out[m.name] = m.value
	}
	return document(c, out)
}

// metrics are those of this node that exporters look for.
func (s *Server) metrics() []metric {
	s.mu.Lock()
	tasks := slices.Clone(s.tasksHere)
	s.mu.Unlock()
	var used api.Resources
	frameworks := map[string]bool{}
	states, executors := map[string]int{}, map[string]int{}
	for _, t := range tasks {
		used = used.Add(t.Held())
		frameworks[rows.FrameworkOf(t)] = true
		if t.Framework != nil && t.Framework.IsExecutor {
			executors[executorState(t)]++
			continue
		}
		states[strings.ToLower(strings.TrimPrefix(rows.State(t.State).String(), "TASK_"))]++
	}
	registered := 0.0
	if s.Cluster.LeaderID() != "" {
		registered = 1
	}
	out := []metric{{"slave/registered", registered}, {"slave/uptime_secs", s.Now().Sub(s.Started).Seconds()}, {"slave/frameworks_active", float64(len(frameworks))}, {"slave/recovery_errors", 0}}
	for _, name := range []string{"registering", "running", "terminating", "terminated"} {
		out = append(out, metric{"slave/executors_" + name, float64(executors[name])})
	}
	for _, name := range []string{"staging", "starting", "running", "killing"} {
		out = append(out, metric{"slave/tasks_" + name, float64(states[name])})
	}
	var total api.Resources
	if n := s.Self(); n != nil {
		total = n.Resources
	}
	for _, of := range []struct {
		name        string
		total, used float64
	}{
		{"cpus", float64(total.CPUs) / 1000, float64(used.CPUs) / 1000},
		{"mem", megabytes(total.Mem), megabytes(used.Mem)},
		{"disk", megabytes(total.Disk), megabytes(used.Disk)},
		{"gpus", float64(total.GPUs), float64(used.GPUs)},
	} {
		share := 0.0
		if of.total > 0 {
			share = of.used / of.total
		}
		out = append(out, metric{"slave/" + of.name + "_total", of.total}, metric{"slave/" + of.name + "_used", of.used}, metric{"slave/" + of.name + "_percent", share})
	}
	return append(out, machine()...)
}

func megabytes(b api.Bytes) float64 { return float64(b) / (1 << 20) }

func executorState(t *api.Task) string {
	switch t.State {
	case api.TaskStaging, api.TaskStarting:
		return "registering"
	case api.TaskKilling:
		return "terminating"
	}
	if t.State.Final() {
		return "terminated"
	}
	return "running"
}

// machine is what the kernel says of the machine.
func machine() []metric {
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) != nil {
		return nil
	}
	const whole = 1 << 16 // of a load
	unit := float64(i.Unit)
	return []metric{{"system/load_1min", float64(i.Loads[0]) / whole}, {"system/load_5min", float64(i.Loads[1]) / whole}, {"system/load_15min", float64(i.Loads[2]) / whole},
		{"system/mem_total_bytes", float64(i.Totalram) * unit}, {"system/mem_free_bytes", float64(i.Freeram) * unit}}
}

// statistics as the endpoints from before the v1 API say them.
type usage struct {
	ExecutorID   string   `json:"executor_id"`
	ExecutorName string   `json:"executor_name"`
	FrameworkID  string   `json:"framework_id"`
	Source       string   `json:"source"`
	ContainerID  string   `json:"container_id,omitempty"`
	Statistics   *figures `json:"statistics"`
}

type figures struct {
	CPUsLimit  float64 `json:"cpus_limit"`
	CPUsUser   float64 `json:"cpus_user_time_secs"`
	CPUsSystem float64 `json:"cpus_system_time_secs"`
	MemLimit   uint64  `json:"mem_limit_bytes"`
	MemRSS     uint64  `json:"mem_rss_bytes"`
	MemTotal   uint64  `json:"mem_total_bytes"`
	DiskLimit  uint64  `json:"disk_limit_bytes,omitempty"`
	Processes  uint32  `json:"processes"`
	Timestamp  float64 `json:"timestamp"`
}

func (s *Server) usages(c *exchange.Call, containers bool) ([]usage, error) {
	stats, err := s.stats(c)
	if err != nil {
		return nil, err
	}
	out := []usage{}
	for _, a := range s.all(c) {
		st, runs := stats[container(a.Task)]
		if !runs {
			continue
		}
		m := s.statistics(a, &st)
		u := usage{ExecutorID: executorName(a.Task), ExecutorName: a.Task.Job, FrameworkID: rows.FrameworkOf(a.Task), Source: rows.TaskID(a.Task),
			Statistics: &figures{*m.CPUsLimit, *m.CPUsUserTimeSecs, *m.CPUsSystemTimeSecs, *m.MemLimitBytes, *m.MemRssBytes, *m.MemTotalBytes, v1.Get(m.DiskLimitBytes), *m.Processes, m.Timestamp}}
		if containers {
			u.ContainerID = container(a.Task)
		}
		out = append(out, u)
	}
	return out, nil
}

func (s *Server) statisticsDocument(c *exchange.Call) (any, error) {
	all, err := s.usages(c, false)
	if err != nil {
		return nil, err
	}
	return document(c, all)
}

func (s *Server) containersDocument(c *exchange.Call) (any, error) {
	all, err := s.usages(c, true)
	if err != nil {
		return nil, err
	}
	return document(c, all)
}

package node

import (
	"maps"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
)

// What follows is /state of an agent: ids are plain strings there and amounts plain numbers.

type stateDocument struct {
	Version    string              `json:"version"`
	BuildUser  string              `json:"build_user"`
	StartTime  float64             `json:"start_time"`
	ID         string              `json:"id"`
	PID        string              `json:"pid,omitempty"`
	Hostname   string              `json:"hostname"`
	Resources  map[string]any      `json:"resources"`
	Attributes map[string]string   `json:"attributes"`
	Flags      map[string]string   `json:"flags"`
	Frameworks []frameworkDocument `json:"frameworks"`
	Completed  []frameworkDocument `json:"completed_frameworks"`
}

type frameworkDocument struct {
	ID        string             `json:"id"`
	Name      string             `json:"name"`
	User      string             `json:"user"`
	Executors []executorDocument `json:"executors"`
	Completed []executorDocument `json:"completed_executors"`
}

type executorDocument struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Source    string         `json:"source"`
	Container string         `json:"container"`
	Directory string         `json:"directory"`
	Resources map[string]any `json:"resources"`
	Tasks     []taskDocument `json:"tasks"`
	Queued    []taskDocument `json:"queued_tasks"`
	Completed []taskDocument `json:"completed_tasks"`
}

type taskDocument struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	FrameworkID string         `json:"framework_id"`
	ExecutorID  string         `json:"executor_id"`
	SlaveID     string         `json:"slave_id"`
	State       string         `json:"state"`
	Resources   map[string]any `json:"resources"`
	Role        string         `json:"role"`
}

func (s *Server) stateDocument(c *exchange.Call) (any, error) {
	out := stateDocument{Version: rows.Version, BuildUser: "mesita " + s.Version, StartTime: seconds(s.Started), ID: s.Cluster.NodeID(), Hostname: s.NodeName,
		Resources: map[string]any{}, Attributes: map[string]string{}, Flags: s.flagMap(), Frameworks: []frameworkDocument{}, Completed: []frameworkDocument{}}
	if n := s.Self(); n != nil {
		out.Resources, out.PID = amounts(n.Resources), rows.PID(strings.Trim(Prefix, "/"), n)
		maps.Copy(out.Attributes, n.Attrs)
	}
	hosted := map[[2]string][]*api.Task{}
	for _, t := range s.running(c) {
		if t.Hosted() {
			k := [2]string{t.Framework.Framework, t.Framework.Executor}
			hosted[k] = append(hosted[k], t)
		}
	}
	at := map[string]int{}
	for _, a := range s.all(c) {
		id := rows.FrameworkOf(a.Task)
		if _, known := at[id]; !known {
			f := s.frameworkInfo(id)
			at[id] = len(out.Frameworks)
			out.Frameworks = append(out.Frameworks, frameworkDocument{ID: id, Name: f.Name, User: f.User, Executors: []executorDocument{}, Completed: []executorDocument{}})
		}
		f := &out.Frameworks[at[id]]
		f.Executors = append(f.Executors, s.executorDocument(a, hosted))
	}
	return document(c, &out)
}

func (s *Server) executorDocument(a *api.Assignment, hosted map[[2]string][]*api.Task) executorDocument {
	t := a.Task
	e := executorDocument{ID: executorName(t), Name: t.Job, Source: rows.TaskID(t), Container: container(t), Directory: s.Host.Folder(t.ID, t.Attempt, a.Spec), Resources: amounts(t.Resources),
		Tasks: []taskDocument{}, Queued: []taskDocument{}, Completed: []taskDocument{}}
	own := []*api.Task{t}
	if f := t.Framework; f != nil && f.IsExecutor {
		own = hosted[[2]string{f.Framework, f.Executor}]
	}
	for _, t := range own {
		switch row := documentOf(t); {
		case t.State.Final():
			e.Completed = append(e.Completed, row)
		case t.Hosted() && t.State == api.TaskStaging:
			e.Queued = append(e.Queued, row)
		default:
			e.Tasks = append(e.Tasks, row)
		}
	}
	return e
}

func documentOf(t *api.Task) taskDocument {
	d := taskDocument{ID: rows.TaskID(t), Name: t.Job, FrameworkID: rows.FrameworkOf(t), ExecutorID: rows.ExecutorID(t), SlaveID: t.NodeID, State: rows.State(t.State).String(), Resources: amounts(t.Resources), Role: rows.Role(t.Partition)}
	if t.Framework != nil {
		d.Name = t.Framework.Name
	}
	return d
}

// amounts are resources by their names.
func amounts(r api.Resources) map[string]any {
	out := map[string]any{"cpus": float64(r.CPUs) / 1000, "mem": megabytes(r.Mem), "disk": megabytes(r.Disk), "gpus": r.GPUs}
	if len(r.Ports) > 0 {
		out["ports"] = rangesText(r.Ports)
	}
	return out
}

func rangesText(r api.Ranges) string { return "[" + strings.ReplaceAll(r.String(), ",", ", ") + "]" }

// virtualPath is where the files of a task are in the words of Mesos.
func virtualPath(t *api.Task) string {
	executor := t.ID
	if f := t.Framework; f != nil && f.IsExecutor {
		executor = f.Executor
	} else if f != nil {
		executor = rows.TaskID(t)
	}
	return "/frameworks/" + rows.FrameworkOf(t) + "/executors/" + executor + "/runs/" + container(t)
}

package legacy

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// said is what of a TaskInfo is told as it came; the rest of it is not read.
type said struct {
	Labels    *v1.Labels        `wire:"10,labels"`
	Discovery *v1.DiscoveryInfo `wire:"11,discovery"`
}

// task writes one that has a node.
func (p *page) task(t *api.Task) {
	id, name, framework, executor, user := t.ID, t.Job, rows.Own, "", ""
	if f := t.Framework; f != nil {
		id, name, framework, executor, user = f.ID, f.Name, f.Framework, cmp.Or(f.Executor, f.GroupExecutor), f.Spec.User
	} else if j := p.View.Job(t.Job); j != nil {
		user = j.Spec.User
	}
	p.open("", '{')
	p.text("id", id)
	p.text("name", name)
	p.text("framework_id", framework)
	p.text("executor_id", executor)
	p.text("slave_id", t.NodeID)
	p.text("state", t.State.String())
	p.resources("resources", &t.Resources)
	p.text("role", rows.Role(t.Partition))
	p.given("user", user)
	p.statuses(t)
	p.sayings(t)
	p.close('}')
}

// statuses tells what is known of how a task came to be what it is.
func (p *page) statuses(t *api.Task) {
	p.open("statuses", '[')
	switch {
	case !t.Started.IsZero():
		p.status(t, api.TaskRunning, t.Started)
	case !t.State.Final():
		p.status(t, t.State, t.Created)
	}
	switch {
	case t.State.Final():
		p.status(t, t.State, t.Ended)
	case !t.Started.IsZero() && t.State != api.TaskRunning: // since when is not remembered
		p.status(t, t.State, t.Started)
	}
	p.close(']')
}

func (p *page) status(t *api.Task, state api.TaskState, at time.Time) {
	p.open("", '{')
	p.text("state", state.String())
	p.number("timestamp", seconds(at))
	if t.Healthy != nil && state == t.State {
		p.flag("healthy", *t.Healthy)
	}
	if ip := p.address(t.NodeID); ip != "" && state != api.TaskStaging {
		p.open("container_status", '{')
		p.open("container_id", '{')
		p.text("value", t.ID+"-"+strconv.Itoa(t.Attempt))
		p.close('}')
		if t.PID > 0 && !t.Hosted() {
			p.count("executor_pid", t.PID)
		}
		p.open("network_infos", '[')
		p.open("", '{')
		p.open("ip_addresses", '[')
		p.open("", '{')
		p.text("protocol", protocol(ip))
		p.text("ip_address", ip)
		p.close('}')
		p.close(']')
		p.close('}')
		p.close(']')
		p.close('}')
	}
	p.close('}')
}

// address is where a node is, which is where its tasks are.
func (p *page) address(node string) string {
	ip, known := p.addresses[node]
	if !known {
		if n := p.View.Node(node); n != nil {
			ip, _, _ = rows.Address(n)
		}
		p.addresses[node] = ip
	}
	return ip
}

func protocol(ip string) string {
	if net.ParseIP(ip).To4() == nil {
		return "IPv6"
	}
	return "IPv4"
}

// sayings are what a framework said of its task for others to read, and of a job's what
// is the same: by which names its ports are found.
func (p *page) sayings(t *api.Task) {
	if t.Framework == nil {
		p.ports(t)
		return
	}
	var s said
	if len(t.Framework.Info) == 0 || wire.Unmarshal(wire.Protobuf, t.Framework.Info, &s) != nil {
		return
	}
	if s.Labels != nil && len(s.Labels.Labels) > 0 {
		p.labels(s.Labels)
	}
	if s.Discovery != nil {
		if b, err := wire.Marshal(wire.JSON, s.Discovery); err == nil {
			p.raw("discovery", b)
		}
	}
}

func (p *page) labels(l *v1.Labels) {
	p.open("labels", '[')
	for _, x := range l.Labels {
		p.open("", '{')
		p.text("key", x.Key)
		if x.Value != nil {
			p.text("value", *x.Value)
		}
		p.close('}')
	}
	p.close(']')
}

func (p *page) ports(t *api.Task) {
	if len(t.Ports) == 0 {
		return
	}
	p.open("discovery", '{')
	p.text("visibility", "CLUSTER")
	p.text("name", t.Job)
	p.open("ports", '{')
	p.open("ports", '[')
	for _, name := range slices.Sorted(maps.Keys(t.Ports)) {
		p.open("", '{')
		p.count("number", t.Ports[name])
		p.text("name", name)
		p.text("protocol", "tcp")
		p.close('}')
	}
	p.close(']')
	p.close('}')
	p.close('}')
}

// executor writes the executor of a framework that runs, or did.
func (p *page) executor(t *api.Task) {
	p.open("", '{')
	p.text("executor_id", t.Framework.Executor)
	p.text("name", t.Framework.Name)
	p.text("source", "")
	p.text("framework_id", t.Framework.Framework)
	p.text("slave_id", t.NodeID)
	p.resources("resources", &t.Resources)
	p.close('}')
}

// Of /tasks, as Mesos has it.
const usualTasks = 100

// allTasks writes those that the query is about, the newest first or last.
func (p *page) allTasks() {
	limit, offset := p.query.Number("limit", usualTasks, 0, 1<<31-1), p.query.Number("offset", 0, 0, 1<<31-1)
	order := p.query.OneOf("order", "asc", "des", "desc")
	if p.query.Err != nil {
		p.err = p.query.Err
		return
	}
	id, of := p.arg("task_id"), p.query.Text("framework_id")
	var all []*api.Task
	for t := range p.tasks() {
		if t.Framework != nil && t.Framework.IsExecutor {
			continue
		}
		own, framework := t.ID, rows.Own
		if t.Framework != nil {
			own, framework = t.Framework.ID, t.Framework.Framework
		}
		if (id == "" || id == own) && (of == "" || of == framework) {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b *api.Task) int {
		if order == "asc" {
			a, b = b, a
		}
		return changed(b).Compare(changed(a))
	})
	all = all[min(offset, len(all)):]
	p.open("", '{')
	p.open("tasks", '[')
	for _, t := range all[:min(limit, len(all))] {
		p.task(t)
	}
	p.close(']')
	p.close('}')
}

// changed is when a task became what it is, as far as that is remembered.
func changed(t *api.Task) time.Time {
	switch {
	case !t.Ended.IsZero():
		return t.Ended
	case !t.Started.IsZero():
		return t.Started
	}
	return t.Created
}

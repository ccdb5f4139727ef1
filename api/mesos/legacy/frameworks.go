package legacy

import (
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// completed is how many tasks that have ended are told of a framework: the newest, as
// with Mesos.
const completed = 1000

// program is a framework as its reader sees it: one of those that connect, or what stands
// for all jobs.
type program struct {
	*api.Framework // nil: jobs
	info           v1.FrameworkInfo
	roles          []string
	offers         []*api.Offer

	live, unreachable, ended, executors []*api.Task
	held                                api.Resources
}

// programs are those that the caller sees, those that have ended last.
func (p *page) programs() (out []*program) {
	offers := map[string][]*api.Offer{}
	for o := range p.View.Offers() {
		if p.SeesPartition(o.Partition) {
			offers[o.Framework] = append(offers[o.Framework], o)
		}
	}
	only := p.arg("framework_id")
	for f := range p.View.Frameworks() {
		if only != "" && f.ID != only || !p.SeesFramework(f) {
			continue
		}
		g := &program{Framework: f, offers: offers[f.ID]}
		if wire.Unmarshal(wire.Protobuf, f.Info, &g.info) != nil {
			g.info = v1.FrameworkInfo{Name: f.Name, User: f.User}
		}
		for _, path := range f.Partitions {
			if p.SeesPartition(path) {
				g.roles = append(g.roles, rows.Role(path))
			}
		}
		out = append(out, g)
	}
	if only == "" || only == rows.Own {
		own := &program{info: v1.FrameworkInfo{Name: rows.Own, User: "root"}}
		for part := range p.View.Partitions() {
			if p.SeesPartition(part.Path) {
				own.roles = append(own.roles, rows.Role(part.Path))
			}
		}
		out = append(out, own)
	}
	return out
}

func (g *program) gone() bool { return g.Framework != nil && !g.Ended.IsZero() }

func (g *program) id() string {
	if g.Framework == nil {
		return rows.Own
	}
	return g.ID
}

// add sorts a task in.
func (g *program) add(t *api.Task) {
	if t.Holds() {
		g.held = sum(g.held, t.Whole())
	}
	switch {
	case t.Framework != nil && t.Framework.IsExecutor:
		if !t.State.Final() {
			g.executors = append(g.executors, t)
		}
	case t.State.Final():
		g.ended = append(g.ended, t)
	case t.State == api.TaskUnreachable:
		g.unreachable = append(g.unreachable, t)
	default:
		g.live = append(g.live, t)
	}
}

// lastEnded are the newest of those that have ended.
func (g *program) lastEnded() []*api.Task {
	if len(g.ended) > completed {
		slices.SortFunc(g.ended, func(a, b *api.Task) int { return b.Ended.Compare(a.Ended) })
		g.ended = g.ended[:completed]
	}
	return g.ended
}

// framework writes what /state, /frameworks and /state-summary have of a framework alike;
// the caller closes it.
func (p *page) framework(g *program) {
	var offered api.Resources
	for _, o := range g.offers {
		offered = sum(offered, o.Resources)
	}
	p.open("", '{')
	p.text("id", g.id())
	p.text("name", g.info.Name)
	p.text("hostname", v1.Get(g.info.Hostname))
	p.given("webui_url", v1.Get(g.info.WebUIURL))
	connected := g.Framework == nil || g.Connected
	p.flag("active", connected)
	p.flag("connected", connected)
	p.flag("recovered", false)
	p.resources("used_resources", &g.held)
	p.resources("offered_resources", &offered)
	p.open("capabilities", '[')
	if g.Framework == nil {
		p.item("MULTI_ROLE")
	}
	for _, c := range g.info.Capabilities {
		p.item(v1.Get(c.Type).String())
	}
	p.close(']')
}

// whole writes all that there is to tell of a framework.
func (p *page) whole(g *program) {
	all := g.held
	for _, o := range g.offers {
		all = sum(all, o.Resources)
	}
	p.framework(g)
	p.resources("resources", &all)
	p.text("user", g.info.User)
	p.number("failover_timeout", g.info.GetFailoverTimeout())
	p.flag("checkpoint", g.info.GetCheckpoint())
	p.given("principal", v1.Get(g.info.Principal))
	if slices.ContainsFunc(g.info.Capabilities, func(c *v1.FrameworkInfoCapability) bool {
		return v1.Get(c.Type) == v1.FrameworkInfoCapabilityTypeMultiRole
	}) || g.Framework == nil {
		p.texts("roles", g.roles)
	} else if len(g.roles) > 0 {
		p.text("role", g.roles[0])
	}
	if f := g.Framework; f != nil {
		p.number("registered_time", seconds(f.Created))
		p.number("unregistered_time", seconds(f.Ended))
		if !f.Since.Equal(f.Created) && f.Connected {
			p.number("reregistered_time", seconds(f.Since))
		}
	} else {
		p.number("registered_time", seconds(p.since))
		p.number("unregistered_time", 0)
	}
	if g.info.Labels != nil {
		p.labels(g.info.Labels)
	}
	p.taskList("tasks", g.live)
	p.taskList("unreachable_tasks", g.unreachable)
	p.taskList("completed_tasks", g.lastEnded())
	p.open("executors", '[')
	for _, t := range g.executors {
		p.executor(t)
	}
	p.close(']')
	p.open("offers", '[')
	for _, o := range g.offers {
		p.open("", '{')
		p.text("id", o.ID)
		p.text("framework_id", o.Framework)
		p.text("slave_id", o.NodeID)
		p.open("allocation_info", '{')
		p.text("role", rows.Role(o.Partition))
		p.close('}')
		p.resources("resources", &o.Resources)
		p.close('}')
	}
	p.close(']')
	p.close('}')
}

func (p *page) taskList(name string, tasks []*api.Task) {
	p.open(name, '[')
	for _, t := range tasks {
		if p.err != nil {
			return // its reader is gone
		}
		p.task(t)
	}
	p.close(']')
}

// programList writes frameworks with what they run, each as it is read.
func (p *page) programList() {
	list := p.programs()
	for _, gone := range []bool{false, true} {
		p.open(map[bool]string{false: "frameworks", true: "completed_frameworks"}[gone], '[')
		for _, g := range list {
			if g.gone() != gone || p.err != nil {
				continue
			}
			for t := range p.tasksOf(g) {
				g.add(t)
			}
			p.whole(g)
			*g = program{Framework: g.Framework} // all of them at once would be all tasks
		}
		p.close(']')
	}
	p.texts("unregistered_frameworks", nil)
}

func (p *page) frameworks() {
	p.open("", '{')
	p.programList()
	p.close('}')
}

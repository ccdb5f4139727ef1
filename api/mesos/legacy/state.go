package legacy

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// build is what /version tells, too. The version is that of the API, which clients take
// apart as numbers.
func (p *page) build() {
	p.text("version", rows.Version)
	p.text("git_sha", "mesita")
	p.text("build_date", "")
	p.number("build_time", 0)
	p.text("build_user", rows.Own)
}

func (p *page) version() {
	p.open("", '{')
	p.build()
	p.close('}')
}

func (p *page) state() {
	p.open("", '{')
	p.build()
	p.number("start_time", seconds(p.of.Master.Started()))
	p.number("elected_time", seconds(p.since))
	p.leader()
	p.counts()
	p.flagValues()
	p.agents(false, "")
	p.programList()
	p.texts("orphan_tasks", nil)
	p.close('}')
}

func (p *page) leader() {
	m := p.info
	pid, host := v1.Get(m.PID), v1.Get(m.Hostname)
	p.text("id", m.ID)
	p.text("pid", pid)
	p.text("hostname", host)
	p.open("capabilities", '[')
	for _, c := range m.Capabilities {
		p.item(v1.Get(c.Type).String())
	}
	p.close(']')
	p.text("leader", pid)
	p.open("leader_info", '{')
	p.text("id", m.ID)
	p.text("pid", pid)
	p.count("port", int(m.Port))
	p.text("hostname", host)
	p.close('}')
	p.given("cluster", p.cluster())
}

// cluster is the name of the cluster, "" on a node that does not know it yet.
func (p *page) cluster() string {
	if c := p.View.Cluster(); c != nil {
		return c.Name
	}
	return ""
}

// counts are of nodes by how they are.
func (p *page) counts() {
	var on, off, lost int
	for n := range p.View.Nodes() {
		switch {
		case rows.Registered(n) && active(n):
			on++
		case rows.Registered(n):
			off++
		case n.State != api.NodeGone:
			lost++
		}
	}
	p.count("activated_slaves", on)
	p.count("deactivated_slaves", off)
	p.count("unreachable_slaves", lost)
}

// flagValues are settings in the names that a master of Mesos has for them.
func (p *page) flagValues() {
	p.open("flags", '{')
	p.given("cluster", p.cluster())
	p.text("hostname", p.call.NodeName)
	if n := p.View.Node(p.call.Cluster.NodeID()); n != nil {
		if i := strings.LastIndexByte(n.Addr, ':'); i >= 0 {
			p.text("port", n.Addr[i+1:])
		}
	}
	p.close('}')
}

func (p *page) flags() {
	p.open("", '{')
	p.flagValues()
	p.close('}')
}

// digest is how many tasks are in which state, and what else they belong to.
type digest struct {
	by     [api.TaskUnknown + 1]int
	others map[string]bool
	list   []string
	held   api.Resources
}

func (d *digest) add(t *api.Task, other string) {
	d.by[t.State]++
	if !d.others[other] {
		if d.others == nil {
			d.others = map[string]bool{}
		}
		d.others[other] = true
		d.list = append(d.list, other)
	}
	if t.Holds() {
		d.held = sum(d.held, t.Whole())
	}
}

// tasksBy writes how many there are in each state.
func (w *writer) tasksBy(d *digest) {
	for s := range d.by {
		w.count(api.TaskState(s).String(), d.by[s])
	}
}

// summary tells of each task no more than its state.
func (p *page) summary() {
	ofFramework, ofNode := map[string]*digest{}, map[string]*digest{}
	at := func(m map[string]*digest, key string) *digest {
		if m[key] == nil {
			m[key] = &digest{}
		}
		return m[key]
	}
	for t := range p.tasks() {
		if t.Framework != nil && t.Framework.IsExecutor {
			d := at(ofFramework, t.Framework.Framework)
			if t.Holds() {
				d.held = sum(d.held, t.Whole())
			}
			continue
		}
		framework := rows.Own
		if t.Framework != nil {
			framework = t.Framework.Framework
		}
		at(ofFramework, framework).add(t, t.NodeID)
		at(ofNode, t.NodeID).add(t, framework)
	}
	p.open("", '{')
	p.text("hostname", v1.Get(p.info.Hostname))
	p.given("cluster", p.cluster())
	p.open("slaves", '[')
	for n := range p.View.Nodes() {
		if !rows.Registered(n) {
			continue
		}
		has, tasks := holdingsOf(p.View, n)
		d := at(ofNode, n.ID)
		p.agent(n, has, tasks)
		p.tasksBy(d)
		p.texts("framework_ids", d.list)
		p.close('}')
	}
	p.close(']')
	p.open("frameworks", '[')
	for _, g := range p.programs() {
		if g.gone() {
			continue
		}
		d := at(ofFramework, g.id())
		g.held = d.held
		p.framework(g)
		p.tasksBy(d)
		p.texts("slave_ids", d.list)
		p.close('}')
	}
	p.close(']')
	p.close('}')
}

package legacy

import (
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	"github.com/mesita/mesita/fsm"
)

// abilities are what agents of Mesos say that they can, and nodes do.
var abilities = []string{"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_DRAINING", "TASK_RESOURCE_LIMITS"}

// seconds is a time as Mesos counts it, 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

func active(n *api.Node) bool { return n.State == api.NodeReady && !n.Drain }

// holdings are where the resources of a node are, as Mesos tells it: what is reserved and
// nobody uses is not used.
type holdings struct {
	used, offered, plain api.Resources
	reserved             map[string]api.Resources // by partition
}

func holdingsOf(v *fsm.View, n *api.Node) (h *holdings, tasks int) {
	l, tasks := v.Ledger(n.ID)
	h = &holdings{used: l.Allocated.Add(l.Reclaiming), offered: l.Offered, plain: n.Resources, reserved: map[string]api.Resources{}}
	for r := range v.Reservations(n.ID) {
		h.used = h.used.Minus(r.Resources).Add(r.Used)
		h.offered, h.plain = h.offered.Add(r.Offered), h.plain.Minus(r.Resources)
		h.reserved[r.Partition] = h.reserved[r.Partition].Add(r.Resources)
	}
	return h, tasks
}

// agent writes what /state, /slaves and /state-summary have of a node alike; the caller
// closes it.
func (w *writer) agent(n *api.Node, has *holdings, tasks int) {
	used := has.used
	w.open("", '{')
	w.text("id", n.ID)
	w.text("hostname", n.Name)
	if _, port, ok := rows.Address(n); ok {
		w.count("port", port)
	}
	w.text("pid", rows.PID("slave(1)", n))
	w.number("registered_time", seconds(n.Joined))
	if !n.Since.Equal(n.Joined) {
		w.number("reregistered_time", seconds(n.Since))
	}
	w.resources("resources", &n.Resources)
	w.resources("used_resources", &used)
	w.resources("offered_resources", &has.offered)
	w.open("reserved_resources", '{')
	for _, path := range slices.Sorted(maps.Keys(has.reserved)) {
		r := has.reserved[path]
		w.resources(rows.Role(path), &r)
	}
	w.close('}')
	w.resources("unreserved_resources", &has.plain)
	w.open("attributes", '{')
	for _, k := range slices.Sorted(maps.Keys(n.Attrs)) {
		w.text(k, n.Attrs[k])
	}
	w.close('}')
	w.flag("active", active(n))
	w.flag("deactivated", n.Drain)
	w.text("version", rows.Version)
	w.texts("capabilities", abilities)
	if n.Drain {
		w.drain(n, tasks)
	}
}

func (w *writer) drain(n *api.Node, tasks int) {
	state := "DRAINING"
	if tasks == 0 {
		state = "DRAINED"
	}
	w.open("drain_info", '{')
	w.text("state", state)
	w.open("config", '{')
	if grace := n.DrainBy.Sub(n.Since); !n.DrainBy.IsZero() && grace > 0 {
		w.open("max_grace_period", '{')
		w.count("nanoseconds", int(grace))
		w.close('}')
	}
	w.close('}')
	w.close('}')
	w.number("estimated_drain_start_time", seconds(n.Since))
}

// agents writes those of the state.
func (p *page) agents(full bool, only string) {
	p.open("slaves", '[')
	for n := range p.View.Nodes() {
		if !rows.Registered(n) || only != "" && n.ID != only {
			continue
		}
		has, tasks := holdingsOf(p.View, n)
		p.agent(n, has, tasks)
		if full {
			p.full("used_resources_full", "*", &has.used)
			p.full("offered_resources_full", "*", &has.offered)
			p.open("reserved_resources_full", '{')
			for _, path := range slices.Sorted(maps.Keys(has.reserved)) {
				r := has.reserved[path]
				p.full(rows.Role(path), rows.Role(path), &r)
			}
			p.close('}')
			p.full("unreserved_resources_full", "*", &has.plain)
		}
		p.close('}')
	}
	p.close(']')
	p.texts("recovered_slaves", nil)
}

func (p *page) slaves() {
	p.open("", '{')
	p.agents(true, p.arg("slave_id"))
	p.close('}')
}

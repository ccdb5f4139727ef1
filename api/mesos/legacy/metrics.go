package legacy

import (
	"runtime"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
)

// metrics writes what is known under the names that Mesos has for it. What is not counted
// is left out: a zero would be taken for a measurement. Each node tells of itself, and the
// one that leads of the cluster, too.
func (p *page) metrics() {
	now := p.call.Now()
	p.open("", '{')
	p.number("master/uptime_secs", now.Sub(p.of.Master.Started()).Seconds())
	p.system("system/")
	if p.info == nil {
		p.number("master/elected", 0)
		p.close('}')
		return
	}
	p.number("master/elected", 1)
	p.nodeMetrics()
	p.frameworkMetrics()
	p.taskMetrics()
	p.shares()
	p.of.Master.Calls(func(name string, n uint64) bool {
		p.number("master/"+name, float64(n))
		return true
	})
	p.close('}')
}

// nodeMetrics tells of nodes, and what they have.
func (p *page) nodeMetrics() {
	var connected, off, on, lost float64
	var has, used, offered api.Resources
	for n := range p.View.Nodes() {
		switch {
		case !rows.Registered(n):
			if n.State != api.NodeGone {
				lost++
			}
			continue
		case n.Away:
			off++
		default:
			connected++
		}
		if active(n) {
			on++
		}
		h, _ := holdingsOf(p.View, n)
		has, used, offered = sum(has, n.Resources), sum(used, h.used), sum(offered, h.offered)
	}
	p.number("master/slaves_active", on)
	p.number("master/slaves_inactive", connected+off-on)
	p.number("master/slaves_connected", connected)
	p.number("master/slaves_disconnected", off)
	p.number("master/slaves_unreachable", lost)
	amounts := func(r *api.Resources) [4]float64 {
		return [4]float64{r.CPUs.Cores(), float64(r.GPUs), mebibytes(r.Mem), mebibytes(r.Disk)}
	}
	total, held, open := amounts(&has), amounts(&used), amounts(&offered)
	for i, name := range []string{"cpus", "gpus", "mem", "disk"} {
		percent := 0.0
		if total[i] > 0 {
			percent = held[i] / total[i]
		}
		p.number("master/"+name+"_total", total[i])
		p.number("master/"+name+"_used", held[i])
		p.number("master/"+name+"_percent", percent)
		for _, of := range []string{"total", "used", "percent"} { // no room is revocable
			p.number("master/"+name+"_revocable_"+of, 0)
		}
		p.number("allocator/mesos/resources/"+name+"/total", total[i])
		p.number("allocator/mesos/resources/"+name+"/offered_or_allocated", held[i]+open[i])
	}
}

func (p *page) frameworkMetrics() {
	var connected, away, offers float64
	for f := range p.View.Frameworks() {
		switch {
		case !f.Ended.IsZero() || !p.SeesFramework(f):
		case f.Connected:
			connected++
		default:
			away++
		}
	}
	for o := range p.View.Offers() {
		if p.SeesPartition(o.Partition) {
			offers++
		}
	}
	p.number("master/frameworks_active", connected)
	p.number("master/frameworks_connected", connected)
	p.number("master/frameworks_disconnected", away)
	p.number("master/frameworks_inactive", away)
	p.number("master/outstanding_offers", offers)
}

// taskMetrics counts the tasks that are on nodes; of those that have ended nobody knows
// how many there were.
func (p *page) taskMetrics() {
	var by [api.TaskUnknown + 1]float64
	for n := range p.View.Nodes() {
		for t := range p.View.NodeTasks(n.ID) {
			if (t.Framework == nil || !t.Framework.IsExecutor) && p.SeesTask(t) {
				by[t.State]++
			}
		}
	}
	for _, s := range []api.TaskState{api.TaskStaging, api.TaskStarting, api.TaskRunning, api.TaskKilling, api.TaskUnreachable} {
		p.number("master/tasks_"+s.Word(), by[s])
	}
}

// shares tells of each role the largest part of any one resource that it has.
func (p *page) shares() {
	has := p.View.Capacity()
	for part := range p.partitions {
		u := p.View.Usage(part.Path)
		r, most := u.Allocated.Add(u.Offered), 0.0
		for _, of := range [][2]float64{{float64(r.CPUs), float64(has.CPUs)}, {float64(r.Mem), float64(has.Mem)}, {float64(r.Disk), float64(has.Disk)}} {
			if of[1] > 0 {
				most = max(most, of[0]/of[1])
			}
		}
		p.number("allocator/mesos/roles/"+rows.Role(part.Path)+"/shares/dominant", most)
	}
}

// system writes what the machine is and does.
func (p *page) system(before string) {
	p.number(before+"cpus_total", float64(runtime.NumCPU()))
	m := machine{proc: p.of.proc}
	if load, ok := m.load(); ok {
		for i, span := range []string{"1", "5", "15"} {
			name := "load_" + span + "min"
			if before == "" {
				name = "avg_" + name
			}
			p.number(before+name, load[i])
		}
	}
	if total, free, ok := m.memory(); ok {
		p.number(before+"mem_total_bytes", total)
		p.number(before+"mem_free_bytes", free)
	}
}

func (p *page) stats() {
	p.open("", '{')
	p.system("")
	p.close('}')
}

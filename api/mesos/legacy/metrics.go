package legacy

import (
	"runtime"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
)

// figures are metrics on their way to a reader, of what it sees.
type figures struct {
	*rows.Rows
	master Master
	leads  bool
	now    time.Time
	proc   string
	put    func(name string, value float64)
}

// Figures tells what is known under the names that Mesos has for it. What is not counted is
// left out: a zero would be taken for a measurement. Each node tells of itself, and the one that
// leads of the cluster, too.
func Figures(m Master, r *rows.Rows, now time.Time, put func(name string, value float64)) {
	_, _, leads := m.Master()
	(&figures{Rows: r, master: m, leads: leads, now: now, proc: procDir, put: put}).all()
}

func (p *page) metrics() {
	p.open("", '{')
	p.figures().all()
	p.close('}')
}

func (p *page) figures() *figures {
	return &figures{Rows: p.Rows, master: p.of.Master, leads: p.info != nil, now: p.call.Now(), proc: p.of.proc, put: p.number}
}

func (p *figures) all() {
	p.put("master/uptime_secs", p.now.Sub(p.master.Started()).Seconds())
	p.system("system/")
	if !p.leads {
		p.put("master/elected", 0)
		return
	}
	p.put("master/elected", 1)
	p.nodeMetrics()
	p.frameworkMetrics()
	p.taskMetrics()
	p.shares()
	p.master.Calls(func(name string, n uint64) bool {
		p.put("master/"+name, float64(n))
		return true
	})
}

// nodeMetrics tells of nodes, and what they have.
func (p *figures) nodeMetrics() {
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
	p.put("master/slaves_active", on)
	p.put("master/slaves_inactive", connected+off-on)
	p.put("master/slaves_connected", connected)
	p.put("master/slaves_disconnected", off)
	p.put("master/slaves_unreachable", lost)
	amounts := func(r *api.Resources) [4]float64 {
		return [4]float64{r.CPUs.Cores(), float64(r.GPUs), mebibytes(r.Mem), mebibytes(r.Disk)}
	}
	total, held, open := amounts(&has), amounts(&used), amounts(&offered)
	for i, name := range []string{"cpus", "gpus", "mem", "disk"} {
		percent := 0.0
		if total[i] > 0 {
			percent = held[i] / total[i]
		}
		p.put("master/"+name+"_total", total[i])
		p.put("master/"+name+"_used", held[i])
		p.put("master/"+name+"_percent", percent)
		for _, of := range []string{"total", "used", "percent"} { // no room is revocable
			p.put("master/"+name+"_revocable_"+of, 0)
		}
		p.put("allocator/mesos/resources/"+name+"/total", total[i])
		p.put("allocator/mesos/resources/"+name+"/offered_or_allocated", held[i]+open[i])
	}
}

func (p *figures) frameworkMetrics() {
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
	p.put("master/frameworks_active", connected)
	p.put("master/frameworks_connected", connected)
	p.put("master/frameworks_disconnected", away)
	p.put("master/frameworks_inactive", away)
	p.put("master/outstanding_offers", offers)
}

// taskMetrics counts the tasks that are on nodes; of those that have ended nobody knows
// how many there were.
func (p *figures) taskMetrics() {
	var by [api.TaskUnknown + 1]float64
	for n := range p.View.Nodes() {
		for t := range p.View.NodeTasks(n.ID) {
			if (t.Framework == nil || !t.Framework.IsExecutor) && p.SeesTask(t) {
				by[t.State]++
			}
		}
	}
	for _, s := range []api.TaskState{api.TaskStaging, api.TaskStarting, api.TaskRunning, api.TaskKilling, api.TaskUnreachable} {
		p.put("master/tasks_"+s.Word(), by[s])
	}
}

// shares tells of each role the largest part of any one resource that it has.
func (p *figures) shares() {
	has := p.View.Capacity()
	partitionsOf(p.Rows, func(part *api.Partition) bool {
		u := p.View.Usage(part.Path)
		r, most := u.Allocated.Add(u.Offered), 0.0
		for _, of := range [][2]float64{{float64(r.CPUs), float64(has.CPUs)}, {float64(r.Mem), float64(has.Mem)}, {float64(r.Disk), float64(has.Disk)}} {
			if of[1] > 0 {
				most = max(most, of[0]/of[1])
			}
		}
		p.put("allocator/mesos/roles/"+rows.Role(part.Path)+"/shares/dominant", most)
		return true
	})
}

// system writes what the machine is and does.
func (p *figures) system(before string) {
	p.put(before+"cpus_total", float64(runtime.NumCPU()))
	m := machine{proc: p.proc}
	if load, ok := m.load(); ok {
		for i, span := range []string{"1", "5", "15"} {
			name := "load_" + span + "min"
			if before == "" {
				name = "avg_" + name
			}
			p.put(before+name, load[i])
		}
	}
	if total, free, ok := m.memory(); ok {
		p.put(before+"mem_total_bytes", total)
		p.put(before+"mem_free_bytes", free)
	}
}

func (p *page) stats() {
	p.open("", '{')
	p.figures().system("")
	p.close('}')
}

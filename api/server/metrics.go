package server

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
	"github.com/mesita/mesita/fsm"
)

// exposition is metrics in the text format of Prometheus.
type exposition struct{ strings.Builder }

func (e *exposition) family(name, kind, help string) {
	fmt.Fprintf(e, "# HELP mesita_%s %s\n# TYPE mesita_%s %s\n", name, help, name, kind)
}

func (e *exposition) gauge(name, help string, v any) {
	e.family(name, "gauge", help)
	fmt.Fprintf(e, "mesita_%s %v\n", name, v)
}

func (e *exposition) byState(name, help string, counts map[string]int) {
	e.family(name, "gauge", help)
	for _, s := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(e, "mesita_%s{state=%q} %d\n", name, s, counts[s])
	}
}

func getMetrics(c *call) (any, error) {
	var e exposition
	v := c.Store.View()
	if c.Cluster.HasReplica() { // or there would be zeros for what this node does not know
		e.state(c, v)
	}
	e.gauge("state_index", "Index of the last log entry applied here.", v.Index())
	e.gauge("is_leader", "1 on the node that leads.", flagValue(c.Cluster.IsLeader()))
	e.gauge("has_leader", "1 while this node knows a leader.", flagValue(c.Cluster.LeaderID() != ""))
	_, full := c.Local.DiskFull()
	e.gauge("disk_full", "1 while this node takes no new work for lack of disk.", flagValue(full))
	e.gauge("streams", "Event, log, exec and assignment streams open here.", c.http.Streams())
	c.processMetrics(&e)
	return exchange.Text(e.String()), nil
}

// state is what the cluster is and does.
func (e *exposition) state(c *call, v *fsm.View) {
	nodes := map[string]int{}
	var has, free api.Resources
	for n := range v.Nodes() {
		nodes[n.State.String()]++
		if n.State == api.NodeReady || n.State == api.NodeDraining {
			has, free = has.Add(n.Resources), free.Add(v.Free(n.ID))
		}
	}
	e.byState("nodes", "Nodes by state.", nodes)
	e.work(v)
	e.partitions(c.Shares.Status(v))
	e.gauge("incidents_open", "Failures that are not over.", openIncidents(v))
	e.gauge("cpus_total", "Cores of the nodes that answer.", has.CPUs)
	e.gauge("cpus_free", "Cores that nothing holds.", free.CPUs)
	e.gauge("memory_total_bytes", "Memory of the nodes that answer.", int64(has.Mem))
	e.gauge("memory_free_bytes", "Memory that nothing holds.", int64(free.Mem))
}

// work counts jobs and tasks without a look at any single task.
func (e *exposition) work(v *fsm.View) {
	jobs, tasks := map[string]int{}, map[string]int{}
	for j := range v.Jobs() {
		jobs[j.State.String()]++
		tasks[api.TaskFinished.String()] += j.Counts.Finished
		tasks[api.TaskFailed.String()] += j.Counts.Failed
		tasks[api.TaskKilled.String()] += j.Counts.Stopped
	}
	for p := range v.Partitions() {
		u := v.Usage(p.Path)
		tasks["pending"] += u.Pending
		tasks["frozen"] += u.Frozen
		tasks[api.TaskStarting.String()] += u.Starting
		tasks[api.TaskRunning.String()] += u.Running - u.Frozen // which run, in place
	}
	e.byState("jobs", "Jobs by state.", jobs)
	e.byState("tasks", "Tasks by state of their newest attempt.", tasks)
}

// partitions writes what each partition holds, those below it included.
func (e *exposition) partitions(list []api.PartitionStatus) {
	for _, f := range []struct {
		name, help string
		get        func(*api.PartitionStatus) any
	}{
		{"cpus_allocated", "Cores that the tasks of a partition hold.", func(p *api.PartitionStatus) any { return p.Allocated.CPUs }},
		{"memory_allocated_bytes", "Memory that the tasks of a partition hold.", func(p *api.PartitionStatus) any { return int64(p.Allocated.Mem) }},
		{"cpus_offered", "Cores that are on offer to the frameworks of a partition.", func(p *api.PartitionStatus) any { return p.Offered.CPUs }},
		{"memory_offered_bytes", "Memory that is on offer to the frameworks of a partition.", func(p *api.PartitionStatus) any { return int64(p.Offered.Mem) }},
		{"pending", "Tasks of a partition that wait for a node.", func(p *api.PartitionStatus) any { return p.Pending }},
		{"running", "Running tasks of a partition.", func(p *api.PartitionStatus) any { return p.Running }},
		{"frozen", "Tasks of a partition that are stopped in place.", func(p *api.PartitionStatus) any { return p.Frozen }},
		{"share", "The largest share of any one resource that a partition holds.", func(p *api.PartitionStatus) any { return p.Share }},
		{"fair", "The share that a partition is entitled to.", func(p *api.PartitionStatus) any { return p.Fair }},
		{"idle", "The share of the cluster that is free and kept for the first task in line of a partition, as the leader knows.", func(p *api.PartitionStatus) any {
			if p.Sharing == nil {
				return nil
			}
			return p.Sharing.Idle
		}},
	} {
		e.family("partition_"+f.name, "gauge", f.help)
		for i := range list {
			if v := f.get(&list[i]); v != nil {
				fmt.Fprintf(e, "mesita_partition_%s{partition=%q} %v\n", f.name, list[i].Path, v)
			}
		}
	}
}

func openIncidents(v *fsm.View) int {
	n := 0
	for i := range v.Incidents() {
		if i.Over.IsZero() {
			n++
		}
	}
	return n
}

func flagValue(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *call) processMetrics(e *exposition) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	e.gauge("goroutines", "Goroutines of this process.", runtime.NumGoroutine())
	e.gauge("heap_bytes", "Heap in use by this process.", m.HeapInuse)
	e.family("http_requests_total", "counter", "Answered requests by route and class of status.")
	for i, r := range c.table {
		for class, n := range c.http.Answers(i) {
			if n > 0 {
				fmt.Fprintf(e, "mesita_http_requests_total{method=%q,path=%q,code=\"%dxx\"} %d\n", r.Method, r.Path, class, n)
			}
		}
	}
}

package server

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
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
	nodes, jobs, tasks := map[string]int{}, map[string]int{}, map[string]int{}
	var has, free api.Resources
	for n := range v.Nodes() {
		nodes[n.State.String()]++
		if n.State == api.NodeReady || n.State == api.NodeDraining {
			has, free = has.Add(n.Resources), free.Add(v.Free(n.ID))
		}
	}
	for j := range v.Jobs() {
		jobs[j.State.String()]++
	}
	for t := range v.Tasks() {
		s := t.State.String()
		if t.Pending() {
			s = "pending"
		}
		tasks[s]++
	}
	e.byState("nodes", "Nodes by state.", nodes)
	e.byState("jobs", "Jobs by state.", jobs)
	e.byState("tasks", "Tasks by state of their newest attempt.", tasks)
	e.gauge("cpus_total", "Cores of the nodes that answer.", has.CPUs)
	e.gauge("cpus_free", "Cores that nothing holds.", free.CPUs)
	e.gauge("memory_total_bytes", "Memory of the nodes that answer.", int64(has.Mem))
	e.gauge("memory_free_bytes", "Memory that nothing holds.", int64(free.Mem))
	e.gauge("state_index", "Index of the last log entry applied here.", v.Index())
	e.gauge("is_leader", "1 on the node that leads.", flagValue(c.Cluster.IsLeader()))
	e.gauge("has_leader", "1 while this node knows a leader.", flagValue(c.Cluster.LeaderID() != ""))
	_, full := c.Local.DiskFull()
	e.gauge("disk_full", "1 while this node takes no new work for lack of disk.", flagValue(full))
	e.gauge("streams", "Event, log, exec and assignment streams open here.", c.http.Streams())
	c.processMetrics(&e)
	return exchange.Text(e.String()), nil
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

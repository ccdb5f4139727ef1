package server

import (
	"net"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
)

const (
	discoveryPath = "/v1/sd/prometheus"
	metricsPort   = "metrics" // the name of a task's port that is asked
	maxTargets    = 10_000    // tasks; Prometheus itself reads no more for one answer in time
)

// target is what Prometheus is to ask, and the labels that it finds there.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// targetKinds are asked apart: Prometheus sends the credentials of a scrape job to all that
// it scrapes in it, and what answers on the port of a task may be anybody's.
var targetKinds = words("node", "task")

// discover lists what there is to ask of metrics, as http_sd_configs of Prometheus reads it.
func discover(c *call) (any, error) {
	kind := c.Query.OneOf("kind", targetKinds...)
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	sees := c.sight(v)
	out := []target{}
	tasks := 0
	for n := range v.Nodes() {
		if n.State == api.NodeGone || n.Addr == "" {
			continue
		}
		if kind != "task" {
			out = append(out, target{[]string{n.Addr}, map[string]string{"__scheme__": "https", "__meta_mesita_kind": "node",
				"__meta_mesita_node": n.Name, "__meta_mesita_state": n.State.String()}})
		}
		if kind == "node" {
			continue
		}
		host, _, err := net.SplitHostPort(n.Addr)
		if err != nil {
			continue
		}
		for t := range v.NodeTasks(n.ID) {
			port := t.Ports[metricsPort]
			if port == 0 || t.State != api.TaskRunning || !sees.job(t.Job) || tasks == maxTargets {
				continue
			}
			tasks++
			out = append(out, target{[]string{net.JoinHostPort(host, strconv.Itoa(port))}, map[string]string{"__scheme__": "http", "__meta_mesita_kind": "task",
				"__meta_mesita_node": n.Name, "__meta_mesita_job": t.Job, "__meta_mesita_task": t.ID, "__meta_mesita_partition": t.Partition}})
		}
	}
	return exchange.With{Status: 200, Value: out}, nil
}

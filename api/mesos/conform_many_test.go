package mesos_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// many starts tasks on a big node, in calls of some thousand, and has all of them run. The
// framework acknowledges nothing.
func (c *cluster) many(f *framework, n int) {
	c.t.Helper()
	for first := 0; first < n; first += 5000 {
		o := f.offers()
		var tasks []any
		for i := first; i < min(n, first+5000); i++ {
			tasks = append(tasks, task(fmt.Sprint("t", i), "oak", obj{"resources": []any{scalar("cpus", 0.001), scalar("mem", 1)}}))
		}
		f.accept(ids(o...), 0, tasks)
	}
	f.deaf = true
	var states []api.TaskStatus
	for t := range c.store.View().FrameworkTasks(f.id) {
		states = append(states, api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskRunning, Time: time.Now()})
	}
	if len(states) != n {
		c.t.Fatalf("%d tasks", len(states))
	}
	for len(states) > 0 {
		some := states[:min(len(states), 1000)]
		states = states[len(some):]
		c.do(&fsm.TaskReport{Meta: c.meta(), Statuses: some})
	}
}

// Whoever reads is told all, however much that is: news that it did not acknowledge, how
// all its tasks are, and those that it asks about.
func TestManyTasks(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.do(&fsm.NodeHello{Meta: c.meta(), ID: "oak", Hello: api.NodeHello{Addr: "10.0.0.1:5050", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 1000_000, Mem: 1 << 40}}})
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 600})})
		const n = 20_500 // more than a stream may have waiting for it
		c.many(f, n)
		all := func(what string) {
			t.Helper()
			seen := map[string]bool{}
			for len(seen) < n {
				s := statusIn(f.want("UPDATE"))
				if s.state != "TASK_RUNNING" || seen[s.task] {
					t.Fatalf("%s: %v, after %d tasks, seen: %v", what, s, len(seen), seen[s.task])
				}
				seen[s.task] = true
			}
		}
		all("news")
		f.reconcile()
		all("implicit")
		var ask [][2]string
		for i := range n {
			ask = append(ask, [2]string{fmt.Sprint("t", i), "oak"})
		}
		f.reconcile(ask...)
		all("explicit")
		f = c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 600, "id": value(f.id)}), "suppressed_roles": []any{"*"}})
		all("news, to who takes over")
	})
}

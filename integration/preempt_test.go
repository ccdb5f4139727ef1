package integration

import (
	"net/http"
	"slices"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// TestTroubleWhileTasksGiveWay: while tasks that do not want to end are preempted for
// an owner that asks for its guarantee, the leader dies or a node is cut off.
// The owner gets what is its own all the same, nothing holds more than a node
// has, and once all are back exactly the wanted processes run.
func TestTroubleWhileTasksGiveWay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		trouble func(l *lab.Lab) (over func(), rest *lab.Node)
	}{
		{"the leader is killed", func(l *lab.Lab) (func(), *lab.Node) {
			leader := l.Leader()
			leader.Kill()
			return leader.Start, l.Other(leader)
		}},
		{"a node is cut off", func(l *lab.Lab) (func(), *lab.Node) {
			leader := l.Leader()
			victim := l.Other(leader)
			l.Run("ip", "-n", victim.NS, "link", "set", "eth0", "down")
			return func() { l.Run("ip", "-n", victim.NS, "link", "set", "eth0", "up") }, leader
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, 3)
			l.Form()
			n := l.Leader()
			var room api.MilliCPU
			for _, m := range n.Members() {
				room += m.Resources.CPUs
			}
			tasks := int(room / 1000) // a task needs a cpu
			n.Must(http.MethodPut, "/v1/partitions/owner?create=1", map[string]any{"guarantee": map[string]any{"cpus": tasks / 2}}, nil)
			n.Must(http.MethodPut, "/v1/partitions/guest?create=1", map[string]any{}, nil)
			service := func(partition string, count int) {
				n.Submit(map[string]any{"kind": "service", "name": partition, "partition": partition, "count": count, "cpus": 1, "mem": "16MiB", "stopGrace": "2s",
					"command": []string{"/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.2; done", "mesita-test-" + partition}})
			}
			service("guest", tasks)
			settled(l, n, "guest", tasks)
			service("owner", tasks/2)
			l.Await(lab.Patience, "tasks to be preempted", func() bool {
				return slices.ContainsFunc(n.Tasks("guest"), func(v *api.Task) bool { return v.Desired == api.DesiredMove || v.Attempt > 1 }) // or one did while nobody looked
			})
			over, rest := tt.trouble(l)
			l.Await(lab.Patience, "the owner's guarantee on the nodes that are left", func() bool { return len(rest.Running("owner")) == tasks/2 })
			over()
			settled(l, rest, "owner", tasks/2)
			settled(l, rest, "guest", tasks-tasks/2)
			held := map[string]api.MilliCPU{}
			for _, job := range []string{"owner", "guest"} {
				for _, v := range rest.Running(job) {
					held[v.Node] += v.Resources.CPUs
				}
			}
			for _, m := range rest.Members() {
				if held[m.Name] > m.Resources.CPUs {
					t.Errorf("%s has %v cpus, and its tasks hold %v", m.Name, m.Resources.CPUs, held[m.Name])
				}
			}
		})
	}
}

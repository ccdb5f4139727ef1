package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// No more is ended for a task than it needs, also where its node has room and only a
// limit keeps it from starting: until those have ended, what they give is counted on.
func TestNoMoreGivesWayThanIsNeeded(t *testing.T) {
	for _, limit := range []api.MilliCPU{0, 6000} {
		for _, need := range []api.MilliCPU{500, 1000, 2000} {
			t.Run(fmt.Sprint(limit, need), func(t *testing.T) {
				m := newMachine(t, &api.Partition{Path: "pa", Limit: api.Amounts{CPUs: limit}, Guarantee: api.Amounts{CPUs: 2000}}, &api.Partition{Path: "pa/x", Guarantee: api.Amounts{CPUs: 2000}})
				tasks := 12
				if limit == 0 {
					tasks = 16
				}
				m.submit("pa", api.KindBatch, tasks, 500, 0, 0)
				m.pass()
				hi := m.submit("pa/x", api.KindBatch, 1, need, 0, 0)
				for range 3 {
					m.pass()
					m.now = m.now.Add(time.Second)
				}
				gave := 0
				for x := range m.View().NodeTasks("id0") {
					if x.Desired == api.DesiredStop || x.Desired == api.DesiredMove {
						gave++
					}
				}
				if want := int(need / 500); gave != want {
					t.Errorf("%d are preempted, want %d", gave, want)
				}
				for x := range m.View().NodeTasks("id0") {
					if x.Desired == api.DesiredStop || x.Desired == api.DesiredMove {
						m.report(x, api.TaskKilled)
					}
				}
				m.pass()
				if !m.View().TaskOf(hi, 0).Holds() {
					t.Error("what was taken for it went to others")
				}
			})
		}
	}
}

package mesos

import (
	"context"
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// BenchmarkNews is what one change of a task costs the loop that all frameworks share,
// beside tasks whose framework has acknowledged nothing.
func BenchmarkNews(b *testing.B) {
	for _, n := range []int{1000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, s := manyTasks(b, n)
			changed := map[fsm.Change]struct{}{{Table: fsm.TableFrameworkNews, ID: "f\x00" + h.Store.View().FrameworkTask("f", "t0").ID}: {}}
			for b.Loop() {
				h.pass(b.Context(), changed, false)
				s.Take()
			}
		})
	}
}

// manyTasks is a framework with so many tasks that run, which it was told and did not
// acknowledge.
func manyTasks(b *testing.B, n int) (*hub, *session) {
	room := api.Resources{CPUs: 1000_000, Mem: 1 << 40}
	h, s, do := bareHub(b, room)
	do(offerOfAll("o", room))
	accept := &fsm.FrameworkAccept{Meta: fsm.Meta{At: testTime}, Framework: "f", Session: s.id, Offers: []string{"o"}}
	for i := range n {
		accept.Tasks = append(accept.Tasks, fsm.FrameworkLaunch{Task: &api.FrameworkTask{ID: fmt.Sprint("t", i), Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"x"}}}}, Resources: api.Resources{CPUs: 10, Mem: 1 << 20}})
	}
	do(accept)
	for t := range h.Store.View().FrameworkTasks("f") {
		do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: t.ID, Attempt: 1, NodeID: "oak", State: api.TaskRunning, Time: testTime}}})
	}
	s.begun = true
	h.fresh = append(h.fresh, s)
	h.pass(context.Background(), nil, true)
	for len(s.heads) < n {
		s.Take()
		h.next(s)
		h.pass(context.Background(), nil, false)
	}
	s.Take()
	return h, s
}

package mesos

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/wire"
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
	store := fsm.NewStore(nil)
	do := func(c fsm.Command) {
		b.Helper()
		if _, err := store.Do(context.Background(), c); err != nil {
			b.Fatalf("%T: %v", c, err)
		}
	}
	room := api.Resources{CPUs: 1000_000, Mem: 1 << 40}
	do(&fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: testTime}, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak", Resources: room, Level: int(fsm.Newest)}})
	do(&fsm.FrameworkPut{Meta: fsm.Meta{At: testTime}, Connect: true, Framework: &api.Framework{ID: "f", Name: "f", Session: "s", Partitions: []string{api.DefaultPartition}}})
	do(&fsm.OfferMake{Meta: fsm.Meta{At: testTime}, Offers: []*api.Offer{{ID: "o", Framework: "f", Partition: api.DefaultPartition, NodeID: "oak", Resources: room}}})
	accept := &fsm.FrameworkAccept{Meta: fsm.Meta{At: testTime}, Framework: "f", Session: "s", Offers: []string{"o"}}
	for i := range n {
		accept.Tasks = append(accept.Tasks, fsm.FrameworkLaunch{Task: &api.FrameworkTask{ID: fmt.Sprint("t", i), Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"x"}}}}, Resources: api.Resources{CPUs: 10, Mem: 1 << 20}})
	}
	do(accept)
	for t := range store.View().FrameworkTasks("f") {
		do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: t.ID, Attempt: 1, NodeID: "oak", State: api.TaskRunning, Time: testTime}}})
	}
	h := newHub(Config{Store: store, Cluster: solo{}, Now: func() time.Time { return testTime }, Forgets: func() bool { return true }, Log: slog.New(slog.DiscardHandler), NodeName: "oak"}, &desk{})
	s := newSession("f", wire.JSON, &h.queued)
	if err := h.enter(s); err != nil {
		b.Fatal(err)
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

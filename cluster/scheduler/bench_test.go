package scheduler

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// bigCluster makes a store with n nodes of 32 cores and 128 GiB in four zones.
func bigCluster(tb testing.TB, n int) *fsm.Store {
	tb.Helper()
	s := fsm.NewStore(nil)
	do(tb, s, &fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: t0}, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id00000", Name: "n0"}})
	do(tb, s, &fsm.TokenCreate{Meta: fsm.Meta{At: t0}, Token: &api.Token{ID: "t", Hash: "h"}})
	hello := func(i int) *fsm.NodeHello {
		return &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: fmt.Sprintf("id%05d", i), Hello: api.NodeHello{Addr: "x:1",
			Attrs:     map[string]string{"zone": fmt.Sprint("z", i%4)},
			Resources: api.Resources{CPUs: 32_000, Mem: 128 << 30, Ports: api.Ranges{{First: 20000, Last: 29999}}}}}
	}
	do(tb, s, hello(0))
	// Joining one by one checks the names of all others: restore a snapshot's
	// worth of nodes instead.
	var cmds []fsm.Command
	for i := 1; i < n; i++ {
		cmds = append(cmds, &fsm.NodeJoin{Meta: fsm.Meta{At: t0}, Token: "t", Hash: "h", NodeID: fmt.Sprintf("id%05d", i), Name: fmt.Sprint("n", i)}, hello(i))
	}
	do(tb, s, cmds...)
	return s
}

// shapes are the requests of the jobs: all alike, or of so many kinds.
func submitMany(tb testing.TB, s *fsm.Store, jobs, tasks, shapes int, spread string) {
	tb.Helper()
	var cmds []fsm.Command
	for i := range jobs {
		spec := &api.JobSpec{Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", tasks-1), TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Spread: spread, Request: api.Request{CPUs: api.MilliCPU(100 + 10*(i%shapes)), Mem: api.Bytes(64+i%shapes) << 20}}}}
		spec.Normalize()
		cmds = append(cmds, &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
	}
	do(tb, s, cmds...)
}

func benchDecide(b *testing.B, nodes, jobs, tasks, shapes int, spread string, placement api.Placement) {
	s := bigCluster(b, nodes)
	part := &api.Partition{Path: api.DefaultPartition, Placement: placement}
	do(b, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: part})
	submitMany(b, s, jobs, tasks, shapes, spread)
	benchView(b, s.View(), jobs*tasks)
}

// benchView places the tasks that wait in a state, again and again.
func benchView(b *testing.B, v *fsm.View, want int) {
	placed, cpu := 0, time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		e := NewEngine(begin)
		e.Update(v, nil, true)
		before := cpuTime()
		b.StartTimer()
		cmds, _ := e.Decide(t0)
		cpu += cpuTime() - before
		placed = 0
		for _, c := range cmds {
			placed += len(c.(*fsm.TaskPlace).Placements)
		}
	}
	if placed != want {
		b.Fatalf("placed %d of %d", placed, want)
	}
	b.ReportMetric(float64(b.N)*float64(placed)/b.Elapsed().Seconds(), "placements/s")
	b.ReportMetric(float64(b.N)*float64(placed)/cpu.Seconds(), "placements/CPU-s") // what other work on the machine changes least
}

// cpuTime is what this process used so far, collecting garbage included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkPlacements(b *testing.B) {
	for _, placement := range []api.Placement{api.PlaceSpread, api.PlaceClosest, api.PlaceWeighted} {
		for _, shapes := range []int{1, 20, 1000} {
			b.Run(fmt.Sprintf("%s/shapes=%d", placement, shapes), func(b *testing.B) { benchDecide(b, 5000, 1000, 10, shapes, "", placement) })
		}
	}
	b.Run("zones/shapes=1", func(b *testing.B) { benchDecide(b, 5000, 1000, 10, 1, "zone", api.PlaceSpread) })
	b.Run("zones/shapes=1000", func(b *testing.B) { benchDecide(b, 5000, 1000, 10, 1000, "zone", api.PlaceSpread) })
}

// BenchmarkCurve shows how the cost of one placement grows with the nodes and
// with the tasks that are there already.
func BenchmarkCurve(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) { benchDecide(b, nodes, 100, 10, 1, "", api.PlaceSpread) })
	}
}

// BenchmarkPartitions is 1,000 jobs of 10 tasks in so many partitions, of which
// every second one has a guarantee.
func BenchmarkPartitions(b *testing.B) {
	for _, parts := range []int{1, 30, 990} {
		b.Run(fmt.Sprintf("partitions=%d", parts), func(b *testing.B) {
			s := bigCluster(b, 5000)
			for i := range parts {
				p := &api.Partition{Path: fmt.Sprintf("d%d", i%30)}
				if i >= 30 {
					p.Path += fmt.Sprintf("/t%d", i/30)
				} else {
					p.Guarantee = api.Amounts{CPUs: 1_000_000}
				}
				if i%2 == 0 {
					p.Guarantee.CPUs = max(p.Guarantee.CPUs, 10_000)
				}
				p.Normalize()
				do(b, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: p})
			}
			var cmds []fsm.Command
			for i := range 1000 {
				spec := &api.JobSpec{Kind: api.KindBatch, Array: "0-9", Partition: fmt.Sprintf("d%d", i%min(parts, 30)), TaskSpec: api.TaskSpec{Command: []string{"x"},
					Placing: api.Placing{Request: api.Request{CPUs: 100, Mem: 64 << 20}}}}
				if t := i % parts / 30; t > 0 {
					spec.Partition += fmt.Sprintf("/t%d", t)
				}
				spec.Normalize()
				cmds = append(cmds, &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
			}
			do(b, s, cmds...)
			benchView(b, s.View(), 10_000)
		})
	}
}

// full makes a cluster whose tasks fill every node.
func full(tb testing.TB, nodes, perNode int) (*fsm.Store, *Engine, *fsm.Watcher) {
	tb.Helper()
	s := bigCluster(tb, nodes)
	total := nodes * perNode
	for total > 0 {
		n := min(total, api.SmallArray)
		total -= n
		spec := &api.JobSpec{Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", n-1), TaskSpec: api.TaskSpec{Command: []string{"x"}, Time: api.Duration(time.Hour),
			Placing: api.Placing{Request: api.Request{CPUs: api.MilliCPU(32_000 / perNode), Mem: 64 << 20}}}}
		spec.Normalize()
		do(tb, s, &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
	}
	e, w := NewEngine(begin), s.Watch(Tables...)
	for {
		c, all := w.Take()
		e.Update(s.View(), c, all)
		cmds, _ := e.Decide(t0)
		if len(cmds) == 0 {
			return s, e, w
		}
		do(tb, s, cmds...)
	}
}

// BenchmarkIdlePass is a pass on a full cluster in which nothing waits and one
// node changed.
func BenchmarkIdlePass(b *testing.B) {
	for _, perNode := range []int{2, 20, 200} {
		b.Run(fmt.Sprintf("tasks=%d", 5000*perNode), func(b *testing.B) {
			s, e, _ := full(b, 5000, perNode)
			v := s.View()
			change := map[fsm.Change]struct{}{{Table: fsm.TableRooms, ID: "id00007"}: {}}
			b.ResetTimer()
			for b.Loop() {
				e.Update(v, change, false)
				if cmds, _ := e.Decide(t0); len(cmds) > 0 {
					b.Fatal("nothing waits")
				}
			}
		})
	}
}

// BenchmarkNextTask is the end of one task on a full cluster with a backlog:
// from the change to the decision that places the next one.
func BenchmarkNextTask(b *testing.B) {
	s, e, w := full(b, 5000, 20)
	submitMany(b, s, 1000, 10, 1, "")
	spec := &api.JobSpec{Kind: api.KindBatch, Array: "0-9999", TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: 1600, Mem: 64 << 20}}}}
	spec.Normalize()
	do(b, s, &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
	c, all := w.Take()
	e.Update(s.View(), c, all)
	if cmds, _ := e.Decide(t0); len(cmds) > 0 {
		b.Fatal("the cluster is not full")
	}
	var running []*api.Task
	for t := range s.View().Tasks() {
		if t.Holds() {
			running = append(running, t)
		}
	}
	i := 0
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		t := running[i*7%len(running)]
		i++
		do(b, s, &fsm.TaskReport{Meta: fsm.Meta{At: t0}, Statuses: []api.TaskStatus{{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskFinished, Time: t0}}})
		b.StartTimer()
		c, all := w.Take()
		e.Update(s.View(), c, all)
		cmds, _ := e.Decide(t0)
		b.StopTimer()
		if len(cmds) == 0 {
			b.Fatal("nothing was placed")
		}
		if _, err := s.Propose(context.Background(), cmds...); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

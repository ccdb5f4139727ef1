package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

var (
	policies   = api.Names(api.Policies())
	placements = api.Names(api.Placements())
	preempts   = api.Names(api.Preempts())
)

// Whatever is submitted, ended, changed or lost: nothing is given twice, limits
// hold, gangs are whole, decisions end, and an engine that followed all changes
// decides as one that starts from nothing.
func TestSharingHolds(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		s := newShared(rt, randomNodes(rt))
		for _, path := range []string{"a", "a/x", "b"} {
			s.partition(randomPartition(rt, path))
		}
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			s.randomStep(rt)
			s.settle()
			s.limitsHold()
			s.freshAgrees(rt)
		}
	})
}

func randomNodes(rt *rapid.T) []api.Resources {
	out := make([]api.Resources, rapid.IntRange(1, 5).Draw(rt, "nodes"))
	for i := range out {
		out[i] = api.Resources{CPUs: api.MilliCPU(rapid.IntRange(1, 8).Draw(rt, "cpus")) * 1000, Mem: api.Bytes(rapid.IntRange(1, 8).Draw(rt, "mem")) << 30,
			Ports: api.Ranges{{First: 20000, Last: 20007}}}
	}
	return out
}

func randomPartition(rt *rapid.T, path string) *api.Partition {
	p := &api.Partition{Path: path, Weight: api.Weight(rapid.IntRange(1, 4).Draw(rt, "weight")) * 1000, Priority: rapid.IntRange(0, 2).Draw(rt, "priority"),
		Policy: rapid.SampledFrom(policies).Draw(rt, "policy"), Placement: rapid.SampledFrom(placements).Draw(rt, "placement"),
		Preempt: rapid.SampledFrom(preempts).Draw(rt, "preempt"), MinRuntime: api.Duration(10 * time.Second)}
	if path != "a/x" && rapid.Bool().Draw(rt, "limited") {
		p.Limit = api.Amounts{CPUs: api.MilliCPU(rapid.IntRange(1, 10).Draw(rt, "limit")) * 1000}
	}
	return p
}

func (s *shared) randomStep(rt *rapid.T) {
	s.now = s.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "seconds")) * time.Second)
	switch rapid.IntRange(0, 9).Draw(rt, "step") {
	case 0, 1, 2, 3:
		s.randomJob(rt)
	case 4, 5, 6:
		for t := range s.View().Tasks() {
			if t.Holds() && t.State == api.TaskRunning && t.Desired == api.DesiredRun && rapid.IntRange(0, 2).Draw(rt, "end") == 0 {
				s.report(t, rapid.SampledFrom([]api.TaskState{api.TaskFinished, api.TaskFailed}).Draw(rt, "how"), false)
			}
		}
	case 7:
		n := s.View().Node(fmt.Sprint("id", rapid.IntRange(0, 4).Draw(rt, "node")))
		switch {
		case n == nil:
		case n.State == api.NodeReady:
			s.do(&fsm.NodeState{Meta: s.meta(), ID: n.ID, State: api.NodeUnreachable, Since: n.Since})
		default:
			s.hello(n.ID, n.Resources)
		}
	case 8:
		path := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "path")
		p := randomPartition(rt, path)
		g := api.MilliCPU(rapid.IntRange(0, 4).Draw(rt, "guarantee")) * 1000
		if p.Limit.CPUs == 0 || g <= p.Limit.CPUs {
			p.Guarantee.CPUs = g
		}
		_, _ = s.Do(context.Background(), &fsm.PartitionPut{Meta: s.meta(), Partition: p}) // one that does not fit is refused
	case 9:
		for j := range s.View().LiveJobs() {
			if rapid.IntRange(0, 3).Draw(rt, "stop") == 0 {
				s.do(&fsm.JobStop{Meta: s.meta(), ID: j.ID})
			}
		}
	}
}

func (s *shared) randomJob(rt *rapid.T) {
	spec := batchOf(rapid.SampledFrom([]string{"default", "a", "a/x", "b"}).Draw(rt, "partition"), rapid.IntRange(1, 6).Draw(rt, "tasks"),
		api.MilliCPU(rapid.IntRange(1, 30).Draw(rt, "need"))*100, api.Bytes(rapid.IntRange(1, 30).Draw(rt, "memory"))*100<<20)
	spec.Priority = rapid.IntRange(0, 3).Draw(rt, "jobPriority")
	spec.Time = api.Duration(rapid.IntRange(0, 60).Draw(rt, "time")) * api.Duration(time.Second)
	switch rapid.IntRange(0, 5).Draw(rt, "kind") {
	case 0:
		spec.Array, spec.Gang = "", rapid.IntRange(2, 5).Draw(rt, "gang")
	case 1:
		spec.Kind, spec.Array, spec.Time, spec.Name, spec.Count = api.KindService, "", 0, fmt.Sprintf("svc-%d", s.View().Index()), new(rapid.IntRange(1, 3).Draw(rt, "count"))
		spec.Ports = []api.PortRequest{{Name: "http"}}
	case 2:
		spec.Spread = "zone"
	}
	s.submit(rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "user"), spec)
}

// freshAgrees compares the engine with one that has seen nothing before. What
// room is held for whom is all that an engine may remember.
func (s *shared) freshAgrees(rt *rapid.T) {
	rt.Helper()
	fresh := scheduler.NewEngine(roundOf)
	fresh.Update(s.View(), nil, true)
	cmds, _ := fresh.Decide(s.now)
	for _, c := range cmds {
		if p, ok := c.(*fsm.TaskPlace); ok && len(p.Placements) > 0 && s.engine.Holds() == 0 {
			rt.Fatalf("an engine from nothing would place %+v", p.Placements[0])
		}
	}
}

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// Whatever a leader decided, and however long ago: no placement takes effect that
// breaks a rule of where its task may go as the state has it by then.
func TestNoPlacementBreaksARule(t *testing.T) {
	placed, left := 0, 0
	draw.Check(t, func(rt *rapid.T) {
		nodes := make([]api.Resources, rapid.IntRange(2, 5).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = api.Resources{CPUs: 4000, Mem: 4 << 30, Ports: api.Ranges{{First: 20000, Last: 20007}}}
		}
		s := &ruled{shared: newShared(rt, nodes), rt: rt}
		for i := range nodes {
			s.attrs(i)
		}
		s.partition(&api.Partition{Path: "a"})
		s.partition(&api.Partition{Path: "a/x"})
		for range rapid.IntRange(3, 12).Draw(rt, "steps") {
			s.now = s.now.Add(time.Second)
			for range rapid.IntRange(0, 2).Draw(rt, "jobs") {
				s.job()
			}
			s.propose(controller.Decide(s.View(), s.now, nil, true)...)
			stale := s.decide()
			for range rapid.IntRange(0, 2).Draw(rt, "changes") {
				s.change(len(nodes))
			}
			if rapid.Bool().Draw(rt, "another leader") {
				s.propose(s.decide()...)
			}
			s.propose(stale...)
			s.obey()
		}
		placed, left = placed+s.placed, left+s.left
	})
	if placed == 0 || left == 0 {
		t.Errorf("%d placements took effect and %d were left out: the test shows nothing", placed, left)
	}
}

// ruled is a cluster in which each placement is checked as it takes effect.
type ruled struct {
	*shared
	rt           *rapid.T
	placed, left int // placements that took effect, and those that did not
}

func (s *ruled) pick(name string, of ...string) string { return rapid.SampledFrom(of).Draw(s.rt, name) }

func (s *ruled) attrs(i int) {
	id := fmt.Sprint("id", i)
	r := api.Resources{CPUs: 4000, Mem: 4 << 30, Ports: api.Ranges{{First: 20000, Last: 20007}}}
	s.do(&fsm.NodeHello{Meta: s.meta(), ID: id, Hello: api.NodeHello{Addr: "x:1", Attrs: map[string]string{"zone": s.pick("zone", "x", "y"), "disk": s.pick("disk", "ssd", "hdd")}, Resources: r}})
}

// conditions is none, or one.
func (s *ruled) conditions() []api.Constraint {
	switch s.pick("condition", "none", "zone", "disk", "name") {
	case "zone":
		return []api.Constraint{{Attr: "zone", Op: "=", Value: s.pick("zone", "x", "y")}}
	case "disk":
		return []api.Constraint{{Attr: "disk", Op: "!=", Value: s.pick("disk", "ssd", "hdd")}}
	case "name":
		return []api.Constraint{{Attr: "node.name", Op: s.pick("op", "=", "!="), Value: s.pick("node", "n0", "n1", "n2")}}
	}
	return nil
}

func (s *ruled) spec(name string) *api.JobSpec {
	spec := batchOf(s.pick("partition", "default", "a", "a/x"), 1, api.MilliCPU(rapid.IntRange(1, 4).Draw(s.rt, "cpus"))*500, api.Bytes(rapid.IntRange(1, 4).Draw(s.rt, "mem"))<<28)
	spec.Name, spec.Command, spec.Array = name, []string{"x"}, ""
	switch s.pick("kind", "service", "service", "batch", "gang") {
	case "service":
		spec.Kind, spec.Count = api.KindService, new(rapid.IntRange(1, 3).Draw(s.rt, "count"))
		for range rapid.IntRange(0, 1).Draw(s.rt, "ports") {
			spec.Ports = []api.PortRequest{{Name: "http", Port: rapid.SampledFrom([]int{0, 20001}).Draw(s.rt, "port")}}
		}
	case "batch":
		spec.Array = "0-2"
	case "gang":
		spec.Gang = 2
	}
	spec.Constraints = s.conditions()
	for range rapid.IntRange(0, 2).Draw(s.rt, "affinities") {
		spec.Affinity = append(spec.Affinity, api.Affinity{Job: s.pick("job", "j0", "j1", "j2", "j3"), Attr: s.pick("attr", "", "zone"),
			Away: rapid.IntRange(0, 2).Draw(s.rt, "away") > 0, Soft: rapid.IntRange(0, 3).Draw(s.rt, "soft") == 0})
	}
	spec.Normalize()
	return spec
}

// job submits one, or gives one of that name another spec, if that is allowed.
func (s *ruled) job() {
	spec := s.spec(s.pick("name", "j0", "j1", "j2", "j3"))
	if spec.Validate() != nil {
		return
	}
	if j := s.View().Job(spec.Name); j != nil {
		spec.Kind, spec.Count, spec.Array, spec.Gang, spec.Partition = j.Spec.Kind, j.Spec.Count, j.Spec.Array, j.Spec.Gang, j.Spec.Partition
		_, _ = s.Do(context.Background(), &fsm.JobUpdate{Meta: s.meta(), ID: j.ID, Spec: spec}) // what has ended takes none
		return
	}
	_, _ = s.Do(context.Background(), &fsm.JobCreate{Meta: s.meta(), Spec: spec})
}

// change has the cluster be another than a leader decided on.
func (s *ruled) change(nodes int) {
	switch s.pick("change", "attrs", "partition", "job", "end") {
	case "attrs":
		s.attrs(rapid.IntRange(0, nodes-1).Draw(s.rt, "node"))
	case "partition":
		s.partition(&api.Partition{Path: s.pick("path", "a", "a/x"), Nodes: s.conditions()})
	case "job":
		s.job()
		s.propose(controller.Decide(s.View(), s.now, nil, true)...)
	case "end":
		for t := range s.View().Tasks() {
			if t.Holds() && t.State == api.TaskRunning && rapid.Bool().Draw(s.rt, "ends") {
				s.report(t, api.TaskFailed, false)
			}
		}
	}
}

// decide is what a leader that knows nothing but the state decides.
func (s *ruled) decide() []fsm.Command {
	e := scheduler.NewEngine(roundOf)
	e.Update(s.View(), nil, true)
	cmds, _ := e.Decide(s.now)
	return cmds
}

// propose applies commands, and checks what they place.
func (s *ruled) propose(cmds ...fsm.Command) {
	for _, c := range cmds {
		before := s.View()
		if _, err := s.Propose(context.Background(), c); err != nil {
			s.rt.Fatalf("%v", err)
		}
		if p, ok := c.(*fsm.TaskPlace); ok {
			s.checkPlaced(before, p)
		}
	}
}

func (s *ruled) checkPlaced(before *fsm.View, c *fsm.TaskPlace) {
	held := map[string]*api.Task{}
	for t := range before.Tasks() {
		if t.Holds() {
			held[t.ID] = t
		}
	}
	for _, p := range c.Placements {
		t := s.View().TaskOf(p.Job, p.Index)
		if t == nil || held[t.ID] != nil || !t.Holds() || t.Attempt != p.Attempt || t.NodeID != p.NodeID {
			s.left++
			continue
		}
		s.placed++
		if broken := s.broken(t, held); broken != "" {
			s.rt.Fatalf("%s was placed on %s, which %s", t.ID, t.Node, broken)
		}
		held[t.ID] = t
	}
}

// broken is the rule that a task breaks on its node, beside those held before: as
// one would look it up by hand.
func (s *ruled) broken(t *api.Task, held map[string]*api.Task) string {
	spec, node := s.View().Job(t.Job).SpecOf(t.Version), s.View().Node(t.NodeID)
	conditions := append([]api.Constraint(nil), spec.Constraints...)
	for path := t.Partition; path != ""; path = api.ParentPath(path) {
		conditions = append(conditions, s.View().Partition(path).Nodes...)
	}
	value := func(n *api.Node, attr string) string {
		switch attr {
		case "":
			return n.ID
		case "node.name":
			return n.Name
		}
		return n.Attrs[attr]
	}
	for _, c := range conditions {
		if (value(node, c.Attr) == c.Value) != (c.Op == "=") {
			return "does not meet " + c.String()
		}
	}
	for _, a := range spec.Affinity {
		near, any := false, false
		for _, o := range held {
			if o.Job == a.Job {
				any = true
				near = near || value(s.View().Node(o.NodeID), a.Attr) == value(node, a.Attr)
			}
		}
		if !a.Soft && near == a.Away && (a.Away || any || a.Job != spec.Name) {
			return "is against " + a.String()
		}
	}
	if t.Resources.CPUs != spec.CPUs || t.Resources.Mem != spec.Mem || len(t.Ports) != len(spec.Ports) {
		return fmt.Sprintf("gives %s and %v, and it asks for %s", t.Resources, t.Ports, spec.Need())
	}
	for _, p := range spec.Ports {
		if p.Port != 0 && t.Ports[p.Name] != p.Port {
			return fmt.Sprintf("gives it port %d for %d", t.Ports[p.Name], p.Port)
		}
	}
	return ""
}

package foresee

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// fill submits jobs of all kinds, lets them start, and has nodes drained and resumed
// meanwhile, so that what runs is spread unevenly.
func (w *world) fill(rt *rapid.T, nodes int) {
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "pack", Placement: api.PlacePack}})
	for i := range rapid.IntRange(1, 6).Draw(rt, "jobs") {
		kind := rapid.SampledFrom([]api.Kind{api.KindService, api.KindService, api.KindBatch}).Draw(rt, "kind")
		part := rapid.SampledFrom([]string{"default", "default", "pack"}).Draw(rt, "partition")
		s := spec(fmt.Sprint("j", i), part, kind, rapid.IntRange(1, 6).Draw(rt, "tasks"), 250*api.MilliCPU(rapid.IntRange(1, 6).Draw(rt, "cpus")))
		s.AtMostOnce = kind == api.KindBatch && rapid.Bool().Draw(rt, "once")
		drained := fmt.Sprint("id", rapid.IntRange(0, nodes-1).Draw(rt, "drained"))
		away := rapid.Bool().Draw(rt, "while one is drained")
		if away {
			w.do(&fsm.NodeDrain{Meta: meta(), ID: drained, Drain: true})
		}
		w.do(&fsm.JobCreate{Meta: meta(), Spec: s})
		w.settle()
		if away {
			w.do(&fsm.NodeDrain{Meta: meta(), ID: drained})
		}
		now = now.Add(time.Duration(rapid.IntRange(0, 240).Draw(rt, "seconds")) * time.Second)
		w.settle()
	}
}

// What a drain is said to come to is what it comes to: where each task goes, which wait
// or stay, and that there is no node for some.
func TestADrainIsWhatWasPlanned(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "nodes")
		w := newWorld(rt, n)
		defer func(at time.Time) { now = at }(now)
		w.fill(rt, n)
		before, deadline := w.View(), rapid.Bool().Draw(rt, "deadline")
		plan, err := w.jobs().Drain(context.Background(), before, "id0", deadline)
		if err != nil {
			rt.Fatalf("%v", err)
		}
		if w.View() != before {
			rt.Fatalf("a plan changed something")
		}
		w.do(&fsm.NodeDrain{Meta: meta(), ID: "id0", Drain: true})
		w.settle()
		if deadline {
			w.do(&fsm.NodeDrain{Meta: meta(), ID: "id0", Drain: true, By: now})
			w.settle()
		}
		planned, nowhere := map[string]api.Move{}, 0
		for _, m := range plan.Moves {
			planned[m.Task] = m
		}
		for was := range before.NodeTasks("id0") {
			m, ok := planned[was.ID]
			is := w.View().TaskOf(was.Job, was.Index)
			stays := is.Attempt == was.Attempt
			if !ok || m.From != "n0" || m.Stays != stays || !stays && m.To != is.Node || m.To == "" && m.Why == "" {
				rt.Fatalf("planned %+v (%v); it is on %q, and stays: %v", m, ok, is.Node, stays)
			}
			if is.Pending() || stays && w.View().Job(was.Job).Spec.Kind == api.KindService {
				nowhere++
			}
		}
		if plan.Nowhere != nowhere {
			rt.Fatalf("planned that there is no node for %d, of %d there was none: %+v", plan.Nowhere, nowhere, plan)
		}
	})
}

// Moves that even nodes out do what was said, one after the other: each goes where the
// plan says and takes nobody's place, the fullest node never gets fuller and the new one
// no fuller than the old one, nothing that may not move does, no task moves twice, there
// are no more than were asked for, and plans end.
func TestRebalancingEvensOutAndEnds(t *testing.T) {
	moves := 0
	draw.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(rt, "nodes")
		w := newWorld(rt, n)
		defer func(at time.Time) { now = at }(now)
		w.fill(rt, n)
		for plans := 0; ; plans++ {
			if plans > 100 {
				rt.Fatalf("it never ends")
			}
			most := rapid.IntRange(1, 4).Draw(rt, "most")
			plan, err := w.jobs().Rebalance(context.Background(), w.View(), "", most)
			if err != nil {
				rt.Fatalf("%v", err)
			}
			if len(plan.Moves) > most {
				rt.Fatalf("%d moves, at most %d were asked for", len(plan.Moves), most)
			}
			moved := map[string]bool{}
			for _, m := range plan.Moves {
				if moved[m.Task] {
					rt.Fatalf("%s moves twice: %+v", m.Task, plan.Moves)
				}
				moved[m.Task] = true
				w.move(rt, m)
				moves++
			}
			if now := spread(loadsOf(w.View())); len(plan.Moves) > 0 && (now-plan.Then > slight || plan.Then-now > slight) {
				rt.Fatalf("planned a spread of %v, it is %v", plan.Then, now)
			}
			if len(plan.Moves) == 0 {
				return
			}
		}
	})
	if moves == 0 {
		t.Error("nothing was ever moved: the test draws nothing that is uneven")
	}
}

// move does what a plan says, and checks what becomes of it.
func (w *world) move(rt *rapid.T, m api.Move) {
	before := w.View()
	was, j := before.Task(m.Task), before.Job(m.Job)
	loads := loadsOf(before)
	if was.Attempt != m.Attempt || was.Node != m.From || j.Spec.AtMostOnce || was.Partition == "pack" || was.Frozen || j.Spec.Kind == api.KindBatch && now.Sub(was.Started) > api.MostLost {
		rt.Fatalf("%+v is not to move: %+v", m, was)
	}
	if alone := j.Spec.Kind == api.KindService && j.Spec.Tasks() == 1; alone != m.Alone {
		rt.Fatalf("%+v: no other task of its job runs: %v", m, alone)
	}
	w.gave = nil
	w.do(&fsm.TaskStop{Meta: meta(), IDs: []string{m.Task}, Move: true, Reason: api.ReasonStopped})
	w.settle()
	is := w.View().Task(m.Task)
	if is.Node != m.To || is.Attempt != m.Attempt+1 || len(w.gave) > 0 {
		rt.Fatalf("%+v: it is on %q in attempt %d, and %v were preempted", m, is.Node, is.Attempt, w.gave)
	}
	for t := range before.Tasks() {
		if o := w.View().Task(t.ID); t.ID != m.Task && (o.Attempt != t.Attempt || o.Node != t.Node) {
			rt.Fatalf("%+v: %s went from %q to %q", m, t.ID, t.Node, o.Node)
		}
	}
	then := loadsOf(w.View())
	if from, to := loadOf(then, m.From), loadOf(then, m.To); to > from+slight || from > loadOf(loads, m.From)-slight || then[0].load > loads[0].load+slight {
		rt.Fatalf("%+v: %v became %v", m, loads, then)
	}
}

// A service that was drained off a node comes back to it, task by task, until nodes are
// within a task of even; what may not move is named with the reason, and a partition
// bounds what is looked at.
func TestRebalancingAfterAResume(t *testing.T) {
	w := newWorld(t, 2)
	w.do(&fsm.NodeDrain{Meta: meta(), ID: "id1", Drain: true})
	once := spec("once", "default", api.KindBatch, 1, 1000)
	once.AtMostOnce = true
	for _, s := range []*api.JobSpec{spec("web", "default", api.KindService, 5, 500), once} {
		w.do(&fsm.JobCreate{Meta: meta(), Spec: s})
	}
	w.settle()
	w.do(&fsm.NodeDrain{Meta: meta(), ID: "id1"})
	plan, err := w.jobs().Rebalance(context.Background(), w.View(), "", 20)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Moves) != 3 || plan.More || plan.Spread != 3.5/4 || plan.Then > 0.5/4 {
		t.Errorf("%+v", plan)
	}
	for _, m := range plan.Moves {
		if m.Job != "web" || m.From != "n0" || m.To != "n1" || m.Why == "" || m.Alone {
			t.Errorf("%+v", m)
		}
	}
	if plan, err = w.jobs().Rebalance(context.Background(), w.View(), "", 1); err != nil || len(plan.Moves) != 1 || !plan.More {
		t.Errorf("%+v, %v", plan, err)
	}
	if !slices.ContainsFunc(plan.Left, func(m api.Move) bool { return m.Task == "once.0" && m.Stays && m.Why == "it runs at most once" }) {
		t.Errorf("left: %+v", plan.Left)
	}
	w.do(&fsm.PartitionPut{Meta: meta(), Partition: &api.Partition{Path: "a"}})
	if plan, err = w.jobs().Rebalance(context.Background(), w.View(), "a", 20); err != nil || len(plan.Moves) != 0 || len(plan.Left) != 0 {
		t.Errorf("of another partition: %+v, %v", plan, err)
	}
}

// A task whose room others wait for stays: they would start in it, and the node be as full
// as before.
func TestRebalancingLeavesWhatOthersWaitFor(t *testing.T) {
	w := newWorld(t, 2)
	w.do(&fsm.NodeDrain{Meta: meta(), ID: "id1", Drain: true})
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("web", "default", api.KindService, 2, 2000)})
	w.settle()
	w.do(&fsm.NodeDrain{Meta: meta(), ID: "id1"})
	waits := spec("waits", "default", api.KindBatch, 1, 2000)
	waits.Constraints = []api.Constraint{{Attr: api.AttrNodeName, Op: "=", Value: "n0"}}
	w.do(&fsm.JobCreate{Meta: meta(), Spec: waits})
	w.settle()
	plan, err := w.jobs().Rebalance(context.Background(), w.View(), "", 20)
	if err != nil || len(plan.Moves) > 0 || len(plan.Left) != 1 || plan.Left[0].Job != "web" || plan.Left[0].Why != "others wait for the room that it would leave" {
		t.Errorf("%+v, %v", plan, err)
	}
}

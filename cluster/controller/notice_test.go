package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// One task of a service that was told to leave in a while runs until then: neither a
// new version nor a drain waits for that, and both move one task at a time.
func TestANoticeStopsNoOtherWork(t *testing.T) {
	leaving := func(t *testing.T) *world {
		w := newWorld(t)
		w.do(&fsm.PartitionPut{Meta: w.meta(), Partition: &api.Partition{Path: "pa", Notice: api.Duration(10 * time.Minute)}})
		for i := range 2 {
			w.do(&fsm.NodeHello{Meta: w.meta(), ID: fmt.Sprint("id", i), Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 640000, Mem: 640 << 30}}})
		}
		w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(3), Partition: "pa"})
		w.settle()
		w.run("id0")
		w.do(&fsm.TaskPreempt{Meta: w.meta(), Victims: []fsm.Victim{{Job: "web", Index: 2, Attempt: 1}}})
		if !w.View().Task("web.2").Leaving() {
			t.Fatal("it is not told to leave")
		}
		return w
	}
	moves := func(t *testing.T, w *world, want ...string) {
		t.Helper()
		for _, id := range want {
			w.settle()
			var got []string
			for x := range w.View().JobTasks("web") {
				if x.Desired == api.DesiredMove {
					got = append(got, x.ID)
				}
			}
			if !slices.Equal(got, []string{id}) {
				t.Fatalf("%v move, not %s alone", got, id)
			}
			w.report(id, api.TaskKilled, 0)
			w.settle()
			w.run("id1")
		}
	}
	t.Run("deploy", func(t *testing.T) {
		w := leaving(t)
		spec := *w.View().Job("web").Spec
		spec.Command = []string{"y"}
		w.do(&fsm.JobUpdate{Meta: w.meta(), ID: "web", Spec: &spec})
		moves(t, w, "web.0", "web.1")
		if w.settle(); !w.View().Task("web.2").Leaving() {
			t.Error("it does not run on for as long as it was told")
		}
		w.now = w.now.Add(10 * time.Minute)
		w.do(&fsm.TaskLeave{Meta: w.meta(), Victims: []fsm.Victim{{Job: "web", Index: 2, Attempt: 1}}})
		moves(t, w, "web.2")
		if got, j := w.View().Task("web.2"), w.View().Job("web"); got.Version != j.Version {
			t.Errorf("it runs version %d", got.Version)
		}
	})
	t.Run("drain", func(t *testing.T) {
		w := leaving(t)
		w.do(&fsm.NodeDrain{Meta: w.meta(), ID: "id0", Drain: true})
		moves(t, w, "web.0", "web.1", "web.2")
		for x := range w.View().NodeTasks("id0") {
			t.Errorf("%s is still there", x.ID)
		}
	})
}

// Where a task leaves before another can have been replaced, a new version and a drain
// wait for it: of two tasks one runs at any time.
func TestNoticeThatIsNearlyOverIsWaitedFor(t *testing.T) {
	deploy := func(w *world) {
		spec := *w.View().Job("web").Spec
		spec.Command = []string{"y"}
		w.do(&fsm.JobUpdate{Meta: w.meta(), ID: "web", Spec: &spec})
	}
	drain := func(nodes ...string) func(w *world) {
		return func(w *world) {
			for _, n := range nodes {
				w.do(&fsm.NodeDrain{Meta: w.meta(), ID: n, Drain: true})
			}
		}
	}
	for _, c := range []struct {
		name string
		on   [2]string
		work func(w *world)
	}{
		{"deploy", [2]string{"id0", "id0"}, deploy},
		{"drain", [2]string{"id0", "id0"}, drain("id0")},
		{"drain of another node", [2]string{"id0", "id1"}, drain("id0")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.do(&fsm.PartitionPut{Meta: w.meta(), Partition: &api.Partition{Path: "pa", Notice: api.Duration(time.Minute)}})
			for i := range 2 {
				w.do(&fsm.NodeHello{Meta: w.meta(), ID: fmt.Sprint("id", i), Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 640000, Mem: 640 << 30}}})
			}
			w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(2), Partition: "pa"})
			w.settle()
			w.place(c.on)
			w.do(&fsm.TaskPreempt{Meta: w.meta(), Victims: []fsm.Victim{{Job: "web", Index: 1, Attempt: 1}}})
			w.now = w.now.Add(time.Minute - time.Second)
			c.work(w)
			if w.settle(); !w.View().Task("web.1").Leaving() || w.View().Task("web.0").Desired != api.DesiredRun {
				t.Fatal("one moves while the other is about to leave")
			}
			w.now = w.now.Add(time.Second)
			w.do(&fsm.TaskLeave{Meta: w.meta(), Victims: []fsm.Victim{{Job: "web", Index: 1, Attempt: 1}}})
			if w.settle(); w.View().Task("web.0").Desired != api.DesiredRun {
				t.Fatal("one moves while the other ends")
			}
			w.report("web.1", api.TaskKilled, 0)
			if w.settle(); w.View().Task("web.0").Desired != api.DesiredRun {
				t.Fatal("one moves while the other waits")
			}
			w.run("id1")
			if w.settle(); w.View().Task("web.0").Desired != api.DesiredMove {
				t.Error("it does not move once the other runs")
			}
		})
	}
}

// place has two tasks of a service run on those nodes.
func (w *world) place(nodes [2]string) {
	w.Helper()
	for i, n := range nodes {
		w.do(&fsm.TaskPlace{Meta: w.meta(), Placements: []fsm.Placement{{Job: "web", Index: i, Attempt: 1, NodeID: n}}})
		w.report(api.TaskID("web", i), api.TaskRunning, 0)
	}
}

// Two nodes that drain at the same time, or a drain and a new version, move one task of
// a service between them.
func TestDrainsMoveOneTaskBetweenThem(t *testing.T) {
	for _, deploys := range []bool{false, true} {
		w := newWorld(t)
		w.submit(&api.JobSpec{Name: "web", Kind: api.KindService, Count: new(2)})
		w.settle()
		w.place([2]string{"id0", "id1"})
		if deploys {
			spec := *w.View().Job("web").Spec
			spec.Command = []string{"y"}
			w.do(&fsm.JobUpdate{Meta: w.meta(), ID: "web", Spec: &spec})
		} else {
			w.do(&fsm.NodeDrain{Meta: w.meta(), ID: "id0", Drain: true})
		}
		w.do(&fsm.NodeDrain{Meta: w.meta(), ID: "id1", Drain: true})
		w.settle()
		if a, b := w.View().Task("web.0").Desired, w.View().Task("web.1").Desired; a != api.DesiredMove || b != api.DesiredRun {
			t.Errorf("deploy %v: they are to %s and %s", deploys, a, b)
		}
	}
}

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

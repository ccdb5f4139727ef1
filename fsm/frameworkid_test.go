package fsm

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
)

// An id that a framework gave twice is of the task that lives, whichever partition it is in.
func TestAnIDIsOfTheTaskThatLives(t *testing.T) {
	s := offered(t)
	propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}})
	n := 0
	start := func(partition, task string) {
		n++
		o := &api.Offer{ID: fmt.Sprint("offer", n), Framework: "f", Partition: partition, NodeID: nodeID(0), Resources: api.Resources{CPUs: 100, Mem: 128 << 20}}
		propose(t, s, &OfferMake{Offers: []*api.Offer{o}})
		if a := accept(t, s, []string{o.ID}, launchOf(task, 10)); a.Invalid != "" || a.Refused[0] != "" {
			t.Fatalf("%+v", a)
		}
		if row := s.View().FrameworkTask("f", task); row.State.Final() || row.Partition != partition {
			t.Errorf("%s, which lives in %s, is %s of %s, %s", task, partition, row.ID, row.Partition, row.State)
		}
	}
	start(api.DefaultPartition, "first") // whose job is the older one
	start("ml", "x")
	report(t, s, "x", api.TaskRunning)
	report(t, s, "x", api.TaskFinished)
	start(api.DefaultPartition, "x")
	report(t, s, "x", api.TaskRunning)
	called := 0
	for row := range s.View().FrameworkTasks("f") {
		if row.Framework.ID == "x" {
			called++
		}
	}
	if called != 2 {
		t.Errorf("%d tasks were called x, and not 2", called)
	}
}

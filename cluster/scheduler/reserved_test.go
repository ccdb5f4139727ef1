package scheduler

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// keep has partition ml reserve CPUs of a node.
func keep(t *testing.T, s *fsm.Store, node string, cpus api.MilliCPU) {
	t.Helper()
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "ml", Weight: 1000}},
		&fsm.ReservationChange{Meta: fsm.Meta{At: t0}, NodeID: node, Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "ml", Resources: api.Resources{CPUs: cpus}}}})
}

func cpus(n api.MilliCPU) func(*api.JobSpec) { return func(s *api.JobSpec) { s.CPUs = n } }

// Who waits for what is reserved is told that, and not that it is in use: it does not come
// back when a task ends.
func TestWhyNamesWhatIsReserved(t *testing.T) {
	s := cluster(t, 1)
	keep(t, s, "id0", 1500)
	why := whyOf(t, s, submit(t, s, asking("one", cpus(1000))))
	if got := why.Nodes[0]; got.Obstacle.Kind != api.ObstacleTooSmall || got.Reason != "has too little beside what is reserved, which is cpus=1.5 (mesita node show n0)" || why.Obstacles[0].Kind != api.ObstacleNever {
		t.Errorf("%+v, %+v", got, why.Obstacles)
	}
	submit(t, s, asking("little", cpus(100)))
	schedule(t, s, t0)
	why = whyOf(t, s, submit(t, s, asking("two", cpus(500))))
	if got := why.Nodes[0]; got.Obstacle.Kind != api.ObstacleShort || !strings.HasPrefix(got.Reason, "has too little beside what is reserved") {
		t.Errorf("%+v", got)
	}
	why = whyOf(t, s, submit(t, s, asking("three", cpus(3000))))
	if got := why.Nodes[0].Reason; strings.Contains(got, "reserved") {
		t.Errorf("it would not fit without the reservation: %s", got)
	}
}

// What fits nowhere beside reservations is refused as what fits no node is.
func TestCheckFitsKnowsWhatIsReserved(t *testing.T) {
	s := cluster(t, 2)
	keep(t, s, "id0", 1500)
	spec := asking("one", cpus(1000))
	if err := planner.CheckFits(s.View(), spec); err != nil {
		t.Errorf("the other node has room: %v", err)
	}
	keep(t, s, "id1", 1500)
	if err := planner.CheckFits(s.View(), spec); api.ErrorCode(err) != api.CodeDoesNotFit || !strings.Contains(err.Error(), "n0 has too little beside what is reserved, which is cpus=1.5 (mesita node show n0); n1 ") {
		t.Error(err)
	}
	gang := asking("gang", cpus(500))
	gang.Array, gang.Gang = "0-2", 3
	if err := planner.CheckFits(s.View(), gang); api.ErrorCode(err) != api.CodeDoesNotFit || !strings.Contains(err.Error(), "the largest gang of this shape is 2") {
		t.Error(err)
	}
}

// No room is held where a reservation is in the way whoever ends: nodes that have enough
// beside those are looked at, however many have not and lack less now.
func TestHoldsAreWhereNothingIsReserved(t *testing.T) {
	s := cluster(t, maxHoldNodes+2)
	for n := range s.View().Nodes() {
		if n.ID != "id0" {
			keep(t, s, n.ID, 1000)
		}
	}
	submit(t, s, asking("full", cpus(1800)))
	schedule(t, s, t0)
	j := submit(t, s, asking("wide", cpus(2000)))
	e := NewEngine(begin)
	e.Update(s.View(), nil, true)
	e.Decide(t0)
	h := e.holds[api.DefaultPartition]
	if h == nil || h.Job != j.ID || len(h.Nodes) != 1 || h.Nodes[0] != "id0" {
		t.Errorf("%+v", h)
	}
}

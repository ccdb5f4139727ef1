package scheduler_test

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// others fails the test for each task but one that has to end.
func (m *machine) others(moved, when string) {
	m.t.Helper()
	for x := range m.View().NodeTasks("id0") {
		if x.ID != moved && x.Desired != api.DesiredRun {
			m.t.Errorf("%s: %s of %s is to %s", when, x.ID, x.Partition, x.Desired)
		}
	}
}

// A task that moves asks for as much again: meanwhile its partition is not below its
// guarantee, so neither those who borrowed nor its own place pay for another that
// waits, in the same partition or beside it.
func TestWhoMovesKeepsItsPlace(t *testing.T) {
	for _, reason := range []api.Reason{api.ReasonReplaced, api.ReasonDrained, api.ReasonRequeued, api.ReasonStopped} {
		for _, waits := range []string{"p/a", "p/b"} {
			t.Run(string(reason)+" "+waits, func(t *testing.T) {
				m := newMachine(t, &api.Partition{Path: "p", Guarantee: api.Amounts{CPUs: 4000}}, &api.Partition{Path: "q"})
				m.partition(&api.Partition{Path: "p/a"})
				m.partition(&api.Partition{Path: "p/b"})
				web := m.submit("p/a", api.KindService, 2, 1000, 0, 0)
				m.submit("p/b", api.KindBatch, 2, 1000, 0, 0)
				m.pass()
				m.submit("q", api.KindBatch, 4, 1000, 0, 0)
				m.pass()
				m.now = m.now.Add(time.Hour)
				late := m.submit(waits, api.KindBatch, 1, 1000, 0, 0)
				m.pass()
				m.others("", "before")
				moved := api.TaskID(web, 0)
				m.do(&fsm.TaskStop{Meta: m.meta(), IDs: []string{moved}, Move: true, Reason: reason})
				m.now = m.now.Add(time.Second)
				m.pass()
				m.others(moved, "while it ends")
				m.report(m.View().TaskOf(web, 0), api.TaskKilled)
				m.pass()
				m.others("", "after")
				if !m.View().TaskOf(web, 0).Holds() || m.View().TaskOf(late, 0).Holds() {
					t.Error("one that waited has the place of one that moved")
				}
			})
		}
	}
}

// What is preempted is its partition's no more, though it is moved for another reason
// before it has ended: no more is taken than is above the guarantee.
func TestWhoGivesWayIsCountedThoughItMoves(t *testing.T) {
	const notice = api.Duration(10 * time.Minute)
	m := newMachine(t, &api.Partition{Path: "pa", Notice: notice, Guarantee: api.Amounts{CPUs: 2000}}, &api.Partition{Path: "pb", Guarantee: api.Amounts{CPUs: 1000}})
	m.partition(&api.Partition{Path: "pc"})
	m.submit("pc", api.KindBatch, 5, 1000, 0, 0)
	m.pass()
	m.now = m.now.Add(time.Hour) // so those above have more to lose
	web := m.submit("pa", api.KindService, 3, 1000, 0, 0)
	m.pass()
	m.submit("pb", api.KindBatch, 2, 1000, 0, 0)
	m.pass()
	moved := ""
	for x := range m.View().JobTasks(web) {
		if x.Leaving() {
			moved = x.ID
		}
	}
	m.do(&fsm.TaskStop{Meta: m.meta(), IDs: []string{moved}, Move: true, Reason: api.ReasonReplaced})
	m.partition(&api.Partition{Path: "pb", Guarantee: api.Amounts{CPUs: 2000}})
	m.pass()
	taken := 0
	for x := range m.View().NodeTasks("id0") {
		if x.Partition == "pc" && x.Desired == api.DesiredMove {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d are taken from who has no guarantee, not 1", taken)
	}
	for x := range m.View().JobTasks(web) {
		if x.ID != moved && x.Desired != api.DesiredRun {
			t.Errorf("%s is to %s, and its partition has no more than its guarantee", x.ID, x.Desired)
		}
	}
}

// What moves leaves a limit that was lowered at once: nobody ends for it besides.
func TestNobodyEndsForALimitBesideWhoMoves(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "pa", Limit: api.Amounts{CPUs: 4000}}, &api.Partition{Path: "pb"})
	web := m.submit("pa", api.KindService, 4, 1000, 0, 0)
	m.pass()
	moved := api.TaskID(web, 0)
	m.do(&fsm.TaskStop{Meta: m.meta(), IDs: []string{moved}, Move: true, Reason: api.ReasonReplaced})
	m.partition(&api.Partition{Path: "pa", Limit: api.Amounts{CPUs: 3000}})
	m.now = m.now.Add(time.Hour)
	m.pass()
	m.others(moved, "above the limit")
}

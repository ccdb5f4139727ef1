package scheduler_test

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// hosting is a full machine on which an executor of a framework runs a task for an hour, and
// seven tasks of a job run beside it for ten minutes, in a partition that gives room so.
func hosting(t *testing.T, how api.Preempt) (m *machine, executor, hosted *api.Task) {
	m = newMachine(t, &api.Partition{Path: "pa", Preempt: how}, &api.Partition{Path: "pb", Guarantee: api.Amounts{CPUs: 2000}})
	spec := func() *api.JobSpec {
		s := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}}}
		s.Normalize()
		return s
	}
	m.do(&fsm.FrameworkPut{Meta: m.meta(), Connect: true, Framework: &api.Framework{ID: "f", Name: "f", Session: "s", Partitions: []string{"pa"}}},
		&fsm.OfferMake{Meta: m.meta(), Offers: []*api.Offer{{ID: "o", Framework: "f", Partition: "pa", NodeID: "id0", Resources: m.View().Free("id0")}}})
	a := m.do(&fsm.FrameworkAccept{Meta: m.meta(), Framework: "f", Session: "s", Offers: []string{"o"}, Tasks: []fsm.FrameworkLaunch{{
		Task: &api.FrameworkTask{ID: "t", Spec: spec(), Executor: "e"}, Resources: api.Resources{CPUs: 950, Mem: 1 << 20},
		Executor: &fsm.FrameworkExecutor{Task: &api.FrameworkTask{Spec: spec(), Executor: "e", IsExecutor: true}, Resources: api.Resources{CPUs: 50, Mem: 1 << 20}}}}}).(*fsm.Accepted)
	executor, hosted = m.View().Executor("f", "id0", "e"), m.View().FrameworkTask("f", "t")
	if executor == nil || hosted == nil {
		t.Fatalf("%+v", a)
	}
	m.report(executor, api.TaskRunning)
	m.do(&fsm.TaskReport{Meta: m.meta(), Statuses: []api.TaskStatus{{Task: hosted.ID, Attempt: 1, NodeID: "id0", State: api.TaskRunning, Time: m.now,
		Update: &api.ExecutorUpdate{ID: []byte("0123456789abcdef"), Status: []byte("status")}}}})
	m.now = m.now.Add(time.Hour)
	m.submit("pa", api.KindBatch, 7, 1000, 0, 0)
	m.pass()
	m.now = m.now.Add(10 * time.Minute)
	return m, executor, hosted
}

// Executors and what they run cannot be frozen: ordinary tasks are, as little is lost by it.
func TestExecutorsAreNotFrozen(t *testing.T) {
	m, executor, hosted := hosting(t, api.PreemptFreeze)
	m.submit("pb", api.KindBatch, 1, 1000, 0, 0)
	m.pass()
	frozen := 0
	for x := range m.View().FrozenTasks() {
		if x.Desired == api.DesiredFreeze {
			frozen++
		}
	}
	if v := m.View(); v.Task(executor.ID).Desired != api.DesiredRun || v.Task(hosted.ID).Desired != api.DesiredRun || frozen != 1 {
		t.Errorf("the executor and its task are %v and %v, and %d others freeze", v.Task(executor.ID).Desired, v.Task(hosted.ID).Desired, frozen)
	}
}

// With an executor all is lost that it runs, though it has little itself.
func TestAnExecutorIsWorthWhatItRuns(t *testing.T) {
	m, executor, hosted := hosting(t, api.PreemptKill)
	m.submit("pb", api.KindBatch, 1, 40, 0, 0)
	m.pass()
	if v := m.View(); v.Task(executor.ID).Desired != api.DesiredRun || v.Task(hosted.ID).Desired != api.DesiredRun {
		t.Errorf("the executor and its task are %v and %v", v.Task(executor.ID).Desired, v.Task(hosted.ID).Desired)
	}
	_, ended := m.told()
	if ended != 1 {
		t.Errorf("%d end", ended)
	}
}

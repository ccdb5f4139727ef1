package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// machine is one node of eight cpus that two partitions share, on a clock that the
// test turns: tasks start at once, and batch tasks end after what they take.
type machine struct {
	t *testing.T
	*fsm.Store
	engine *scheduler.Engine
	begun  time.Time
	now    time.Time
	takes  map[string]time.Duration // by job; none: for ever
}

func beginRound(v *fsm.View) scheduler.Round { return allocator.Begin(v) }

func newMachine(t *testing.T, a, b *api.Partition) *machine {
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := &machine{t: t, Store: fsm.NewStore(nil), engine: scheduler.NewEngine(beginRound), begun: begun, now: begun, takes: map[string]time.Duration{}}
	m.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: m.meta(), Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id0", Name: "n0"}})
	m.do(&fsm.NodeHello{Meta: m.meta(), ID: "id0", Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 8000, Mem: 64 << 30}}})
	for _, p := range []*api.Partition{a, b} {
		m.do(&fsm.PartitionPut{Meta: m.meta(), Partition: p})
	}
	return m
}

func (m *machine) meta() fsm.Meta { return fsm.Meta{At: m.now, Actor: "test"} }

func (m *machine) do(cmds ...fsm.Command) (out any) {
	m.t.Helper()
	for _, c := range cmds {
		v, err := m.Do(context.Background(), c)
		if err != nil {
			m.t.Fatal(err)
		}
		out = v
	}
	return out
}

func (m *machine) submit(partition string, kind api.Kind, tasks int, cpus api.MilliCPU, priority int, takes time.Duration) string {
	m.t.Helper()
	s := &api.JobSpec{Kind: kind, Partition: partition, Priority: priority, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: cpus, Mem: 1 << 20}}}}
	if kind == api.KindService {
		s.Count = &tasks
	} else {
		s.Array = fmt.Sprintf("0-%d", tasks-1)
	}
	s.Normalize()
	id := m.do(&fsm.JobCreate{Meta: m.meta(), Spec: s}).(*api.Job).ID
	m.takes[id] = takes
	return id
}

// pass lets the scheduler decide until it has nothing more to say.
func (m *machine) pass() {
	m.t.Helper()
	for {
		m.engine.Update(m.View(), nil, true)
		cmds, _ := m.engine.Decide(m.now)
		if len(cmds) == 0 {
			return
		}
		m.do(cmds...)
		for t := range m.View().NodeTasks("id0") {
			if t.State != api.TaskRunning {
				m.report(t, api.TaskRunning)
			}
		}
	}
}

func (m *machine) report(t *api.Task, state api.TaskState) {
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: state, PID: 1, Time: m.now}
	if state.Final() {
		st.ExitCode = new(int)
	}
	m.do(&fsm.TaskReport{Meta: m.meta(), Statuses: []api.TaskStatus{st}})
}

// minute continues for one: who is done ends.
func (m *machine) minute() {
	m.t.Helper()
	m.now = m.now.Add(time.Minute)
	for t := range m.View().NodeTasks("id0") {
		if d := m.takes[t.Job]; d > 0 && !m.now.Before(t.Started.Add(d)) {
			m.report(t, api.TaskFinished)
		}
	}
	m.pass()
}

// starts is after how many minutes a job's only task starts, -1 if not within most.
func (m *machine) starts(job string, most int, each func(minute int)) int {
	m.t.Helper()
	for i := 0; i <= most; i++ {
		if m.View().TaskOf(job, 0).Holds() || m.View().TaskOf(job, 0).State.Final() {
			return int(m.now.Sub(m.begun) / time.Minute)
		}
		each(i)
		m.minute()
	}
	return -1
}

// A task that is wider than its partition is entitled to, which weights would let
// wait for ever, starts once its bound is over and what runs there has ended,
// whatever is first in its partition meanwhile and however often another leader
// begins. why says the time. The next one waits as long after it.
func TestTheWaitOfAWideTaskIsBounded(t *testing.T) {
	for name, interrupt := range map[string]func(m *machine, minute int){
		"nothing happens": func(*machine, int) {},
		"another leader": func(m *machine, minute int) {
			if minute%10 == 9 {
				m.engine = scheduler.NewEngine(beginRound)
			}
		},
		"another one is first for a while": func(m *machine, minute int) {
			if minute%10 == 9 {
				id := m.submit("wide", api.KindBatch, 1, 5000, 50, time.Minute)
				m.pass()
				m.do(&fsm.JobStop{Meta: m.meta(), ID: id})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, &api.Partition{Path: "wide", Weight: 1000, Policy: api.PolicyPriority, Preempt: api.PreemptNever}, &api.Partition{Path: "narrow", Weight: 3000, Preempt: api.PreemptNever})
			m.submit("wide", api.KindService, 3, 1000, 0, 0)
			m.pass()
			for i := range 5 { // they end at different times
				m.submit("narrow", api.KindBatch, 1, 1000, 0, time.Duration(i+1)*time.Minute)
			}
			m.submit("narrow", api.KindBatch, 5000, 1000, 0, 5*time.Minute)
			m.pass()
			first, second := m.submit("wide", api.KindBatch, 1, 4000, 0, time.Minute), m.submit("wide", api.KindBatch, 1, 4000, 0, time.Minute)
			m.pass()
			why, err := scheduler.Planner{Now: func() time.Time { return m.now }, Begin: beginRound}.Explain(m.View(), api.TaskID(first, 0))
			if err != nil || !strings.Contains(strings.Join(why.Hints, "\n"), "if weights let it wait until 2026-01-01 01:00:00, what comes free is kept for it") {
				t.Errorf("why says %+v, %v", why, err)
			}
			each := func(minute int) { interrupt(m, minute) }
			if at := m.starts(first, 90, each); at < 60 || at > 66 {
				t.Errorf("the first starts after %d minutes", at)
			}
			before := m.now
			if at := m.starts(second, 90, each); name != "another leader" && m.now.Sub(before) < time.Hour || at < 0 || m.now.Sub(before) > 66*time.Minute {
				t.Errorf("the second starts %s after the first (%d)", m.now.Sub(before), at)
			}
		})
	}
}

// Where long tasks of its own partition hold nearly all that it is entitled to, a
// wide one starts as soon as its room has come together, and ends.
func TestAWideTaskBesideLongOnes(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "wide"}, &api.Partition{Path: "narrow"})
	m.submit("wide", api.KindBatch, 3, 1000, 0, 0)
	m.pass()
	for i := range 5 {
		m.submit("narrow", api.KindBatch, 1, 1000, 0, time.Duration(i+1)*time.Minute)
	}
	m.submit("narrow", api.KindBatch, 500, 1000, 0, 5*time.Minute)
	m.pass()
	wide := m.submit("wide", api.KindBatch, 1, 4000, 0, 10*time.Minute)
	m.pass()
	if at := m.starts(wide, 90, func(int) {}); at < 0 || at > 10 {
		t.Errorf("it starts after %d minutes", at)
	}
	for range 11 {
		m.minute()
	}
	if task := m.View().TaskOf(wide, 0); task.State != api.TaskFinished || task.Attempt != 1 {
		t.Errorf("it is %s in attempt %d", task.State, task.Attempt)
	}
}

package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// Those who are preempted after a notice are as many as without one, whichever leader
// decides; what they leave earlier goes to nobody else, and at the end of the notice,
// when the engine asks to be heard, they end and the room is whose it was taken for.
// why says who has to leave, and by when.
func TestRoomIsHeldDuringANotice(t *testing.T) {
	const notice = 90 * time.Second // longer than claims last without one
	for _, leader := range []bool{false, true} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("another leader %v, one leaves early %v", leader, early), func(t *testing.T) {
				m := newMachine(t, &api.Partition{Path: "pa", Notice: api.Duration(notice)}, &api.Partition{Path: "pb", Guarantee: api.Amounts{CPUs: 2000}})
				m.submit("pa", api.KindBatch, 30, 500, 0, 0)
				m.pass()
				asked := m.now
				hi := m.submit("pb", api.KindBatch, 1, 2000, 0, 0)
				m.pass()
				told, ended := m.told()
				if told != 4 || ended != 0 {
					t.Fatalf("%d are told, %d end", told, ended)
				}
				why, err := scheduler.Planner{Now: func() time.Time { return m.now }, Begin: beginRound, Memory: m.engine.Remember}.Explain(m.View(), hi+".0")
				by := asked.Add(notice + time.Duration(api.DefaultStopGrace))
				if err != nil || len(why.Obstacles) == 0 || why.Obstacles[0].Kind != api.ObstacleTaking || !why.Obstacles[0].Until.Equal(by) || !strings.HasSuffix(why.Summary, " and 3 others are told to leave for it, at the latest by 00:01:40") {
					t.Errorf("%+v, %v", why, err)
				}
				left := 0
				for at := 10 * time.Second; at < notice; at += 10 * time.Second {
					m.now = asked.Add(at)
					if leader {
						m.engine = scheduler.NewEngine(beginRound)
					}
					if early && at == 30*time.Second {
						for x := range m.View().NodeTasks("id0") {
							if x.Leaving() && left == 0 {
								m.report(x, api.TaskFinished)
								left++
							}
						}
					}
					m.pass()
					if told, ended := m.told(); told != 4-left || ended != 0 {
						t.Fatalf("after %s %d are told, %d end", at, told, ended)
					}
				}
				m.engine.Update(m.View(), nil, true)
				if _, next := m.engine.Decide(m.now); next.After(asked.Add(notice)) || next.IsZero() {
					t.Errorf("the next pass is at %s", next)
				}
				m.now = asked.Add(notice)
				m.pass()
				if told, ended := m.told(); told != 0 || ended != 4-left {
					t.Fatalf("when it is over %d are told, %d end", told, ended)
				}
				for x := range m.View().NodeTasks("id0") {
					if x.Desired == api.DesiredMove {
						m.report(x, api.TaskKilled)
						m.pass()
					}
				}
				if !m.View().TaskOf(hi, 0).Holds() {
					t.Error("what was taken for it went to others")
				}
			})
		}
	}
}

// told is how many tasks were told that they will have to leave, and to end.
func (m *machine) told() (leaving, ending int) {
	for x := range m.View().NodeTasks("id0") {
		switch {
		case x.Leaving():
			leaving++
		case x.Desired == api.DesiredMove:
			ending++
		}
	}
	return leaving, ending
}

func (m *machine) partition(p *api.Partition) {
	m.t.Helper()
	m.do(&fsm.PartitionPut{Meta: m.meta(), Partition: p})
}

// A task is told so, too, that is above a limit which was lowered; one that is told
// to leave ends though nobody waits for its room any more, and a plan of when there is
// room counts on it then, and not before.
func TestNoticeWithoutAClaimant(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "pa", Notice: api.Duration(time.Minute), Limit: api.Amounts{CPUs: 8000}}, &api.Partition{Path: "pb"})
	m.submit("pa", api.KindBatch, 8, 1000, 0, 0)
	m.pass()
	m.partition(&api.Partition{Path: "pa", Notice: api.Duration(time.Minute), Limit: api.Amounts{CPUs: 6000}})
	for range 3 {
		m.pass()
		m.now = m.now.Add(10 * time.Second)
	}
	if told, ended := m.told(); told != 2 || ended != 0 {
		t.Fatalf("%d are told, %d end", told, ended)
	}
	waits := m.submit("pb", api.KindBatch, 1, 2000, 0, 0)
	m.pass()
	why, err := scheduler.Planner{Now: func() time.Time { return m.now }, Begin: beginRound, Memory: m.engine.Remember}.Explain(m.View(), waits+".0")
	if err != nil || !why.Estimate.Equal(m.begun.Add(time.Minute)) {
		t.Errorf("it is said to start at %s, %v", why.Estimate, err)
	}
	m.partition(&api.Partition{Path: "pa", Limit: api.Amounts{CPUs: 8000}})
	m.now = m.begun.Add(time.Minute)
	m.pass()
	if told, ended := m.told(); told != 0 || ended != 2 {
		t.Errorf("%d are told, %d end", told, ended)
	}
}

// What was taken for one is not counted as free for another of the same partition:
// whoever has nothing to do with it loses no task, however long the notice is.
func TestNobodyElsePaysForANotice(t *testing.T) {
	for _, notice := range []time.Duration{0, 10 * time.Minute} {
		m := newMachine(t, &api.Partition{Path: "p", Guarantee: api.Amounts{CPUs: 4000}, Limit: api.Amounts{CPUs: 4000}}, &api.Partition{Path: "q"})
		m.partition(&api.Partition{Path: "p/lo", Policy: api.PolicyPriority, Notice: api.Duration(notice)})
		m.partition(&api.Partition{Path: "p/hi", Priority: 10})
		m.submit("p/lo", api.KindBatch, 4, 1000, 0, 0)
		m.pass()
		q := m.submit("q", api.KindBatch, 4, 1000, 0, 0)
		m.pass()
		m.now = m.now.Add(2 * time.Minute)
		m.submit("p/lo", api.KindBatch, 1, 4000, 10, 0)
		m.pass()
		m.now = m.now.Add(10 * time.Second)
		m.submit("p/hi", api.KindBatch, 4, 1000, 0, 0)
		for range 80 {
			m.pass()
			m.now = m.now.Add(5 * time.Second)
			for x := range m.View().NodeTasks("id0") {
				if x.Desired == api.DesiredMove {
					m.report(x, api.TaskKilled)
				}
			}
			m.now = m.now.Add(5 * time.Second)
		}
		for i := range 4 {
			if got := m.View().TaskOf(q, i); got == nil || got.Attempt != 1 || !got.Holds() {
				t.Errorf("notice %s: task %d of the other partition: %+v", notice, i, got)
			}
		}
	}
}

// What ends by now is taken from what its partition holds once, however many limits it
// is above: counted more often, a partition at its limit would take more from others.
func TestWhatEndsIsCountedOnce(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "p", Guarantee: api.Amounts{CPUs: 4000}}, &api.Partition{Path: "q"})
	const low = "p/a/b/c"
	for _, path := range []string{"p/a", "p/a/b", low} {
		m.partition(&api.Partition{Path: path, Preempt: api.PreemptNever})
	}
	ends := m.submit(low, api.KindBatch, 2, 1000, 0, 0)
	m.submit(low, api.KindBatch, 4, 1000, 0, 0)
	m.pass()
	m.submit("q", api.KindBatch, 2, 1000, 0, 0)
	m.pass()
	m.do(&fsm.JobStop{Meta: m.meta(), ID: ends})
	m.partition(&api.Partition{Path: "p", Guarantee: api.Amounts{CPUs: 4000}, Limit: api.Amounts{CPUs: 4000}})
	for _, path := range []string{"p/a", "p/a/b", low} {
		m.partition(&api.Partition{Path: path, Preempt: api.PreemptNever, Limit: api.Amounts{CPUs: 4000}})
	}
	m.submit(low, api.KindBatch, 4, 1000, 0, 0)
	m.now = m.now.Add(time.Hour)
	m.pass()
	for x := range m.View().NodeTasks("id0") {
		if x.Desired == api.DesiredMove || (x.Desired == api.DesiredStop) != (x.Job == ends) {
			t.Errorf("%s of %s is to %s", x.ID, x.Partition, x.Desired)
		}
	}
}

// why counts those who leave for a job, for all of its tasks and for no other reason,
// whichever leader is asked; and each counts once for its partition, and those above it.
func TestWhoLeavesIsCountedForWhomItLeaves(t *testing.T) {
	notice := api.Duration(time.Minute)
	m := newMachine(t, &api.Partition{Path: "pa", Notice: notice}, &api.Partition{Path: "pb", Guarantee: api.Amounts{CPUs: 6000}})
	for _, path := range []string{"pa/sub", "pc"} {
		m.partition(&api.Partition{Path: path, Notice: notice})
	}
	m.submit("pc", api.KindBatch, 4, 500, 0, 0)
	m.pass()
	m.now = m.now.Add(time.Minute) // so those above have more to lose
	m.submit("pa/sub", api.KindBatch, 12, 500, 0, 0)
	m.pass()
	job := m.submit("pb", api.KindBatch, 2, 1000, 0, 0)
	m.pass()
	m.partition(&api.Partition{Path: "pc", Notice: notice, Limit: api.Amounts{CPUs: 1000}})
	for range 3 {
		m.pass()
		why, err := scheduler.Planner{Now: func() time.Time { return m.now }, Begin: beginRound, Memory: m.engine.Remember}.Explain(m.View(), job+".0")
		if err != nil || len(why.Obstacles) == 0 || why.Obstacles[0].Kind != api.ObstacleTaking || why.Obstacles[0].Told != 4 {
			t.Errorf("%+v, %v", why.Obstacles, err)
		}
		for _, p := range (allocator.Planner{Now: func() time.Time { return m.now }}).Status(m.View()) {
			if want := map[string]int{"pa": 4, "pa/sub": 4, "pc": 2}[p.Path]; p.Leaving != want {
				t.Errorf("%d tasks of %s leave, not %d", p.Leaving, p.Path, want)
			}
		}
		m.now, m.engine = m.now.Add(10*time.Second), scheduler.NewEngine(beginRound)
	}
}

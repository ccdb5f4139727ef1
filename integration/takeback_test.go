package integration

import (
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

// slowly lets everybody decide, once a second, where of all tasks that are to end
// one does so at a time, and what is placed starts at once. It returns how many
// were preempted until nothing changes.
func (s *shared) slowly() int {
	s.t.Helper()
	before := s.preempt
	for quiet := 0; quiet < 3; s.now = s.now.Add(time.Second) {
		changes, all := s.watch.Take()
		s.engine.Update(s.View(), changes, all)
		cmds, _ := s.engine.Decide(s.now)
		cmds = append(cmds, controller.Decide(s.View(), s.now, nil, true)...)
		for _, c := range cmds {
			if p, ok := c.(*fsm.TaskPreempt); ok {
				s.preempt += len(p.Victims)
			}
			s.do(c)
		}
		s.check()
		if quiet++; s.oneObeys() || len(cmds) > 0 || s.View().LeavingCount() > 0 {
			quiet = 0
		}
		if s.preempt-before > 1000 {
			s.t.Fatalf("%d were preempted, and it continues", s.preempt-before)
		}
	}
	return s.preempt - before
}

// oneObeys starts what was placed, and ends or freezes one task.
func (s *shared) oneObeys() (did bool) {
	stopped := false
	for n := range s.View().Nodes() {
		for t := range s.View().NodeTasks(n.ID) {
			ends := t.Desired == api.DesiredStop || t.Desired == api.DesiredMove || t.Leaving() && s.leaves != nil && s.leaves(t)
			switch {
			case ends && !stopped:
				s.report(t, api.TaskKilled, false)
				stopped = true
			case !ends && t.State != api.TaskRunning:
				s.report(t, api.TaskRunning, false)
			case !ends && t.Desired == api.DesiredFreeze && !t.Frozen && !stopped:
				s.report(t, api.TaskRunning, true)
				stopped = true
			default:
				continue
			}
			did = true
		}
	}
	return did
}

// What is taken back goes to whom it was taken for, though those who are preempted end
// one after the other, and some of them after a notice, or when they like within it: no
// more of them are preempted than are needed, and nobody twice. Another leader changes nothing.
func TestWhatIsTakenGoesToWhomItIsTakenFor(t *testing.T) {
	// Who is not frozen within its min-runtime is ended.
	for mode, least := range map[api.Preempt]time.Duration{api.PreemptKill: time.Second, api.PreemptFreeze: time.Minute} {
		t.Run(string(mode), func(t *testing.T) {
			draw.Check(t, func(rt *rapid.T) {
				nodes := make([]api.Resources, rapid.IntRange(1, 4).Draw(rt, "nodes"))
				for i := range nodes {
					nodes[i] = api.Resources{CPUs: 4000, Mem: 8 << 30}
				}
				s := newShared(rt, nodes)
				width, tasks := rapid.IntRange(1, 4).Draw(rt, "width"), rapid.IntRange(1, 4).Draw(rt, "tasks")
				s.partition(&api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: api.MilliCPU(1000 * min(width*tasks, 4*len(nodes)))}})
				s.partition(&api.Partition{Path: "ml", Preempt: mode, MinRuntime: api.Duration(least), Notice: drawNotice(rt)})
				s.submit("x", batchOf("ml", 100, 1000, 64<<20))
				s.slowly()
				again := rapid.Bool().Draw(rt, "another leader")
				s.leaves = func(t *api.Task) bool {
					if again {
						s.engine, again = scheduler.NewEngine(roundOf), false
						s.engine.Update(s.View(), nil, true)
					}
					return rapid.IntRange(0, 9).Draw(rt, "leaves") == 0
				}
				s.submit("y", batchOf("prod", tasks, api.MilliCPU(1000*width), 64<<20))
				got := min(tasks, 4/width*len(nodes))
				if n := s.slowly(); n != got*width {
					rt.Errorf("%d were preempted for %d tasks of %d cpus", n, got, width)
				}
				if n := s.View().Usage("prod").Running; n != got {
					rt.Errorf("%d tasks of prod run, want %d", n, got)
				}
			})
		})
	}
}

// A job that would be served after another takes nothing from it, whatever its own
// priority: it would be given back.
func TestWhoIsServedLaterTakesNothing(t *testing.T) {
	s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30}})
	s.partition(&api.Partition{Path: "p", Policy: api.PolicyPriority, Aging: api.Duration(5 * time.Second), MinRuntime: api.Duration(5 * time.Second), Limit: api.Amounts{CPUs: 1000}})
	job := func(priority int) string {
		spec := batchOf("p", 1, 1000, 64<<20)
		spec.Priority = priority
		return s.submit("x", spec)
	}
	first := job(5)
	s.settle()
	low := job(0)
	s.now = s.now.Add(8 * time.Second)
	high := job(1)
	s.settle()
	s.report(s.View().Task(first+".0"), api.TaskFinished, false)
	for range 20 {
		s.settle()
		s.now = s.now.Add(5 * time.Second)
	}
	if s.preempt > 0 {
		t.Errorf("%d were preempted", s.preempt)
	}
	s.report(s.View().Task(low+".0"), api.TaskFinished, false)
	s.settle()
	if c := s.View().Job(high).Counts; c.Running != 1 {
		t.Errorf("the second: %+v", c)
	}
	soon := job(2) // in time to go before it
	s.settle()
	if c := s.View().Job(soon).Counts; c.Running != 0 {
		t.Errorf("one that is 100 s younger, of one step of 5 s more, ran: %+v", c)
	}
	now := job(50)
	s.settle()
	if c := s.View().Job(now).Counts; c.Running != 1 || s.preempt != 1 {
		t.Errorf("one that goes before it: %+v, %d were preempted", c, s.preempt)
	}
}

// drawNotice is one that is over before room that is being taken back would be given
// away without it, or after that; or none.
func drawNotice(t *rapid.T) api.Duration {
	return api.Duration(rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 100 * time.Second}).Draw(t, "notice"))
}

// In any queue whose policy preempts, each act of taking moves room to a job that
// is further ahead in the order of the queue, found here by itself: so with all
// jobs known it ends, and a task is preempted at most once for each job ahead of its own.
func TestTakingEndsInAnyQueue(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		s := newShared(rt, randomNodes(rt))
		policy := rapid.SampledFrom([]api.Policy{api.PolicyPriority, api.PolicySRTF}).Draw(rt, "policy")
		aging := time.Duration(rapid.IntRange(1, 30).Draw(rt, "aging")) * time.Second
		s.partition(&api.Partition{Path: "p", Policy: policy, Aging: api.Duration(aging), MinRuntime: api.Duration(time.Second), Notice: drawNotice(rt)})
		jobs := rapid.IntRange(2, 8).Draw(rt, "jobs")
		for i := range jobs {
			spec := batchOf("p", rapid.IntRange(1, 3).Draw(rt, "tasks"), api.MilliCPU(rapid.IntRange(1, 4).Draw(rt, "cpus"))*500, 64<<20)
			spec.Priority, spec.Name = rapid.IntRange(0, 4).Draw(rt, "priority"), fmt.Sprint("j", i)
			spec.Time = api.Duration(rapid.IntRange(1, 400).Draw(rt, "time")) * api.Duration(time.Second)
			s.submit("x", spec)
			s.now = s.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "later")) * time.Second)
			s.slowly()
		}
		s.slowly()
		for task := range s.View().Tasks() {
			if task.Attempt > jobs {
				rt.Fatalf("%s is in attempt %d, with %d jobs in all", task.ID, task.Attempt, jobs)
			}
		}
	})
}

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// A stream of small jobs never keeps a large one from starting, be it on the
// nodes or below its partition's limit.
func TestNobodyStarves(t *testing.T) {
	for _, policy := range policies {
		for i, said := range []time.Duration{0, 10 * time.Second, 0, 10 * time.Second} {
			limit := api.MilliCPU(i/2) * 4000
			t.Run(fmt.Sprintf("%s/%s/%s", policy, said, limit), func(t *testing.T) {
				s := newShared(t, []api.Resources{{CPUs: 4000 + limit, Mem: 8 << 30}, {CPUs: 4000 + limit, Mem: 8 << 30}})
				s.partition(&api.Partition{Path: "p", Policy: policy, Limit: api.Amounts{CPUs: limit}})
				small := func() {
					j := batchOf("p", 1, 1000, 64<<20)
					j.Time = api.Duration(said)
					s.submit("many", j)
				}
				for range 12 {
					small()
				}
				s.settle()
				large := batchOf("p", 1, 4000, 64<<20)
				large.Time = api.Duration(said)
				id := s.submit("one", large)
				for step := range 200 {
					s.now = s.now.Add(time.Second)
					small()
					for task := range s.View().Tasks() { // each runs for ten seconds
						if task.State == api.TaskRunning && task.Ran(s.now) >= 10*time.Second {
							s.report(task, api.TaskFinished, false)
						}
					}
					s.settle()
					if s.View().Job(id).Counts.Pending == 0 {
						t.Logf("started after %d s", step)
						return
					}
				}
				if policy != api.PolicySJF && policy != api.PolicySRTF {
					t.Fatal("the large job never started")
				}
			})
		}
	}
}

// What is behind a blocked job starts only if it ends before that job can.
func TestBackfill(t *testing.T) {
	s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30}})
	at := func(cpus api.MilliCPU, d time.Duration) string {
		j := batchOf("default", 1, cpus, 64<<20)
		j.Time = api.Duration(d)
		return s.submit("x", j)
	}
	at(3000, 100*time.Second)
	s.settle()
	blocked := at(4000, 50*time.Second)
	long := at(1000, 200*time.Second)
	short := at(1000, 90*time.Second)
	s.settle()
	runs := func(id string) bool { return s.View().Job(id).Counts.Pending == 0 }
	if runs(blocked) || runs(long) || !runs(short) {
		t.Fatalf("blocked %v, long %v, short %v: only the short one ends before the blocked one can start", runs(blocked), runs(long), runs(short))
	}
	why, err := scheduler.Planner{Now: func() time.Time { return s.now }, Begin: roundOf}.Explain(s.View(), long)
	if err != nil || len(why.Nodes) != 1 {
		t.Fatalf("%+v, %v", why, err)
	}
	t.Logf("%+v", why)
}

// The same behind a job that its partition's limit holds back, where no node
// lacks room.
func TestBackfillBelowALimit(t *testing.T) {
	for _, c := range []struct {
		name   string
		said   time.Duration // of the job that runs; 0: nobody knows
		need   api.MilliCPU  // of the one that the limit holds back
		behind time.Duration
		starts bool
	}{
		{"ends before", 100 * time.Second, 4000, 90 * time.Second, true},
		{"ends too late", 100 * time.Second, 4000, 110 * time.Second, false},
		{"is of unknown length", 100 * time.Second, 4000, 0, false},
		{"fits beside it then", 100 * time.Second, 3000, 110 * time.Second, true},
		{"nobody knows when the first can start", 0, 4000, 90 * time.Second, false},
		{"nobody knows, but it fits beside it", 0, 3000, 90 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShared(t, []api.Resources{{CPUs: 16000, Mem: 8 << 30}})
			s.partition(&api.Partition{Path: "p", Limit: api.Amounts{CPUs: 4000}})
			at := func(cpus api.MilliCPU, d time.Duration) string {
				j := batchOf("p", 1, cpus, 64<<20)
				j.Time = api.Duration(d)
				id := s.submit("x", j)
				s.settle()
				return id
			}
			runs := func(id string) bool { return s.View().Job(id).Counts.Pending == 0 }
			first := at(3000, c.said)
			blocked := at(c.need, time.Minute)
			behind := at(1000, c.behind)
			if runs(blocked) || runs(behind) != c.starts {
				t.Fatalf("the first runs: %v, the one behind it: %v, want %v", runs(blocked), runs(behind), c.starts)
			}
			plan := scheduler.Planner{Now: func() time.Time { return s.now }, Begin: roundOf}
			if why, err := plan.Explain(s.View(), blocked); err != nil || !strings.Contains(why.Summary, "partition p is at its limit") || why.Estimate.IsZero() != (c.said == 0) {
				t.Errorf("the first: %+v, %v", why, err)
			}
			if why, err := plan.Explain(s.View(), behind); !c.starts && (err != nil || !strings.Contains(why.Summary, "keeps what its limit leaves for job "+blocked)) {
				t.Errorf("the one behind: %+v, %v", why, err)
			} else if !c.starts && c.said > 0 && !strings.Contains(why.Hints[0], "--time 1m40s") {
				t.Errorf("the one behind: %v", why.Hints)
			}
			more := at(2000, 10*time.Second)
			full, err := plan.Explain(s.View(), more)
			if err != nil || strings.Contains(fmt.Sprint(full.Hints), "--time") || strings.Contains(fmt.Sprint(full.Hints), "guarantee") {
				t.Errorf("one for which the limit leaves too little now: %v, %v", full.Hints, err)
			}
			s.now = s.now.Add(100 * time.Second)
			s.report(s.View().TaskOf(first, 0), api.TaskFinished, false)
			if c.starts && c.need == 4000 {
				s.report(s.View().TaskOf(behind, 0), api.TaskFinished, false)
			}
			s.settle()
			if !runs(blocked) {
				t.Error("the first does not run once the limit allows it")
			}
		})
	}
}

// BenchmarkPassBelowALimit is a pass in which a limit keeps the first job of a
// partition with 1,000 tasks from running, and 1,000 others must not overtake it.
func BenchmarkPassBelowALimit(b *testing.B) {
	s := newShared(b, []api.Resources{{CPUs: 9_000_000, Mem: 9 << 40}})
	s.partition(&api.Partition{Path: "p", Limit: api.Amounts{CPUs: 1_001_000}})
	submit := func(tasks int, cpus api.MilliCPU, d time.Duration) {
		j := batchOf("p", tasks, cpus, 64<<20)
		j.Time = api.Duration(d)
		s.submit("x", j)
	}
	submit(1000, 1000, time.Hour)
	s.settle()
	submit(1, 2000, time.Hour)
	for range 1000 {
		submit(1, 1000, 2*time.Hour)
	}
	s.engine.Update(s.View(), nil, true)
	change := map[fsm.Change]struct{}{{Table: fsm.TableRooms, ID: "id0"}: {}}
	for b.Loop() {
		s.engine.Update(s.View(), change, false)
		if cmds, _ := s.engine.Decide(s.now); len(cmds) > 0 {
			b.Fatalf("%+v", cmds[0])
		}
	}
}

// Room held for a job that waits for more is lent to those from whom the job
// can take it back when its time comes, and to nobody else.
func TestBackfillByLoan(t *testing.T) {
	for _, c := range []struct {
		preempt api.Preempt
		lent    bool
	}{{api.PreemptKill, true}, {api.PreemptFreeze, true}, {api.PreemptNever, false}} {
		t.Run(string(c.preempt), func(t *testing.T) {
			s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30}, {CPUs: 4000, Mem: 8 << 30}})
			s.partition(&api.Partition{Path: "p", Policy: api.PolicyPriority, Preempt: c.preempt})
			job := func(priority, gang int, d time.Duration) string {
				j := batchOf("p", 1, 4000, 64<<20)
				j.Priority, j.Time = priority, api.Duration(d)
				if gang > 0 {
					j.Gang, j.Array = gang, ""
				}
				return s.submit("x", j)
			}
			first := job(5, 0, time.Hour)
			s.settle()
			gang := job(5, 2, time.Hour)
			s.settle()
			low := job(1, 0, 2*time.Hour)
			s.settle()
			if got := s.View().Job(low).Counts.Running == 1; got != c.lent {
				t.Fatalf("the room held for the gang was lent: %v, want %v", got, c.lent)
			}
			s.now = s.now.Add(10 * time.Minute)
			for task := range s.View().MadeTasks(first) {
				s.report(task, api.TaskFinished, false)
			}
			s.settle()
			if n := s.View().Job(gang).Counts.Running; n != 2 {
				t.Fatalf("%d tasks of the gang run once there is room for it", n)
			}
		})
	}
}

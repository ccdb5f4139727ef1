package integration

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// pass lets the scheduler decide once, and the nodes do it.
func (s *shared) pass() {
	s.t.Helper()
	changes, all := s.watch.Take()
	s.engine.Update(s.View(), changes, all)
	cmds, _ := s.engine.Decide(s.now)
	s.do(cmds...)
	s.obey()
}

// million has an array of as many tasks as may be come, wait, run in part, be looked
// at, stop and go; done hears of each step.
func million(t testing.TB, done func(step string)) {
	s := newShared(t, slices.Repeat([]api.Resources{{CPUs: 4000, Mem: 1 << 40}}, 2))
	const runs = 8
	id := s.submit("ann", batchOf("default", api.MaxArray, 1000, 1<<20))
	done("submit")
	rows := func(want int) {
		t.Helper()
		if n := s.View().TaskCount(); n != want {
			t.Errorf("%d tasks have a row, want %d", n, want)
		}
	}
	rows(0)
	s.pass()
	done("pass")
	rows(runs)
	if c := s.View().Job(id).Counts; c.Running != runs || c.Pending != api.MaxArray-runs {
		t.Errorf("%+v", c)
	}
	s.pass()
	done("pass-full")
	rows(runs)
	if q := s.queue(); len(q) != 1 || q[0].Count != api.MaxArray-runs || q[0].Index != runs || q[0].Through != api.MaxArray-1 {
		t.Errorf("the queue is %+v", q)
	}
	done("queue")
	last := api.TaskID(id, api.MaxArray-1)
	why, err := scheduler.Planner{Now: func() time.Time { return s.now }, Begin: roundOf}.ExplainBy(s.engine, s.View(), last)
	if err != nil || why.ID != last || len(why.Obstacles) == 0 {
		t.Errorf("why: %+v, %v", why, err)
	}
	done("why")
	told, count := 0, 0
	s.View().TaskRuns("", 0)(func(_ *api.Job, r fsm.TaskRun) bool { told, count = told+1, count+r.N; return true })
	if told != runs+1 || count != api.MaxArray {
		t.Errorf("%d tasks in %d runs", count, told)
	}
	done("list")
	var snap bytes.Buffer
	if err := s.Snapshot().Write(&snap); err != nil || snap.Len() > 64<<10 {
		t.Errorf("a snapshot has %d bytes: %v", snap.Len(), err)
	}
	done("snapshot")
	event := s.View().LastEvent()
	s.do(&fsm.JobStop{Meta: s.meta(), ID: id})
	done("stop")
	if n := s.View().LastEvent() - event; n > 3*runs {
		t.Errorf("%d events tell of the stop", n)
	}
	s.obey()
	rows(runs)
	if j := s.View().Job(id); j.State != api.JobStopped || j.Counts.Stopped != api.MaxArray {
		t.Errorf("%s: %+v", j.State, j.Counts)
	}
	s.do(&fsm.JobRemove{Meta: s.meta(), IDs: []string{id}})
	done("remove")
	rows(0)
	if s.View().Job(id) != nil || s.View().PendingCount() != 0 {
		t.Error("something of it is left")
	}
}

// An array of as many tasks as may be is one row but for those that were started,
// from when it comes until it goes.
func TestMillionTasks(t *testing.T) { million(t, func(string) {}) }

// BenchmarkMillionTasks is what each step costs, and what the rows of tasks of an
// array that ended do: their memory, and how long apply takes to remove them.
func BenchmarkMillionTasks(b *testing.B) {
	for b.Loop() {
		begin := time.Now()
		million(b, func(step string) {
			b.ReportMetric(float64(time.Since(begin).Microseconds()), "µs/"+step)
			begin = time.Now()
		})
	}
	const ended, portion = 100_000, 10_000
	s := newShared(b, []api.Resources{{CPUs: 64_000, Mem: 1 << 40}})
	id := s.submit("ann", batchOf("default", ended, 1, 1<<20))
	before := heap()
	for from := 0; from < ended; from += portion {
		var places []fsm.Placement
		var ends []api.TaskStatus
		for i := from; i < from+portion; i++ {
			places = append(places, fsm.Placement{Job: id, Index: i, Attempt: 1, NodeID: "id0"})
			ends = append(ends, api.TaskStatus{Task: api.TaskID(id, i), Attempt: 1, NodeID: "id0", State: api.TaskFinished, ExitCode: new(0), Time: s.now})
		}
		s.do(&fsm.TaskPlace{Meta: s.meta(), Placements: places})
		s.do(&fsm.TaskReport{Meta: s.meta(), Statuses: ends})
	}
	if j := s.View().Job(id); j.Counts.Finished != ended {
		b.Fatalf("%+v", j.Counts)
	}
	b.ReportMetric(float64(heap()-before)/ended, "B/ended")
	begin := time.Now()
	s.do(&fsm.JobRemove{Meta: s.meta(), IDs: []string{id}})
	b.ReportMetric(float64(time.Since(begin).Nanoseconds())/ended, "ns/removed")
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

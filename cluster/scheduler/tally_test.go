package scheduler_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// What is told of the sharing is what was: recounted minute by minute from what runs
// and waits. What is long ago is forgotten.
func TestTalliesAreARecount(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "a", Weight: 1000}, &api.Partition{Path: "b", Weight: 1000})
	tallies := scheduler.NewTallies(scheduler.TallyConfig{Window: time.Hour, Fair: true})
	m.engine.Count(tallies)
	m.submit("a", api.KindBatch, 3, 2000, 0, 20*time.Minute)
	m.submit("b", api.KindBatch, 40, 1000, 0, 7*time.Minute)
	m.pass()
	wide := m.submit("a", api.KindBatch, 1, 6000, 0, 5*time.Minute)
	m.pass()
	type sums struct{ idled, waited, got, fair float64 }
	var want sums
	idled := false
	for range 40 {
		held := map[string]api.MilliCPU{}
		for x := range m.View().NodeTasks("id0") {
			held[x.Partition] += x.Held().CPUs
		}
		if first := m.View().TaskOf(wide, 0); !first.Holds() && !first.State.Final() {
			free := 8000 - held["a"] - held["b"]
			want.idled += 60 * float64(min(free, 6000)) / 8000
			want.waited += 60
			want.got += 60 * float64(held["a"]) / 8000
			want.fair += 60 * m.fair("a")
			idled = idled || free > 0
		}
		m.minute()
	}
	got, since := tallies.Of("a", m.now)
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-3*max(1, b) }
	if !near(got.Idled, want.idled) || !near(got.Waited, want.waited) || !near(got.Got, want.got) || !near(got.Fair, want.fair) || !since.Equal(m.begun) {
		t.Errorf("%+v since %s, counted anew %+v since %s", got, since, want, m.begun)
	}
	if !idled || !m.View().TaskOf(wide, 0).State.Final() || want.waited == 0 {
		t.Errorf("no room was kept idle for the wide one, or it never ran: %+v", want)
	}
	for range 200 {
		m.minute()
	}
	if got, since = tallies.Of("a", m.now); got != (scheduler.Tally{}) || m.now.Sub(since) > 2*time.Hour+time.Minute {
		t.Errorf("after three quiet hours: %+v, of the last %s", got, m.now.Sub(since))
	}
}

func (m *machine) fair(path string) float64 { return beginRound(m.View()).Fair(path) }

// What nobody waits for any more is counted no longer, whoever reads and how often.
func TestTalliesEndWithTheWait(t *testing.T) {
	for _, reads := range []bool{false, true} {
		m := newMachine(t, &api.Partition{Path: "a"}, &api.Partition{Path: "b"})
		tallies := scheduler.NewTallies(scheduler.TallyConfig{Window: 12 * time.Hour, Fair: true})
		m.engine.Count(tallies)
		m.submit("b", api.KindBatch, 1, 4000, 0, 0)
		m.pass()
		wide := m.submit("a", api.KindBatch, 1, 6000, 0, 0)
		m.pass()
		for i := range 50 * 60 {
			m.now = m.now.Add(time.Minute)
			if i%60 == 59 { // as the scheduler's loop does of itself
				m.pass()
			}
			if reads {
				tallies.Of("a", m.now)
			}
			if got, since := tallies.Of("a", m.now); i > 24*60 && math.Abs(got.Idled/m.now.Sub(since).Seconds()-0.5) > 1e-9 {
				t.Fatalf("minute %d: %+v since %s, where half was idle all the time", i, got, since)
			}
		}
		m.do(&fsm.JobStop{Meta: m.meta(), ID: wide})
		m.pass()
		was, _ := tallies.Of("a", m.now)
		m.now = m.now.Add(10 * time.Minute)
		if got, _ := tallies.Of("a", m.now); got.Idle != 0 || got.Idled != was.Idled || got.Waited != was.Waited {
			t.Errorf("ten minutes after the last one was stopped: %+v, then %+v", was, got)
		}
		m.now = m.now.Add(40 * time.Hour)
		if got, since := tallies.Of("a", m.now); got != (scheduler.Tally{}) || m.now.Sub(since) > 24*time.Hour {
			t.Errorf("40 h later: %+v since %s", got, since)
		}
	}
}

// Shares that change in a burst are found once more after it.
func TestTalliesOfABurst(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "a"}, &api.Partition{Path: "b"})
	tallies := scheduler.NewTallies(scheduler.TallyConfig{Fair: true})
	m.engine.Count(tallies)
	first := m.submit("a", api.KindBatch, 8, 1000, 0, 0)
	m.pass()
	m.submit("a", api.KindBatch, 8, 1000, 0, 0)
	m.submit("b", api.KindBatch, 8, 1000, 0, 0)
	m.pass()
	for i := range 4 {
		m.now = m.now.Add(100 * time.Millisecond)
		m.report(m.View().TaskOf(first, i), api.TaskFinished)
		m.pass()
	}
	m.engine.Update(m.View(), nil, true)
	if _, next := m.engine.Decide(m.now); next.IsZero() || next.Sub(m.now) > time.Second {
		t.Fatalf("it looks again at %s, %s", next, m.now)
	}
	m.now = m.now.Add(time.Second)
	m.pass()
	was, _ := tallies.Of("b", m.now)
	m.now = m.now.Add(time.Hour)
	got, _ := tallies.Of("b", m.now)
	if d := (got.Got - was.Got) / 3600; math.Abs(d-0.5) > 1e-9 || math.Abs(got.Got-was.Got-got.Fair+was.Fair) > 1e-6 {
		t.Errorf("b has half, as it is entitled to: counted %v and %v", d, (got.Fair-was.Fair)/3600)
	}
}

// A promise is made by what nodes see to; it is not broken by those who take the time
// that they have to end, and it is by another one who was put first meanwhile.
func TestPromises(t *testing.T) {
	for name, c := range map[string]struct {
		policy      api.Policy
		guarantee   api.MilliCPU
		tidy        time.Duration // the first task ends so long after its time
		above       bool          // another one is put first
		heads, late int
	}{
		"kept":              {heads: 1},
		"tidied up":         {tidy: 5 * time.Second, heads: 1},
		"overdue":           {tidy: time.Minute, heads: 1, late: 1},
		"taken back for it": {guarantee: 8000, tidy: 5*time.Second - 10*time.Minute},
		"another first":     {policy: api.PolicyPriority, above: true, heads: 2, late: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, &api.Partition{Path: "a", Policy: c.policy, Guarantee: api.Amounts{CPUs: c.guarantee}}, &api.Partition{Path: "b"})
			tallies := scheduler.NewTallies(scheduler.TallyConfig{})
			m.engine.Count(tallies)
			first := m.bounded("b", 8, 10, 10)
			m.pass()
			wide := m.bounded("a", 8, 10, 10)
			m.pass()
			if c.above {
				m.submit("a", api.KindBatch, 1, 8000, 50, 30*time.Minute)
				m.pass()
			}
			m.now = m.now.Add(10*time.Minute + c.tidy)
			m.report(m.View().TaskOf(first, 0), api.TaskFinished)
			m.pass()
			for range 40 {
				m.minute()
			}
			if x := m.View().TaskOf(wide, 0); x.Started.IsZero() {
				t.Fatal("it never started")
			}
			if got, _ := tallies.Of("a", m.now); got.Heads != c.heads || got.Late != c.late {
				t.Errorf("%+v, want %d promises, %d broken", got, c.heads, c.late)
			}
		})
	}
}

// Nothing is idle where nothing is free, whatever is left below a limit.
func TestIdleIsFree(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "top", Limit: api.Amounts{CPUs: 4000}}, &api.Partition{Path: "b"})
	for i := range 2 {
		m.do(&fsm.PartitionPut{Meta: m.meta(), Partition: &api.Partition{Path: fmt.Sprint("top/", i)}})
	}
	tallies := scheduler.NewTallies(scheduler.TallyConfig{})
	m.engine.Count(tallies)
	m.bounded("top/0", 2, 10, 10)
	others := m.submit("b", api.KindBatch, 6, 1000, 0, 0)
	m.pass()
	for i := range 2 {
		m.bounded(fmt.Sprint("top/", i), 4, 10, 10)
	}
	m.pass()
	idle := func() (sum float64) {
		for _, path := range []string{"top", "top/0", "top/1", "b"} {
			got, _ := tallies.Of(path, m.now)
			sum += got.Idle
		}
		return sum
	}
	if got := idle(); got > 1e-4 { // a MiB is
		t.Errorf("%v is idle, where nothing is free", got)
	}
	m.report(m.View().TaskOf(others, 0), api.TaskFinished)
	m.pass()
	if got := idle(); got > 0.125+1e-4 {
		t.Errorf("%v is idle, where an eighth is free", got)
	}
}

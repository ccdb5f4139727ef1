package scheduler_test

import (
	"math"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
)

// What is told of the sharing is what was: recounted minute by minute from what runs
// and waits. What is long ago is forgotten.
func TestTalliesAreARecount(t *testing.T) {
	m := newMachine(t, &api.Partition{Path: "a", Weight: 1000}, &api.Partition{Path: "b", Weight: 1000})
	tallies := scheduler.NewTallies(time.Hour, true)
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

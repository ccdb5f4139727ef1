package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A job on hold waits for nothing else, and what it would wait for is said where there
// is something. To release it is advised only where it starts then.
func TestWhyOfAJobOnHold(t *testing.T) {
	s := cluster(t, 1)
	j := submit(t, s, asking("one", func(s *api.JobSpec) { s.CPUs = 2000 }))
	do(t, s, &fsm.JobHold{Meta: fsm.Meta{At: t0}, ID: j.ID})
	schedule(t, s, t0)
	why := whyOf(t, s, j)
	if why.Summary != "one.0 is waiting: job one is on hold" || len(why.Remedies) != 1 || !slices.Equal(why.Hints, []string{"would start now if its job were released: mesita job release one"}) {
		t.Errorf("%q, %q, %+v", why.Summary, why.Hints, why.Remedies)
	}
	submit(t, s, asking("two", func(s *api.JobSpec) {}))
	schedule(t, s, t0)
	why = whyOf(t, s, j)
	if want := "one.0 is waiting: job one is on hold; once it is released: no node can take it now"; why.Summary != want || len(why.Remedies) != 0 ||
		!slices.Equal(why.Hints, []string{"mesita job release one lets it wait in its place"}) {
		t.Errorf("%q, %q, %+v", why.Summary, why.Hints, why.Remedies)
	}
}

// What runs is promised to end by the time that it began with, whatever those that wait
// were given since.
func TestWhatRunsKeepsItsTimeWhenItsJobIsSet(t *testing.T) {
	s := cluster(t, 1)
	j := submit(t, s, asking("one", func(s *api.JobSpec) {
		s.Array, s.CPUs, s.Time = "0-1", 2000, api.Duration(10*time.Minute)
	}))
	schedule(t, s, t0)
	spec := *j.Spec
	spec.Time = api.Duration(time.Minute)
	do(t, s, &fsm.JobSet{Meta: fsm.Meta{At: t0}, ID: j.ID, Spec: &spec})
	if why := whyOf(t, s, j); !why.Estimate.Equal(t0.Add(10 * time.Minute)) {
		t.Errorf("%+v", why)
	}
}

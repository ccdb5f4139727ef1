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

// What a task waits for besides a hold, or as one of a gang, is what a pass finds: one
// whose next attempt is not due, or of whose gang some end or wait, is not tried at all.
func TestWhyOfATaskThatNoPassTries(t *testing.T) {
	end := func(id string, state api.TaskState) fsm.Command {
		code := 1
		return &fsm.TaskReport{Meta: fsm.Meta{At: t0}, Statuses: []api.TaskStatus{{Task: id, Attempt: 1, NodeID: "id0", State: state, ExitCode: &code, Time: t0}}}
	}
	meta := fsm.Meta{At: t0}
	for name, c := range map[string]struct {
		gang int
		ends func(id string) []fsm.Command
		task string // of the job
		want api.ObstacleKind
	}{
		"its attempt failed": {0, func(id string) []fsm.Command { return []fsm.Command{end(id+".0", api.TaskFailed)} }, ".0", api.ObstacleBackoff},
		"some of a gang end": {2, func(id string) []fsm.Command {
			return []fsm.Command{&fsm.JobRequeue{Meta: meta, ID: id}, end(id+".0", api.TaskKilled)}
		}, ".0", api.ObstacleParts},
		"another of it waits": {2, func(id string) []fsm.Command {
			return []fsm.Command{end(id+".1", api.TaskFailed), end(id+".0", api.TaskKilled)}
		}, ".0", api.ObstacleParts},
	} {
		t.Run(name, func(t *testing.T) {
			s := cluster(t, 1)
			j := submit(t, s, asking("one", func(s *api.JobSpec) { s.Gang, s.Retries = c.gang, 3 }))
			schedule(t, s, t0)
			do(t, s, c.ends(j.ID)...)
			for _, held := range []bool{false, true} {
				if held {
					do(t, s, &fsm.JobHold{Meta: meta, ID: j.ID})
				}
				at, tried := s.View().Task(j.ID+c.task), planner
				tried.Now = func() time.Time { return t0 }
				why, err := tried.Explain(s.View(), at.ID)
				if err != nil || !at.Pending() {
					t.Fatalf("%+v, %v", at, err)
				}
				var kinds []api.ObstacleKind
				for _, o := range why.Obstacles {
					kinds = append(kinds, o.Kind)
				}
				want := []api.ObstacleKind{api.ObstacleOnHold, c.want}
				if !held {
					want = want[1:]
				}
				if !held && c.want == api.ObstacleBackoff {
					want = nil // it is said with what ended
				}
				if !slices.Equal(kinds, want) || len(why.Remedies) > 0 || held && c.want == api.ObstacleBackoff && !why.Obstacles[1].Until.Equal(at.NotBefore) {
					t.Errorf("held %t: %q, %+v", held, why.Summary, why.Obstacles)
				}
				schedule(t, s, t0)
				if !s.View().Task(at.ID).Pending() {
					t.Errorf("held %t: it started", held)
				}
			}
		})
	}
}

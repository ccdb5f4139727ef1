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

// A task that waits since enough run is told so, and what would have to be set; a job
// of another user passes, and no room is kept from it.
func TestWhyWhereEnoughRun(t *testing.T) {
	s := cluster(t, 1)
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "p", TaskRules: api.TaskRules{MaxRunningPerUser: 2, MaxRunning: 3}}})
	mine := submit(t, s, asking("mine", func(s *api.JobSpec) { s.Partition, s.Array = "p", "0-4" }))
	schedule(t, s, t0)
	spec := asking("yours", func(s *api.JobSpec) { s.Partition, s.Array, s.Command = "p", "0-1", []string{"/bin/true"} })
	spec.Normalize()
	do(t, s, &fsm.JobCreate{Meta: fsm.Meta{At: t0, Actor: "you"}, Spec: spec})
	why := whyOf(t, s, mine)
	if why.Summary != "mine.2 is waiting: partition p lets at most 2 of one user's tasks run, and 2 do" || why.Obstacles[0].Kind != api.ObstacleRunning ||
		!slices.Equal(why.Hints, []string{"would start now if more tasks might run: mesita partition set p --max-running-per-user 3", "it starts by itself once enough tasks of partition p have ended"}) {
		t.Errorf("%q, %q", why.Summary, why.Hints)
	}
	schedule(t, s, t0)
	if a, b := s.View().Job("mine").Counts, s.View().Job("yours").Counts; a.Starting != 2 || b.Starting != 1 {
		t.Errorf("%+v, %+v", a, b)
	}
	why = whyOf(t, s, s.View().Job("yours"))
	if why.Summary != "yours.1 is waiting: partition p lets at most 3 of its tasks run, and 3 do" || len(why.Remedies) != 1 || !why.Estimate.IsZero() {
		t.Errorf("%q, %+v", why.Summary, why)
	}
	gang := asking("gang", func(s *api.JobSpec) { s.Partition, s.Gang, s.Command = "p", 3, []string{"/bin/true"} })
	if err := planner.CheckFits(s.View(), gang); api.ErrorCode(err) != api.CodeDoesNotFit {
		t.Errorf("a gang of three, of whom two may run: %v", err)
	}
}

// A gang of which not enough may run any more, as the rule came later, keeps nobody
// from running; one for which enough must end first is not passed by its partition.
func TestAGangThatMayNeverRunIsInNobodysWay(t *testing.T) {
	s := cluster(t, 1)
	rules := func(r api.TaskRules) {
		do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "p", TaskRules: r}})
	}
	rules(api.TaskRules{MaxRunning: 1})
	submit(t, s, asking("runs", func(s *api.JobSpec) { s.Partition, s.CPUs = "p", 100 }))
	schedule(t, s, t0)
	submit(t, s, asking("gang", func(s *api.JobSpec) { s.Partition, s.Gang, s.CPUs = "p", 3, 100 }))
	submit(t, s, asking("behind", func(s *api.JobSpec) { s.Partition, s.CPUs = "p", 100 }))
	rules(api.TaskRules{MaxRunning: 3})
	schedule(t, s, t0)
	if n := s.View().Job("behind").Counts.Starting; n != 0 {
		t.Errorf("%d passed a gang that waits for those that run", n)
	}
	for _, r := range []api.TaskRules{{MaxRunning: 2}, {MaxRunningPerUser: 2}} {
		rules(r)
		f := s.View().Fork()
		e := NewEngine(begin)
		e.Update(f.View(), nil, true)
		cmds, _ := e.Decide(t0)
		if placedOn(cmds, "behind", 0) == "" || placedOn(cmds, "gang", 0) != "" {
			t.Errorf("%+v: %+v", r, cmds)
		}
	}
}

// A job for which room is kept counts as if it ran: one of the same user that would
// still run then is not started, and if it is asked why, others are first; one that
// has ended before is.
func TestWhoIsFirstKeepsItsTurnToRun(t *testing.T) {
	s := cluster(t, 1)
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: "p", TaskRules: api.TaskRules{MaxRunningPerUser: 1}}})
	submit(t, s, asking("runs", func(s *api.JobSpec) { s.CPUs, s.Time = 500, api.Duration(10*time.Minute) }))
	schedule(t, s, t0)
	submit(t, s, asking("wide", func(s *api.JobSpec) { s.Partition, s.CPUs = "p", 1600 }))
	long := submit(t, s, asking("long", func(s *api.JobSpec) { s.Partition = "p" }))
	schedule(t, s, t0)
	if n := s.View().Job("long").Counts.Starting; n != 0 {
		t.Errorf("%d passed who is first", n)
	}
	if why := whyOf(t, s, long); why.Obstacles[0].Kind != api.ObstacleOrder {
		t.Errorf("%+v", why.Obstacles)
	}
	spec := asking("yours", func(s *api.JobSpec) { s.Partition, s.Command = "p", []string{"/bin/true"} })
	spec.Normalize()
	do(t, s, &fsm.JobCreate{Meta: fsm.Meta{At: t0, Actor: "you"}, Spec: spec})
	submit(t, s, asking("short", func(s *api.JobSpec) { s.Partition, s.Time = "p", api.Duration(5*time.Minute) }))
	schedule(t, s, t0)
	for job, want := range map[string]int{"wide": 0, "long": 0, "yours": 1, "short": 1} {
		if n := s.View().Job(job).Counts.Starting; n != want {
			t.Errorf("%d of %s started, not %d", n, job, want)
		}
	}
}

package integration

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// A job that was set, moved or held, and is as it was, is served as if nobody had
// touched it.
func TestAJobSetBackIsServedAsIfNeverChanged(t *testing.T) {
	served := 0
	draw.Check(t, func(rt *rapid.T) {
		s := crowded(rt)
		ends := s.ends(rt)
		want := s.decides(ends)
		got := s.decides(append(s.thereAndBack(rt), ends...))
		if got != want {
			rt.Fatalf("it was decided\n%s\nand untouched\n%s", got, want)
		}
		if want != "null" {
			served++
		}
	})
	if served == 0 {
		t.Error("nothing was ever decided")
	}
}

// A job on hold keeps others out no more than one that is not there: neither room on
// nodes, nor below limits, nor its partition's turn.
func TestAJobOnHoldIsInNobodysWay(t *testing.T) {
	matters := 0
	draw.Check(t, func(rt *rapid.T) {
		s := crowded(rt)
		ends := s.ends(rt)
		for j := range s.View().LiveJobs() {
			if j.Counts.Pending != j.Counts.Live() || j.Counts.Pending == 0 || !rapid.Bool().Draw(rt, "job "+j.ID) {
				continue
			}
			held := s.decides(append(ends, &fsm.JobHold{Meta: s.meta(), ID: j.ID}))
			gone := s.decides(append(ends, &fsm.JobStop{Meta: s.meta(), ID: j.ID}))
			if held != gone {
				rt.Fatalf("with job %s on hold\n%s\nand without\n%s", j.ID, held, gone)
			}
			if held != s.decides(ends) {
				matters++
			}
		}
	})
	if matters == 0 {
		t.Error("it never mattered whether a job is on hold")
	}
}

// decides is what the leader, which has decided before, decides once commands took
// effect.
func (s *shared) decides(cmds []fsm.Command) string {
	s.t.Helper()
	e := scheduler.NewEngine(roundOf)
	e.Update(s.View(), nil, true)
	e.Decide(s.now)
	f := s.View().Fork()
	for _, c := range cmds {
		if _, err := f.Do(c); err != nil {
			s.t.Fatalf("%T: %v", c, err)
		}
	}
	e.Update(f.View(), f.Take(), false)
	decided, _ := e.Decide(s.now)
	text, err := json.Marshal(decided)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	return string(text)
}

// bounds lets partitions run a few tasks more than they do, and submits more.
func (s *shared) bounds(rt *rapid.T) {
	for _, path := range []string{"a", "a/b", "c"} {
		p := *s.View().Partition(path)
		p.MaxRunning, p.MaxRunningPerUser = rapid.IntRange(0, 6).Draw(rt, "most "+path), rapid.IntRange(0, 4).Draw(rt, "per user "+path)
		s.partition(&p)
	}
	for i, path := range []string{"a", "a/b", "c", "a/b"} {
		j := batchOf(path, 1+rapid.IntRange(0, 5).Draw(rt, "more"), 100, 1<<20)
		if i == 3 {
			if j.Array, j.Gang = "", 2; !rapid.Bool().Draw(rt, "gang") {
				continue
			}
		}
		s.submit(fmt.Sprint("user", rapid.IntRange(0, 1).Draw(rt, "user")), j)
	}
	s.settle()
}

// No partition lets more tasks start than it says, here and below, in all or of one
// user, whoever decides and however much a pass starts; what runs above that continues.
// Apply and the scheduler agree, or what one refuses the other would ask for for ever.
func TestNoMoreRunThanAPartitionLets(t *testing.T) {
	reached := 0
	draw.Check(t, func(rt *rapid.T) {
		s := crowded(rt)
		before := s.running()
		s.bounds(rt)
		now := s.running()
		for _, path := range []string{"a", "a/b", "c"} {
			p := s.View().Partition(path)
			for who, n := range now[path] {
				most := p.MaxRunningPerUser
				if who == "" {
					most = p.MaxRunning
				}
				if most > 0 && n > most && n > before[path][who] {
					rt.Fatalf("%d of %q run in %s, %d did, and it lets %d", n, who, path, before[path][who], most)
				}
				if most > 0 && n == most {
					reached++
				}
			}
		}
	})
	if reached == 0 {
		t.Error("no bound was ever reached")
	}
}

// running counts the tasks that are on nodes, by partition and those above it, and by
// user there, "" being all.
func (s *shared) running() map[string]map[string]int {
	out := map[string]map[string]int{}
	for n := range s.View().Nodes() {
		for t := range s.View().NodeTasks(n.ID) {
			j := s.View().Job(t.Job)
			for path := t.Partition; path != ""; path = api.ParentPath(path) {
				if out[path] == nil {
					out[path] = map[string]int{}
				}
				out[path][""]++
				out[path][j.Owner()]++
			}
		}
	}
	return out
}

// ends is that some of the tasks that run end.
func (s *shared) ends(rt *rapid.T) (out []fsm.Command) {
	code := 0
	for n := range s.View().Nodes() {
		for t := range s.View().NodeTasks(n.ID) {
			if rapid.IntRange(0, 2).Draw(rt, "end "+t.ID) == 0 {
				out = append(out, &fsm.TaskReport{Meta: s.meta(), Statuses: []api.TaskStatus{{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskFinished, Time: s.now, ExitCode: &code}}})
			}
		}
	}
	return out
}

// thereAndBack changes jobs that wait, and has them be as they were.
func (s *shared) thereAndBack(rt *rapid.T) []fsm.Command {
	var there, back []fsm.Command
	for j := range s.View().LiveJobs() {
		if j.Counts.Pending == 0 {
			continue
		}
		most := 4
		if j.Counts.Pending < j.Counts.Live() {
			most = 3
		}
		spec := *j.Spec
		switch rapid.IntRange(0, most).Draw(rt, "change "+j.ID) {
		case 0:
			continue
		case 1:
			there = append(there, &fsm.JobHold{Meta: s.meta(), ID: j.ID})
			back = append(back, &fsm.JobHold{Meta: s.meta(), ID: j.ID, Release: true})
			continue
		case 2:
			spec.CPUs, spec.Mem = spec.CPUs+500, spec.Mem/2
		case 3:
			spec.Time, spec.Priority = spec.Time+1e9, spec.Priority+1
		case 4:
			spec.Partition = map[string]string{"a": "a/b", "a/b": "c", "c": "a"}[spec.Partition]
		}
		there = append(there, &fsm.JobSet{Meta: s.meta(), ID: j.ID, Spec: &spec, Filled: j.Filled})
		back = append(back, &fsm.JobSet{Meta: s.meta(), ID: j.ID, Spec: j.Spec, Filled: j.Filled})
	}
	return append(there, back...)
}

package fsm

import (
	"slices"
	"testing"

	"github.com/mesita/mesita/api"
)

// A job that is set while it waits keeps its place: its number and time of
// submission; each of its tasks, also those that ran before, asks for the new.
func TestSetKeepsThePlaceInTheQueue(t *testing.T) {
	w := newWorld(t, Newest, 1)
	for _, path := range []string{"a", "b"} {
		p := &api.Partition{Path: path}
		p.Normalize()
		w.do(&PartitionPut{Meta: w.at(), Partition: p})
	}
	set := func(id string, edit func(*api.JobSpec)) error {
		s := *w.View().Job(id).Spec
		edit(&s)
		_, err := w.Do(t.Context(), &JobSet{Meta: w.at(), ID: id, Spec: &s})
		return err
	}
	ahead, id, behind := w.batch(1, 0), w.batch(3, 0), w.batch(1, 0)
	before := w.View().Job(id)
	if !w.place(id+".0", 0) {
		t.Fatal("not placed")
	}
	if err := set(id, func(s *api.JobSpec) { s.Partition = "b" }); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("one of its tasks is on a node of another partition then: %v", err)
	}
	if err := set(id, func(s *api.JobSpec) { s.CPUs = 200 }); err != nil {
		t.Fatal(err)
	}
	if on := w.View().Task(id + ".0"); on.Version != 1 || on.Resources.CPUs != 250 || w.View().Usage("default").Wanted.CPUs != 2*200+2*250 {
		t.Errorf("%+v runs, %+v", on, w.View().Usage("default"))
	}
	w.do(&JobRequeue{Meta: w.at(), ID: id})
	w.report(id+".0", api.TaskKilled, api.ReasonStopped) // ended as it was told
	day := Day(w.now)
	if a := w.View().Accounts(ByShare, day, day, w.now); len(a) != 1 || a[0].Attempts != 1 || a[0].Moved != 1 {
		t.Errorf("it is accounted for as %+v", a)
	}
	if again := w.View().Task(id + ".0"); again.Failures != 0 || !again.Pending() || again.Earlier[0].Reason != api.ReasonStopped {
		t.Errorf("%+v", again)
	}
	if err := set(id, func(s *api.JobSpec) { s.CPUs, s.Priority = 100, 3 }); err != nil {
		t.Fatal(err)
	}
	queue := func(path string) (ids []string) {
		for j := range w.View().PendingJobs(path) {
			ids = append(ids, j.ID)
		}
		return ids
	}
	if got := queue("default"); !slices.Equal(got, []string{ahead, id, behind}) {
		t.Errorf("the queue is %v", got)
	}
	j := w.View().Job(id)
	if j.Seq != before.Seq || !j.Created.Equal(before.Created) || j.Version != 3 || j.Counts.Pending != 3 {
		t.Errorf("%+v", j)
	}
	check := func(path string, cpus api.MilliCPU) {
		t.Helper()
		n := 0
		for task := range w.View().PendingTasks(w.View().Job(id)) {
			if n++; task.Resources.CPUs != cpus || task.Partition != path || task.Version != w.View().Job(id).Version {
				t.Errorf("%+v", task)
			}
		}
		if n != 3 {
			t.Errorf("%d tasks wait", n)
		}
	}
	check("default", 100)
	if err := set(id, func(s *api.JobSpec) { s.Partition = "b" }); err != nil {
		t.Fatal(err)
	}
	check("b", 100)
	if a, b := queue("default"), queue("b"); !slices.Equal(a, []string{ahead, behind}) || !slices.Equal(b, []string{id}) {
		t.Errorf("moved: %v, %v", a, b)
	}
	if v := w.View(); v.Usage("b").Pending != 3 || v.Usage("b").Wanted.CPUs != 300 || v.Usage("default").Pending != 2 || v.PendingCount() != 5 {
		t.Errorf("%+v, %+v", v.Usage("b"), v.Usage("default"))
	}
	if !w.place(id+".0", 0) || !w.place(id+".1", 0) {
		t.Error("it does not start there")
	}
	for what, edit := range map[string]func(*api.JobSpec){"another size": func(s *api.JobSpec) { s.Array = "0-4" }, "another name": func(s *api.JobSpec) { s.Name = "x" }} {
		if err := set(behind, edit); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Nothing of a job that is on hold is placed, whoever decided it; what runs continues,
// and what it would take moves no guarantee.
func TestNothingOfAJobOnHoldIsPlaced(t *testing.T) {
	w := newWorld(t, Newest, 1)
	id := w.batch(3, 2)
	if !w.place(id+".0", 0) {
		t.Fatal("not placed")
	}
	w.do(&JobHold{Meta: w.at(), ID: id}, &JobHold{Meta: w.at(), ID: id})
	if w.place(id+".1", 0) {
		t.Error("a task was placed that has no row")
	}
	if u := w.View().Usage("default"); u.Pending != 2 || u.Running+u.Starting != 1 || !u.Wanted.IsZero() {
		t.Errorf("%+v", u)
	}
	w.do(&JobRequeue{Meta: w.at(), ID: id})
	w.report(id+".0", api.TaskKilled, api.ReasonStopped)
	if w.place(id+".0", 0) {
		t.Error("a task was placed that ran before")
	}
	if _, err := w.Do(t.Context(), &JobRequeue{Meta: w.at(), ID: id}); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("nothing runs: %v", err)
	}
	w.do(&JobHold{Meta: w.at(), ID: id, Release: true})
	if !w.place(id+".0", 0) || !w.place(id+".1", 0) {
		t.Error("released, and not placed")
	}
	gang := testSpec(api.KindBatch, "g", 1)
	gang.Array, gang.Gang, gang.Ports = "", 2, nil
	w.do(&JobCreate{Meta: w.at(), Spec: gang}, &JobHold{Meta: w.at(), ID: "g"})
	both := &TaskPlace{Meta: w.at(), Placements: []Placement{{Job: "g", Index: 0, Attempt: 1, NodeID: nodeID(0)}, {Job: "g", Index: 1, Attempt: 1, NodeID: nodeID(0)}}}
	if n, err := w.Do(t.Context(), both); err != nil || n.(int) != 0 {
		t.Errorf("%v of a gang were placed: %v", n, err)
	}
	w.do(&JobStop{Meta: w.at(), ID: "g"})
	if _, err := w.Do(t.Context(), &JobHold{Meta: w.at(), ID: "g"}); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("it has ended: %v", err)
	}
}

package fsm

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

const testNotice = 30 * time.Second

// noticed is a world in which a task of a partition that gives notice runs.
func noticed(t *testing.T, level Level, gang int) (w *world, id string) {
	w = newWorld(t, level, 2)
	w.knows(level)
	p := &api.Partition{Path: "ml"}
	if level >= features[Notices].level {
		p.Notice = api.Duration(testNotice)
	}
	p.Normalize()
	w.do(&PartitionPut{Meta: w.at(), Partition: p})
	s := testSpec(api.KindBatch, "", 1)
	s.Partition, s.Ports, s.Retries = "ml", nil, 0
	if gang > 0 {
		s.Array, s.Gang = "", gang
	}
	v, err := w.Do(t.Context(), &JobCreate{Meta: w.at(), Spec: s})
	if err != nil {
		t.Fatal(err)
	}
	id = v.(*api.Job).ID
	c := &TaskPlace{Meta: w.at()}
	for i := range max(1, gang) {
		c.Placements = append(c.Placements, Placement{Job: id, Index: i, Attempt: 1, NodeID: nodeID(i)})
	}
	w.do(c)
	for i := range max(1, gang) {
		w.report(api.TaskID(id, i), api.TaskRunning, "")
	}
	return w, id
}

// knows has the programs of all nodes know a level.
func (w *world) knows(level Level) {
	for i := range 2 {
		hello := testHello(64000)
		hello.Level, hello.Resources.Mem = int(level), 64<<30
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(i), Hello: hello})
	}
}

func (w *world) preempt(job string) {
	w.do(&TaskPreempt{Meta: w.at(), Victims: []Victim{{job, 0, 1}}, Cause: "test"})
}

// Who runs where notice is given is told when it ends, by the clock of the log, and
// holds what it has until then, as something that is being taken back. Nothing but
// that time, or who wants it to end at once, ends it.
func TestNoticeComesBeforeTheEnd(t *testing.T) {
	w, id := noticed(t, Newest, 0)
	begin := w.now
	w.preempt(id)
	task := w.View().TaskOf(id, 0)
	if !task.Leaving() || !task.Leaves.Equal(begin.Add(testNotice)) || task.Reason != api.ReasonPreempted {
		t.Fatalf("%+v", task)
	}
	if _, _, coming := w.View().Room(task.NodeID); !coming.Fits(task.Resources) {
		t.Errorf("%s are being taken back, and it holds %s", coming, task.Resources)
	}
	for _, early := range []Command{
		&TaskLeave{Meta: w.at(), Victims: []Victim{{id, 0, 1}}},
		&TaskPreempt{Meta: w.at(), Victims: []Victim{{id, 0, 1}}, Cause: "another"},
		&TaskPreempt{Meta: w.at(), Victims: []Victim{{id, 0, 1}}, Freeze: true, Cause: "another"},
		&TaskThaw{Meta: w.at(), Victims: []Victim{{id, 0, 1}}},
	} {
		w.do(early)
		if now := w.View().TaskOf(id, 0); now != task {
			t.Fatalf("%T: %+v", early, now)
		}
	}
	w.now = *task.Leaves
	w.do(&TaskLeave{Meta: w.at(), Victims: []Victim{{id, 0, 2}}})
	if now := w.View().TaskOf(id, 0); now != task {
		t.Fatalf("as another attempt: %+v", now)
	}
	w.do(&TaskLeave{Meta: w.at(), Victims: []Victim{{id, 0, 1}}})
	if now := w.View().TaskOf(id, 0); now.Desired != api.DesiredMove || !now.Preempted.Equal(w.now) || w.View().LeavingCount() != 0 {
		t.Fatalf("when it is due: %+v", now)
	}
	if now := w.report(id+".0", api.TaskKilled, api.ReasonPreempted); !now.Pending() || now.Leaves != nil || now.Failures != 0 {
		t.Errorf("then: %+v", now)
	}
	checkSums(t, w.View())
	for want, c := range map[api.Desired]Command{
		api.DesiredStop: &JobStop{Meta: Meta{At: begin}},
		api.DesiredMove: &TaskStop{Meta: Meta{At: begin}, Move: true, Reason: api.ReasonDrained},
	} {
		w, id := noticed(t, Newest, 0)
		w.preempt(id)
		if stop, ok := c.(*JobStop); ok {
			stop.ID = id
		} else {
			c.(*TaskStop).IDs = []string{id + ".0"}
		}
		w.do(c)
		if now := w.View().TaskOf(id, 0); now.Desired != want {
			t.Errorf("%T: it is to %s", c, now.Desired)
		}
		checkSums(t, w.View())
	}
}

// Whoever ends before it must is finished if it says so, has failed by a limit of its
// own, and otherwise waits again, which costs no retry.
func TestWhoLeavesBeforeItMust(t *testing.T) {
	for _, c := range []struct {
		state  api.TaskState
		reason api.Reason
		want   api.JobState
	}{
		{api.TaskFinished, api.ReasonExited, api.JobFinished},
		{api.TaskFailed, api.ReasonExited, api.JobPending},
		{api.TaskFailed, api.ReasonSignaled, api.JobPending},
		{api.TaskFailed, api.ReasonTimeLimit, api.JobFailed},
		{api.TaskFailed, api.ReasonOOM, api.JobFailed},
		{api.TaskFailed, api.ReasonDiskFull, api.JobFailed},
	} {
		w, id := noticed(t, Newest, 0)
		w.preempt(id)
		task := w.report(id+".0", c.state, c.reason)
		if j := w.View().Job(id); j.State.Ended() != (c.want != api.JobPending) || j.State.Ended() && j.State != c.want || !j.State.Ended() && j.Counts.Pending != 1 {
			t.Errorf("%s, %s: the job is %s, %+v", c.state, c.reason, j.State, j.Counts)
		}
		if failed := c.want == api.JobFailed; (task.Failures > 0) != failed {
			t.Errorf("%s, %s: %+v", c.state, c.reason, task)
		}
		checkSums(t, w.View())
	}
}

// A gang is told as a whole, of one time.
func TestAGangIsToldAsAWhole(t *testing.T) {
	w, id := noticed(t, Newest, 2)
	w.preempt(id)
	a, b := w.View().TaskOf(id, 0), w.View().TaskOf(id, 1)
	if !a.Leaving() || !b.Leaving() || !a.Leaves.Equal(*b.Leaves) || b.Reason != api.ReasonGang {
		t.Fatalf("%+v\n%+v", a, b)
	}
	w.report(a.ID, api.TaskFailed, api.ReasonExited)
	if b = w.View().TaskOf(id, 1); !b.Leaving() || !a.Leaves.Equal(*b.Leaves) {
		t.Errorf("once one has left the other is to %s by %v, and was told %v", b.Desired, b.Leaves, a.Leaves)
	}
}

// Who has left early is left alone as long as who did not.
func TestWhoLeavesEarlyIsLeftAlone(t *testing.T) {
	w, id := noticed(t, Newest, 0)
	w.preempt(id)
	w.now = w.now.Add(testNotice / 2)
	w.report(w.View().TaskOf(id, 0).ID, api.TaskFailed, api.ReasonExited)
	if next := w.View().TaskOf(id, 0); next.Attempt != 2 || !next.Preempted.Equal(w.now) {
		t.Errorf("attempt %d counts as preempted at %s, and the first one ended at %s", next.Attempt, next.Preempted, w.now)
	}
}

// A process that is another by now leaves for the same reason.
func TestARestartKeepsWhyATaskLeaves(t *testing.T) {
	w, id := noticed(t, Newest, 0)
	w.preempt(id)
	old := w.View().TaskOf(id, 0)
	w.do(&TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{{Task: old.ID, Attempt: old.Attempt, NodeID: old.NodeID, State: api.TaskRunning, PID: old.PID + 1, Time: w.now}}})
	if now := w.View().TaskOf(id, 0); now.PID != old.PID+1 || !now.Leaving() || now.Reason != old.Reason || now.Message != old.Message || now.Reason == "" {
		t.Errorf("%+v, and before %+v", now, old)
	}
}

// At once ends what does not run yet, what is frozen, what a node runs that knows of
// no notice, and all below the level.
func TestWhoGetsNoNotice(t *testing.T) {
	is := func(name string, w *world, id string) {
		t.Helper()
		w.preempt(id)
		if task := w.View().TaskOf(id, 0); task.Desired != api.DesiredMove || task.Leaves != nil {
			t.Errorf("%s: %+v", name, task)
		}
		checkSums(t, w.View())
	}
	w, id := noticed(t, features[Notices].level-1, 0)
	is("below the level", w, id)
	if err := w.View().Allows(&PartitionPut{Meta: w.at(), Partition: &api.Partition{Path: "ml", Notice: api.Duration(testNotice)}}); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("below the level it may be set: %v", err)
	}
	w, id = noticed(t, Newest, 0)
	w.knows(features[Notices].level - 1)
	is("on an older node", w, id)
	w, id = noticed(t, Newest, 0)
	w.do(&TaskPreempt{Meta: w.at(), Victims: []Victim{{id, 0, 1}}, Freeze: true, Cause: "test"})
	task := w.View().TaskOf(id, 0)
	w.do(&TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{{Task: task.ID, Attempt: 1, NodeID: task.NodeID, State: api.TaskRunning, PID: 1, Frozen: true, Time: w.now}}})
	w.now = w.now.Add(time.Hour)
	is("frozen", w, id)
	w = newWorld(t, Newest, 2)
	w.knows(Newest)
	w.do(&PartitionPut{Meta: w.at(), Partition: &api.Partition{Path: api.DefaultPartition, Notice: api.Duration(testNotice)}})
	id = w.batch(1, 0)
	w.place(id+".0", 0)
	is("before it runs", w, id)
}

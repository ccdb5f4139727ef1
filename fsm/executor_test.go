package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// hosted is a cluster in which framework f runs tasks a and b with executor e on the first
// node.
func hosted(t *testing.T) *Store {
	t.Helper()
	s := offered(t)
	a := accept(t, s, []string{"o0"}, hostedOf(launchOf("a", 100), "e"), hostedOf(launchOf("b", 100), "e"))
	if a.Invalid != "" || a.Refused[0] != "" || a.Refused[1] != "" {
		t.Fatalf("accepted %+v", a)
	}
	return s
}

func executorOf(t *testing.T, s *Store) *api.Task {
	t.Helper()
	e := s.View().Executor("f", nodeID(0), "e")
	if e == nil {
		t.Fatal("there is no executor")
	}
	return e
}

// says is what an executor says of a task, by an id of that number.
func says(t *testing.T, s *Store, task string, n int, state api.TaskState) int {
	t.Helper()
	row := s.View().FrameworkTask("f", task)
	return propose(t, s, &TaskReport{Meta: Meta{At: testInit().At}, Statuses: []api.TaskStatus{{Task: row.ID, Attempt: 1, NodeID: row.NodeID, State: state, Time: testInit().At,
		Update: &api.ExecutorUpdate{ID: fmt.Appendf(nil, "update-%09d", n), Status: []byte("status")}}}}).(int)
}

// nodeSays is what a node says of a row by itself.
func nodeSays(t *testing.T, s *Store, row *api.Task, state api.TaskState, reason api.Reason) {
	t.Helper()
	propose(t, s, &TaskReport{Meta: Meta{At: testInit().At}, Statuses: []api.TaskStatus{{Task: row.ID, Attempt: 1, NodeID: row.NodeID, State: state, PID: 7, Reason: reason, Time: testInit().At}}})
}

// Tasks of one executor share it: it is started with the first of them, and charged once.
func TestAnExecutorIsStartedOnce(t *testing.T) {
	s := hosted(t)
	e := executorOf(t, s)
	if free := s.View().Free(nodeID(0)); free.CPUs != 4000-200-50 {
		t.Errorf("%s are free", free.CPUs)
	}
	offerAll(t, s, "f")
	if a := accept(t, s, []string{"o0"}, hostedOf(launchOf("c", 100), "e")); a.Refused[0] != "" || executorOf(t, s).ID != e.ID {
		t.Fatalf("accepted %+v", a)
	}
	as := s.View().Assignments(nodeID(0))
	if len(as) != 4 || as[0].Task.ID != e.ID || string(as[0].Task.Framework.Info) != "info" || len(as[0].Spec.Command) == 0 || as[1].Task.Framework.Executor != "e" || len(as[1].Spec.Command) > 0 {
		t.Errorf("the node is told %+v", as)
	}
	if got := s.View().Hosted(e); len(got) != 3 {
		t.Errorf("it runs %d tasks", len(got))
	}
	checkSums(t, s.View())
}

// Rules 9 and 10 of a task's validation: what its framework says of an executor does not
// change while it runs, and both have to fit what is offered.
func TestTasksAndExecutorsAreRefusedTogether(t *testing.T) {
	other := hostedOf(launchOf("c", 100), "e")
	other.Executor.Task.Digest = []byte("other")
	nameless := hostedOf(launchOf("c", 100), "e")
	nameless.Executor = nil
	for name, c := range map[string]struct {
		l    FrameworkLaunch
		want string
	}{
		"another executor of that id": {other, "not compatible"},
		"no executor":                 {nameless, "which executor"},
		"more than is offered":        {hostedOf(launchOf("c", 3750), "new"), "Total resources"},
		"just what is offered":        {hostedOf(launchOf("c", 3700), "new"), ""},
	} {
		s := hosted(t)
		offerAll(t, s, "f")
		a := accept(t, s, []string{"o0"}, c.l)
		if (a.Refused[0] == "") != (c.want == "") || !strings.Contains(a.Refused[0], c.want) {
			t.Errorf("%s: %q", name, a.Refused[0])
		}
		if v := s.View(); c.want != "" && (v.FrameworkTask("f", "c") != nil || v.Executor("f", nodeID(0), "new") != nil) {
			t.Errorf("%s: something is started", name)
		}
		checkSums(t, s.View())
	}
}

// The tasks of a command that share an executor are said to with its id alone, which counts
// for the same executor only.
func TestAnExecutorIsWrittenOnce(t *testing.T) {
	s := offered(t)
	first, second, other := hostedOf(launchOf("a", 100), "e"), hostedOf(launchOf("b", 100), "e"), hostedOf(launchOf("c", 100), "e")
	second.Executor = first.Executor.Reference()
	other.Executor.Task.Digest = []byte("other")
	other.Executor = other.Executor.Reference()
	refused := first
	refused.Resources.CPUs = 5000
	a := accept(t, s, []string{"o0"}, refused, second, other)
	if a.Refused[0] == "" || a.Refused[1] != "" || !strings.Contains(a.Refused[2], "which executor") {
		t.Fatalf("accepted %+v", a)
	}
	if e := executorOf(t, s); string(e.Framework.Info) != "info" || a.Left.CPUs != 4000-100-e.Resources.CPUs {
		t.Errorf("the executor is %+v, takes %s, and leaves %s", e.Framework, e.Resources, a.Left)
	}
}

// An executor whose framework says nothing of memory has what is usual, unless a task that
// it begins with says something.
func TestAnExecutorBeginsWithMemory(t *testing.T) {
	for name, c := range map[string]struct{ executor, task, charged api.Bytes }{
		"neither says":   {0, 0, api.DefaultMem},
		"the task says":  {0, 64 << 20, 0},
		"the other says": {32 << 20, 0, 32 << 20},
	} {
		s := offered(t)
		l := hostedOf(launchOf("a", 100), "e")
		l.Executor.Task.Spec.Mem = api.DefaultMem
		l.Resources.Mem, l.Executor.Resources.Mem = c.task, c.executor
		accept(t, s, []string{"o0"}, l)
		if got := executorOf(t, s).Resources.Mem; got != c.charged {
			t.Errorf("%s: it is charged %s", name, got)
		}
		checkSums(t, s.View())
	}
}

// A program sees GPUs if it began with some: its own, or those of what it begins with.
func TestAnExecutorIsGivenNoGPUsLater(t *testing.T) {
	for name, c := range map[string]struct {
		own, first, second int64 // of the executor, and of tasks started with it
		later              string
	}{
		"none":             {0, 0, 0, "began without GPUs"},
		"its own":          {1, 0, 0, ""},
		"its first task's": {0, 1, 0, ""},
		"its second's":     {0, 0, 1, ""},
	} {
		s := NewStore(nil)
		h := testHello(4000)
		h.Level, h.Resources.GPUs = int(Newest), 4
		propose(t, s, testInit(), &NodeHello{ID: nodeID(0), Hello: h}, &PartitionPut{Partition: &api.Partition{Path: "ml", Weight: 1000}})
		connect(t, s, "f", "s1")
		offer := func() {
			propose(t, s, &OfferMake{Offers: []*api.Offer{{ID: "o0", Framework: "f", Partition: api.DefaultPartition, NodeID: nodeID(0), Resources: s.View().Free(nodeID(0))}}})
		}
		with := func(id string, gpus int64) FrameworkLaunch {
			l := hostedOf(launchOf(id, 100), "e")
			l.Resources.GPUs, l.Executor.Resources.GPUs = gpus, c.own
			return l
		}
		offer()
		if a := accept(t, s, []string{"o0"}, with("a", c.first), with("b", c.second)); a.Refused[0] != "" || a.Refused[1] != "" {
			t.Fatalf("%s: %+v", name, a)
		}
		for _, id := range []string{"a", "b"} {
			says(t, s, id, 1, api.TaskFinished)
		}
		offer()
		a := accept(t, s, []string{"o0"}, with("c", 1), with("d", 0))
		if (a.Refused[0] == "") != (c.later == "") || !strings.Contains(a.Refused[0], c.later) || a.Refused[1] != "" {
			t.Errorf("%s: later %+v", name, a)
		}
	}
}

// A program that does not know executors is not told of any.
func TestExecutorsNeedALevelOfTheNode(t *testing.T) {
	s := offered(t)
	h := testHello(4000)
	h.Level = int(features[Frameworks].level) - 1
	propose(t, s, &NodeHello{ID: nodeID(0), Hello: h})
	a := accept(t, s, []string{"o0"}, hostedOf(launchOf("a", 100), "e"))
	if a.Invalid != "" || !strings.Contains(a.Refused[0], "older mesita") {
		t.Errorf("accepted %+v", a)
	}
}

// ShutdownExecutor, in scheduler_tests.cpp of Mesos.
func TestShutdownExecutor(t *testing.T) {
	s := hosted(t)
	e := executorOf(t, s)
	says(t, s, "a", 1, api.TaskRunning)
	if _, err := try(t, s, &FrameworkShutdown{Framework: "f", NodeID: nodeID(1), Executor: "e"}); err == nil {
		t.Error("an executor of another node is shut down")
	}
	if n := propose(t, s, &FrameworkShutdown{Framework: "f", NodeID: nodeID(0), Executor: "e"}); n != 1 || executorOf(t, s).Desired != api.DesiredStop {
		t.Fatalf("%d executors are told", n)
	}
	offerAll(t, s, "f")
	if a := accept(t, s, []string{"o0"}, hostedOf(launchOf("c", 100), "e")); a.Refused[0] == "" || !a.Ending[0] {
		t.Errorf("a task is given to an executor that is about to end: %+v", a)
	}
	says(t, s, "a", 2, api.TaskKilled)
	nodeSays(t, s, e, api.TaskKilled, api.ReasonStopped)
	v := s.View()
	if a, b := v.FrameworkTask("f", "a"), v.FrameworkTask("f", "b"); a.State != api.TaskKilled || b.State != api.TaskFailed || b.Reason != api.ReasonExecutorEnded {
		t.Errorf("its tasks are %s and %s (%s)", a.State, b.State, b.Reason)
	}
	if v.Executor("f", nodeID(0), "e") != nil || v.FrameworkTask("f", "") != nil || news(s, "") != nil {
		t.Error("the executor is there, or is told as a task")
	}
	checkSums(t, v)
}

// What an executor ran ends with it, in the same entry, and by why it did.
func TestTasksEndWithTheirExecutor(t *testing.T) {
	for _, c := range []struct {
		reason  api.Reason
		killed  bool // a was told to end
		moved   api.Reason
		a, b    api.TaskState
		reasons [2]api.Reason
	}{
		{api.ReasonExited, false, "", api.TaskFailed, api.TaskFailed, [2]api.Reason{api.ReasonExecutorEnded, api.ReasonExecutorEnded}},
		{api.ReasonExited, true, "", api.TaskKilled, api.TaskFailed, [2]api.Reason{api.ReasonStopped, api.ReasonExecutorEnded}},
		{api.ReasonOOM, false, "", api.TaskFailed, api.TaskFailed, [2]api.Reason{api.ReasonOOM, api.ReasonOOM}},
		{api.ReasonExecutorSilent, false, "", api.TaskFailed, api.TaskFailed, [2]api.Reason{api.ReasonExecutorSilent, api.ReasonExecutorSilent}},
		{api.ReasonPreempted, false, api.ReasonPreempted, api.TaskKilled, api.TaskKilled, [2]api.Reason{api.ReasonPreempted, api.ReasonPreempted}},
	} {
		s := hosted(t)
		e := executorOf(t, s)
		if c.killed {
			propose(t, s, &FrameworkKill{Framework: "f", Task: "a"})
		}
		if c.moved != "" {
			propose(t, s, &TaskStop{IDs: []string{e.ID}, Move: true, Reason: c.moved})
		}
		nodeSays(t, s, e, api.TaskFailed, c.reason)
		v := s.View()
		a, b := v.FrameworkTask("f", "a"), v.FrameworkTask("f", "b")
		if a.State != c.a || b.State != c.b || a.Reason != c.reasons[0] || b.Reason != c.reasons[1] || v.Free(nodeID(0)).CPUs != 4000 {
			t.Errorf("%+v: they are %s (%s) and %s (%s)", c, a.State, a.Reason, b.State, b.Reason)
		}
		if got := news(s, "a"); len(got) != 1 {
			t.Errorf("its end is told as %v", got)
		}
		for n := range v.Incidents() {
			if n.Object != e.ID {
				t.Errorf("the end of the executor is an incident of %s, too", n.Object)
			}
		}
		checkSums(t, v)
	}
}

// A node that is lost takes executors and what they run with it as any task.
func TestExecutorsOfALostNode(t *testing.T) {
	for state, want := range map[api.NodeState]api.TaskState{api.NodeUnreachable: api.TaskUnreachable, api.NodeGone: api.TaskGoneByOperator} {
		s := hosted(t)
		at := testInit().At
		propose(t, s, &NodeState{Meta: Meta{At: at}, ID: nodeID(0), State: api.NodeUnreachable, Since: s.View().Node(nodeID(0)).Since})
		if state == api.NodeGone {
			propose(t, s, &NodeRemove{Meta: Meta{At: at}, ID: nodeID(0), Force: true})
		}
		for _, id := range []string{"a", "b"} {
			if got := s.View().FrameworkTask("f", id); got.State != want || got.Reason != api.ReasonNodeLost {
				t.Errorf("task %s is %s (%s)", id, got.State, got.Reason)
			}
			ends := 0
			for _, e := range s.RecentEvents(ringSize) {
				if e.Kind == api.EventTaskState && e.Object == s.View().FrameworkTask("f", id).ID {
					ends++
				}
			}
			if most := map[api.NodeState]int{api.NodeUnreachable: 1, api.NodeGone: 2}[state]; ends != most {
				t.Errorf("what became of task %s is told %d times, want %d", id, ends, most)
			}
		}
		checkSums(t, s.View())
	}
}

// StatusUpdate: an executor's word is told as it said it, by its own id, once, in order,
// also where the state is the same; and never after an end.
func TestWhatAnExecutorSays(t *testing.T) {
	s := hosted(t)
	for _, c := range []struct {
		n       int
		state   api.TaskState
		changes int
	}{
		{1, api.TaskStaging, 0}, {2, api.TaskUnreachable, 0},
		{3, api.TaskStarting, 1}, {3, api.TaskStarting, 0}, {4, api.TaskRunning, 1}, {3, api.TaskRunning, 0}, {5, api.TaskRunning, 1}, {6, api.TaskStarting, 0},
		{7, api.TaskFinished, 1}, {7, api.TaskFinished, 0}, {8, api.TaskFailed, 0},
	} {
		if n := says(t, s, "a", c.n, c.state); n != c.changes {
			t.Errorf("update %d, %s: %d changes, want %d", c.n, c.state, n, c.changes)
		}
	}
	if got := news(s, "a"); !slices.Equal(got, []string{"starting", "running", "running", "finished"}) {
		t.Fatalf("it is told %v", got)
	}
	for n := range s.View().FrameworkNews("f") {
		if u := n.Updates[1]; string(u.ID) != "update-000000004" || string(u.Status) != "status" {
			t.Errorf("it is told %+v", u)
		}
	}
	// What was acknowledged is not told again, though the executor may not know and ask.
	propose(t, s, &FrameworkKill{Framework: "f", Task: "b"})
	says(t, s, "b", 9, api.TaskRunning)
	b := s.View().FrameworkTask("f", "b")
	propose(t, s, &FrameworkAck{Framework: "f", Acks: []Ack{{b.Job, b.Index, []byte("update-000000009")}}})
	if says(t, s, "b", 9, api.TaskRunning) != 0 || news(s, "b") != nil {
		t.Error("an update is told twice")
	}
	if got := s.View().FrameworkTask("f", "b"); got.Reason != api.ReasonStopped {
		says(t, s, "b", 10, api.TaskKilled)
		t.Errorf("why it is to end is forgotten: %q", got.Reason)
	}
	checkSums(t, s.View())
}

// What an executor says fills no memory, though nobody acknowledges it.
func TestUpdatesOfAnExecutorAreBounded(t *testing.T) {
	s := hosted(t)
	row := s.View().FrameworkTask("f", "a")
	for i := range 2 * api.MaxFrameworkUpdates {
		propose(t, s, &TaskReport{Statuses: []api.TaskStatus{{Task: row.ID, Attempt: 1, NodeID: row.NodeID, State: api.TaskRunning,
			Update: &api.ExecutorUpdate{ID: fmt.Appendf(nil, "update-%09d", i), Status: bytes.Repeat([]byte("x"), api.MaxExecutorUpdate)}}}})
		checkSums(t, s.View())
	}
	if says(t, s, "a", 100, api.TaskFinished) != 1 {
		t.Error("its end is not told")
	}
	if got := news(s, "a"); got[len(got)-1] != "finished" {
		t.Errorf("it is told %v", got)
	}
}

// TaskGroupRunning and its like: tasks of a group start together or not at all, and end
// together if one does not finish.
func TestTaskGroups(t *testing.T) {
	group := func(id string, cpus api.MilliCPU) FrameworkLaunch {
		l := launchOf(id, cpus)
		l.Task.Group, l.Task.GroupExecutor = "g", "default"
		return l
	}
	s := offered(t)
	if a := accept(t, s, []string{"o0"}, group("a", 2000), group("b", 2001), launchOf("c", 100)); a.Refused[0] != a.Refused[1] || !strings.Contains(a.Refused[0], "Task 'b' is invalid") || a.Refused[2] != "" {
		t.Fatalf("accepted %+v", a)
	}
	offerAll(t, s, "f")
	if a := accept(t, s, []string{"o0"}, group("a", 100), group("a", 100)); !strings.Contains(a.Refused[0], "duplicate ID") {
		t.Errorf("accepted %+v", a)
	}
	for _, state := range []api.TaskState{api.TaskFinished, api.TaskFailed, api.TaskKilled} {
		s := offered(t)
		accept(t, s, []string{"o0"}, launchOf("before", 100), group("a", 100), group("b", 100), group("d", 100))
		accept(t, s, []string{"o1"}, group("other", 100))
		nodeSays(t, s, s.View().FrameworkTask("f", "d"), api.TaskFinished, api.ReasonExited)
		nodeSays(t, s, s.View().FrameworkTask("f", "b"), state, api.ReasonExited)
		v := s.View()
		want := api.DesiredStop
		if state == api.TaskFinished {
			want = api.DesiredRun
		}
		if a := v.FrameworkTask("f", "a"); a.Desired != want || a.Framework.GroupExecutor != "default" {
			t.Errorf("after one is %s the other is wanted as %s", state, a.Desired)
		}
		for _, id := range []string{"before", "other"} {
			if v.FrameworkTask("f", id).Desired != api.DesiredRun {
				t.Errorf("%s is of no or another group, and is told to end", id)
			}
		}
		checkSums(t, v)
	}
}

// A framework that is removed ends its executors, too.
func TestExecutorsEndWithTheirFramework(t *testing.T) {
	s := hosted(t)
	propose(t, s, &FrameworkRemove{Meta: Meta{At: testInit().At}, ID: "f"})
	if e := executorOf(t, s); e.Desired != api.DesiredStop {
		t.Errorf("it is wanted as %s", e.Desired)
	}
	nodeSays(t, s, executorOf(t, s), api.TaskKilled, api.ReasonStopped)
	if got := s.View().FrameworkTask("f", "a"); got.State != api.TaskKilled {
		t.Errorf("its task is %s", got.State)
	}
	checkSums(t, s.View())
}

// What runs in an executor is not stopped in place: nothing of it would stop.
func TestExecutorsAreNotFrozen(t *testing.T) {
	s := hosted(t)
	for _, row := range []*api.Task{executorOf(t, s), s.View().FrameworkTask("f", "a")} {
		nodeSays(t, s, row, api.TaskRunning, "")
		propose(t, s, &TaskPreempt{Meta: Meta{At: testInit().At}, Freeze: true, Victims: []Victim{{row.Job, row.Index, 1}}})
		if got := s.View().Task(row.ID); got.Desired != api.DesiredMove {
			t.Errorf("%s is wanted as %s", row.ID, got.Desired)
		}
	}
}

// What nodes say of the tasks of frameworks is in no log that an older voter reads.
func TestWhatExecutorsSayNeedsALevel(t *testing.T) {
	for _, level := range []Level{Frameworks.Level() - 1, Frameworks.Level()} {
		for name, st := range map[string]api.TaskStatus{"update": {Update: &api.ExecutorUpdate{}}, "healthy": {Healthy: new(true)}, "check": {Check: &api.ProbeStatus{}}} {
			if err := storeAt(t, level).View().Allows(&TaskReport{Statuses: []api.TaskStatus{st}}); (err == nil) != (level >= Frameworks.Level()) {
				t.Errorf("%s at level %d: %v", name, level, err)
			}
		}
	}
}

// What an executor says of a task whose state stays as it is, is for its framework: everybody
// else is told of the states that it comes to have.
func TestWhatChangesNoStateIsNoEvent(t *testing.T) {
	s := hosted(t)
	for n, state := range []api.TaskState{api.TaskStarting, api.TaskRunning, api.TaskRunning, api.TaskRunning, api.TaskFinished} {
		if says(t, s, "a", n, state) != 1 {
			t.Errorf("update %d changes nothing", n)
		}
	}
	var states []string
	for _, e := range s.RecentEvents(ringSize) {
		if e.Kind == api.EventTaskState && e.Object == s.View().FrameworkTask("f", "a").ID {
			states = append(states, e.Task.State.Word())
		}
	}
	if !slices.Equal(states, []string{"starting", "running", "finished"}) {
		t.Errorf("everybody is told %v", states)
	}
	if got := news(s, "a"); len(got) != 5 {
		t.Errorf("its framework is told %v", got)
	}
}

// Why a task is to end is not forgotten as its check finds something meanwhile.
func TestChecksOfATaskThatIsToEnd(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	report(t, s, "a", api.TaskRunning)
	propose(t, s, &FrameworkKill{Framework: "f", Task: "a"})
	row := s.View().FrameworkTask("f", "a")
	st := api.TaskStatus{Task: row.ID, Attempt: 1, NodeID: row.NodeID, State: api.TaskRunning, PID: 7, Healthy: new(true), Message: "it answers"}
	if row.State != api.TaskRunning {
		t.Fatalf("it is %s", row.State)
	}
	if propose(t, s, &TaskReport{Statuses: []api.TaskStatus{st}}).(int) != 1 {
		t.Fatal("what was found is not taken")
	}
	if got := s.View().FrameworkTask("f", "a"); got.Reason != api.ReasonStopped || got.Healthy == nil {
		t.Errorf("it ends for %q", got.Reason)
	}
}

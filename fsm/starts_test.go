package fsm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// world is a cluster at a level, with so many ready nodes.
type world struct {
	*testing.T
	*Store
	now time.Time
}

func newWorld(t *testing.T, level Level, nodes int) *world {
	t.Helper()
	w := &world{T: t, Store: storeAt(t, level), now: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
	w.do(&TokenCreate{Meta: w.at(), Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}})
	for i := range nodes {
		if i > 0 {
			w.do(&NodeJoin{Meta: w.at(), Token: "t1", Hash: "h", NodeID: nodeID(i), Name: fmt.Sprint("n", i)})
		}
		h := testHello(64000)
		h.Resources.Mem = 64 << 30
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(i), Hello: h})
	}
	return w
}

func (w *world) at() Meta { return Meta{At: w.now} }

func (w *world) do(cmds ...Command) {
	w.Helper()
	res, err := w.Propose(context.Background(), cmds...)
	if err != nil {
		w.Fatal(err)
	}
	for i, r := range res {
		if r.Err != nil {
			w.Fatalf("%T: %v", cmds[i], r.Err)
		}
	}
}

// batch submits an array without ports.
func (w *world) batch(n, retries int) string {
	w.Helper()
	s := testSpec(api.KindBatch, "", n)
	s.Retries, s.Ports = retries, nil
	v, err := w.Do(context.Background(), &JobCreate{Meta: w.at(), Spec: s})
	if err != nil {
		w.Fatal(err)
	}
	return v.(*api.Job).ID
}

// place puts a task on a node, with ports that are free there, and reports whether
// that was accepted.
func (w *world) place(id string, node int) bool {
	w.Helper()
	t := w.View().Task(id)
	p := Placement{Job: t.Job, Index: t.Index, Attempt: t.Attempt, NodeID: nodeID(node)}
	if ports := w.View().Job(t.Job).SpecOf(t.Version).Ports; len(ports) > 0 {
		_, free, _ := w.View().Room(p.NodeID)
		need := t.Resources
		p.Ports, p.Resources = map[string]int{}, &need
		for _, want := range ports {
			n := int64(20000)
			for !free.Ports.Contains(api.Ranges{{First: n, Last: n}}) && n < 20099 {
				n++
			}
			one := api.Ranges{{First: n, Last: n}}
			p.Ports[want.Name], need.Ports, free.Ports = int(n), need.Ports.Union(one), free.Ports.Minus(one)
		}
	}
	v, err := w.Do(context.Background(), &TaskPlace{Meta: w.at(), Placements: []Placement{p}})
	if err != nil {
		w.Fatal(err)
	}
	return v.(int) == 1
}

func (w *world) report(id string, state api.TaskState, reason api.Reason) *api.Task {
	w.Helper()
	t := w.View().Task(id)
	s := api.TaskStatus{Task: id, Attempt: t.Attempt, NodeID: t.NodeID, State: state, Reason: reason, Message: "it says " + string(reason), Time: w.now}
	if state == api.TaskRunning {
		s.PID = 7
	}
	w.do(&TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{s}})
	return w.View().Task(id)
}

// fails has a task fail to start on a node.
func (w *world) fails(id string, node int, reason api.Reason) *api.Task {
	w.Helper()
	if !w.place(id, node) {
		w.Fatalf("%s was not placed on node %d", id, node)
	}
	return w.report(id, api.TaskFailed, reason)
}

func (w *world) open(kind api.IncidentKind) (n int) {
	for i := range w.View().Incidents() {
		if i.Kind == kind && i.Over.IsZero() {
			n++
		}
	}
	return n
}

// A start that failed for the node's reasons is made again, at once and without
// a retry, and is not an incident of the task's.
func TestFailedStartCostsNothing(t *testing.T) {
	for _, reason := range []api.Reason{api.ReasonInternal, api.ReasonDiskFull, api.ReasonKeeperLost, api.ReasonStartFailed, api.ReasonFetchFailed, api.ReasonUnsupported} {
		w := newWorld(t, 1, 3)
		id := w.batch(1, 0) + ".0"
		task := w.fails(id, 0, reason)
		if !task.Pending() || task.Failures != 0 || !task.NotBefore.IsZero() || task.Attempt != 2 {
			t.Fatalf("%s: %+v", reason, task)
		}
		if w.open(api.IncidentTaskFailed) > 0 {
			t.Errorf("%s is an incident", reason)
		}
		if ids, _ := w.View().Avoids(w.View().Job(task.Job), w.now); len(ids) != 1 || !ids[nodeID(0)] {
			t.Errorf("%s: the job avoids %v", reason, ids)
		}
		if w.place(id, 1); w.report(id, api.TaskRunning, "").State != api.TaskRunning {
			t.Errorf("%s: it does not run elsewhere", reason)
		}
	}
}

// At level 0 all is as it was: old voters apply the same.
func TestFailedStartAtLevel0(t *testing.T) {
	w := newWorld(t, 0, 3)
	id := w.batch(1, 0) + ".0"
	if task := w.fails(id, 0, api.ReasonInternal); task.State != api.TaskFailed || w.View().Node(nodeID(0)).Starts != nil || w.View().Job(task.Job).Avoid != nil {
		t.Fatalf("%+v", task)
	}
}

// What ran and failed is the task's own affair.
func TestFailureOfWhatRanIsItsOwn(t *testing.T) {
	w := newWorld(t, 1, 3)
	id := w.batch(1, 0) + ".0"
	w.place(id, 0)
	w.report(id, api.TaskRunning, "")
	if task := w.report(id, api.TaskFailed, api.ReasonInternal); task.State != api.TaskFailed {
		t.Fatalf("%+v", task)
	}
}

// The same failure on three distinct nodes is the task's own, and so is one on
// all the nodes that there are.
func TestFailureEverywhereIsItsOwn(t *testing.T) {
	for nodes, tries := range map[int]int{1: 1, 2: 2, 3: 3, 5: 3} {
		w := newWorld(t, 1, nodes)
		id := w.batch(1, 0) + ".0"
		for i := range tries - 1 {
			if task := w.fails(id, i, api.ReasonStartFailed); !task.Pending() {
				t.Fatalf("%d nodes: %s after %d", nodes, task.State, i+1)
			}
		}
		task := w.fails(id, tries-1, api.ReasonStartFailed)
		if task.State != api.TaskFailed || task.Reason != api.ReasonStartFailed || task.Message != "it says start_failed" {
			t.Fatalf("%d nodes: %+v", nodes, task)
		}
		if j := w.View().Job(task.Job); j.State != api.JobFailed {
			t.Errorf("%d nodes: the job is %s", nodes, j.State)
		}
	}
}

// Of an array whose program is nowhere each task ends, whatever the order.
func TestProgramThatIsNowhere(t *testing.T) {
	w := newWorld(t, 1, 3)
	job := w.batch(30, 1)
	for starts := 0; !w.View().Job(job).State.Ended(); starts++ {
		if starts > 30*2*api.MaxAttempts {
			t.Fatal("it never ends")
		}
		w.now = w.now.Add(2 * time.Minute)
		for task := range w.View().PendingTasks(w.View().Job(job)) {
			w.fails(task.ID, (starts+task.Index)%3, api.ReasonStartFailed)
			break
		}
	}
	if c := w.View().Job(job).Counts; c.Failed != 30 {
		t.Fatalf("%+v", c)
	}
}

// A single node whose disk is broken fails no task for minutes: they wait,
// longer each time.
func TestNoOtherNode(t *testing.T) {
	w := newWorld(t, 1, 1)
	id := w.batch(1, 0) + ".0"
	last := time.Duration(0)
	for range 5 {
		task := w.fails(id, 0, api.ReasonInternal)
		wait := task.NotBefore.Sub(w.now)
		if !task.Pending() || wait <= last {
			t.Fatalf("waits %s after %s: %+v", wait, last, task)
		}
		last = wait
		w.now = task.NotBefore
	}
}

// Three tasks that do not start within ten seconds stop placement on their node,
// with an incident; one trial each half minute finds out when it is over.
func TestNodeThatStartsNothing(t *testing.T) {
	w := newWorld(t, 1, 3)
	job := w.batch(20, 0)
	task := func(i int) string { return api.TaskID(job, i) }
	node := func() *api.Node { return w.View().Node(nodeID(0)) }
	w.fails(task(0), 0, api.ReasonInternal)
	w.fails(task(1), 0, api.ReasonInternal)
	w.now = w.now.Add(troubleWithin)
	w.fails(task(2), 0, api.ReasonInternal)
	if !node().Schedulable() || len(node().Starts.Failed) != 1 {
		t.Fatalf("closed for what is long ago: %+v", node().Starts)
	}
	w.fails(task(3), 0, api.ReasonInternal)
	w.fails(task(3), 0, api.ReasonInternal)
	if !node().Schedulable() {
		t.Fatal("closed for two tasks, of which one failed twice")
	}
	w.fails(task(4), 0, api.ReasonDiskFull)
	if node().Schedulable() || w.open(api.IncidentStartsFail) != 1 || len(node().Troubles()) != 1 {
		t.Fatalf("not closed: %+v", node().Starts)
	}
	if w.place(task(5), 0) {
		t.Fatal("a task was placed there")
	}
	due, ok := w.View().TrialDue(node(), w.now)
	if !ok || due.Sub(w.now) != trialEvery {
		t.Fatalf("trial %v %v", due.Sub(w.now), ok)
	}
	w.now = due
	trial := &NodeTrial{Meta: w.at(), ID: nodeID(0), Since: node().Starts.Since}
	w.do(trial)
	if !w.place(task(5), 0) || w.place(task(6), 0) {
		t.Fatal("a trial is one task")
	}
	if _, ok := w.View().TrialDue(node(), w.now.Add(time.Hour)); ok {
		t.Fatal("a second trial while the first is under way")
	}
	w.report(task(5), api.TaskFailed, api.ReasonInternal)
	if due, ok := w.View().TrialDue(node(), w.now); node().Schedulable() || !ok || due.Sub(w.now) != trialEvery {
		t.Fatalf("after a trial that failed: %v %v", due.Sub(w.now), ok)
	}
	if due, ok := w.View().TrialDue(node(), w.now.Add(-time.Hour)); !ok || due.After(w.now) {
		t.Fatal("a clock that was set back stops the trials")
	}
	w.now = due.Add(time.Minute)
	trial.Meta = w.at()
	w.do(trial)
	w.place(task(6), 0)
	w.report(task(6), api.TaskRunning, "")
	if !node().Schedulable() || node().Starts != nil || w.open(api.IncidentStartsFail) != 0 {
		t.Fatalf("it starts tasks again: %+v", node().Starts)
	}
	if c := w.View().Job(job).Counts; c.Failed != 0 || c.Pending != 19 {
		t.Fatalf("%+v", c)
	}
}

// A task that is over before anybody heard that it runs is proof enough that its
// node starts tasks, whatever it ended with; at the levels of before it was none.
func TestAShortRunIsAStart(t *testing.T) {
	for level := range Newest + 1 {
		w := newWorld(t, level, 2)
		job := w.batch(9, 0)
		for i := range troubleStarts {
			w.fails(api.TaskID(job, i), 0, api.ReasonInternal)
		}
		if level == 0 {
			continue // nothing was noted of starts
		}
		if w.View().Node(nodeID(0)).Schedulable() {
			t.Fatal("not closed")
		}
		w.now, _ = w.View().TrialDue(w.View().Node(nodeID(0)), w.now)
		w.do(&NodeTrial{Meta: w.at(), ID: nodeID(0), Since: w.View().Node(nodeID(0)).Starts.Since})
		if !w.place(api.TaskID(job, 3), 0) {
			t.Fatalf("at level %d the trial is not placed: %+v", level, w.View().Node(nodeID(0)).Starts)
		}
		now := w.View().Task(api.TaskID(job, 3))
		w.do(&TaskReport{Meta: w.at(), Statuses: []api.TaskStatus{{Task: now.ID, Attempt: now.Attempt, NodeID: now.NodeID, State: api.TaskFailed, Reason: api.ReasonExited, PID: 7, Time: w.now}}})
		if got := w.View().Node(nodeID(0)).Schedulable(); got != level.Has(ShortRuns) {
			t.Errorf("at level %d it is open: %v", level, got)
		}
	}
}

// What is missing on a node is the job's affair: it closes the node for nobody
// else.
func TestMissingProgramClosesNoNode(t *testing.T) {
	w := newWorld(t, 1, 3)
	job := w.batch(5, 0)
	for i := range 5 {
		w.fails(api.TaskID(job, i), 0, api.ReasonStartFailed)
	}
	if n := w.View().Node(nodeID(0)); !n.Schedulable() || n.Starts != nil {
		t.Fatalf("%+v", n.Starts)
	}
	ids, again := w.View().Avoids(w.View().Job(job), w.now)
	if !ids[nodeID(0)] || again.Sub(w.now) != avoidFor {
		t.Fatalf("avoids %v until %v", ids, again)
	}
	if ids, _ := w.View().Avoids(w.View().Job(job), again); ids != nil {
		t.Fatalf("still avoids %v", ids)
	}
}

// A whole gang may be a node's trial.
func TestGangIsATrial(t *testing.T) {
	w := newWorld(t, 1, 1)
	job := w.batch(3, 0)
	for i := range 3 {
		w.fails(api.TaskID(job, i), 0, api.ReasonInternal)
	}
	s := testSpec(api.KindBatch, "gang", 1)
	s.Array, s.Gang, s.Ports = "", 3, nil
	w.do(&JobCreate{Meta: w.at(), Spec: s}, &NodeTrial{Meta: w.at(), ID: nodeID(0), Since: w.View().Node(nodeID(0)).Starts.Since})
	var all []Placement
	for i := range 3 {
		all = append(all, Placement{Job: "gang", Index: i, Attempt: 1, NodeID: nodeID(0)})
	}
	w.do(&TaskPlace{Meta: w.at(), Placements: all})
	if c := w.View().Job("gang").Counts; c.Starting != 3 || w.View().Node(nodeID(0)).Schedulable() {
		t.Fatalf("%+v", c)
	}
}

// What is known of a node is over when it is rebooted, silent, stopped or
// removed.
func TestTroubleEndsWithItsNode(t *testing.T) {
	for name, change := range map[string]func(w *world) Command{
		"rebooted": func(w *world) Command {
			h := testHello(64000)
			h.Resources.Mem, h.Boot = 64<<30, "b2"
			return &NodeHello{Meta: w.at(), ID: nodeID(0), Hello: h}
		},
		"silent": func(w *world) Command {
			return &NodeState{Meta: w.at(), ID: nodeID(0), State: api.NodeUnreachable, Since: w.View().Node(nodeID(0)).Since}
		},
		"stopped": func(w *world) Command {
			return &NodeState{Meta: w.at(), ID: nodeID(0), State: api.NodeDown, Since: w.View().Node(nodeID(0)).Since}
		},
		"removed": func(w *world) Command { return &NodeRemove{Meta: w.at(), ID: nodeID(0), Force: true} },
	} {
		w := newWorld(t, 1, 2)
		job := w.batch(3, 0)
		for i := range 3 {
			w.fails(api.TaskID(job, i), 0, api.ReasonInternal)
		}
		w.do(change(w))
		if w.View().Node(nodeID(0)).Starts != nil || w.open(api.IncidentStartsFail) != 0 {
			t.Errorf("%s: still in trouble", name)
		}
	}
}

// What one user's tasks do leaves no node alone that others use, too: three starts that
// fail are of two users at least, or all that there is is one's. So it is in whatever
// order they fail; below the level a single job was enough.
func TestOneUserStopsNoNode(t *testing.T) {
	for level := WidelyFailed.Level() - 1; level <= Newest; level++ {
		wall := level.Has(WidelyFailed)
		for _, c := range []struct {
			jobs   string // whose each is
			failed string // the jobs of which one task each fails, in this order
			open   bool
		}{
			{"aab", "000", wall}, {"aab", "010101", wall}, {"aab", "00002", false}, {"aab", "20000", false}, {"aab", "0210", false},
			{"aab", "02", true}, {"a", "000", false}, {"aa", "001", false}, {"ab", "1111", wall},
		} {
			w := newWorld(t, level, 2)
			jobs, next := []string{}, map[int]int{}
			for _, who := range c.jobs {
				s := testSpec(api.KindBatch, "", 9)
				s.Ports = nil
				v, err := w.Do(context.Background(), &JobCreate{Meta: Meta{At: w.now, Actor: "token:" + string(who)}, Spec: s})
				if err != nil {
					t.Fatal(err)
				}
				jobs = append(jobs, v.(*api.Job).ID)
			}
			for _, job := range c.failed {
				n := int(job - '0')
				if id := api.TaskID(jobs[n], next[n]); w.place(id, 0) {
					w.report(id, api.TaskFailed, api.ReasonInternal)
				}
				next[n]++
				if !wall && len(c.failed) < 3 {
					w.now = w.now.Add(troubleWithin)
				}
			}
			if got := w.View().Node(nodeID(0)).Schedulable(); got != c.open {
				t.Errorf("level %d, jobs of %s, failed %s: open %v, want %v: %+v", level, c.jobs, c.failed, got, c.open, w.View().Node(nodeID(0)).Starts)
			}
		}
	}
}

// Whether all that failed is one user's is known without a look at the jobs, however
// many there are: here none is left to look at.
func TestAFailedStartLooksAtNoOtherJob(t *testing.T) {
	w := newWorld(t, Newest, 1)
	for _, who := range []string{"a", "a", "b"} {
		w.do(&JobCreate{Meta: Meta{At: w.now, Actor: "token:" + who}, Spec: testSpec(api.KindBatch, "", 1)})
	}
	tables := w.Store.t.freeze()
	tables.jobs = newTable(&jobNoun)
	x := &tx{tables: &tables}
	for user, others := range map[string]bool{"token:a": true, "token:b": true, "nobody": true} {
		if got := x.onesOwn([]api.FailedStart{{Owner: user}, {Owner: user}}); got != others {
			t.Errorf("%s: %v", user, got)
		}
	}
	if x.onesOwn([]api.FailedStart{{Owner: "token:a"}, {Owner: "token:b"}}) {
		t.Error("two users failed")
	}
}

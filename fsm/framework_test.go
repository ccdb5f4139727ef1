package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// offered is a cluster of two nodes on which framework f has all room on offer: o0 and o1.
func offered(t *testing.T) *Store {
	t.Helper()
	s := NewStore(nil)
	propose(t, s, testInit(), &TokenCreate{Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}},
		&NodeJoin{Token: "t1", Hash: "h", NodeID: nodeID(1), Name: "n1"}, &PartitionPut{Partition: &api.Partition{Path: "ml", Weight: 1000}})
	for i := range 2 {
		h := testHello(4000)
		h.Level = int(Newest)
		propose(t, s, &NodeHello{ID: nodeID(i), Hello: h})
	}
	connect(t, s, "f", "s1")
	offerAll(t, s, "f")
	return s
}

func connect(t *testing.T, s *Store, id, session string) {
	t.Helper()
	propose(t, s, &FrameworkPut{Meta: Meta{Actor: "token:spark"}, Connect: true, Framework: &api.Framework{ID: id, Name: "Spark (Go)", Session: session, Partitions: []string{api.DefaultPartition, "ml"}}})
}

func offerAll(t *testing.T, s *Store, framework string) {
	t.Helper()
	for i := range 2 {
		propose(t, s, &OfferMake{Offers: []*api.Offer{{ID: fmt.Sprint("o", i), Framework: framework, Partition: api.DefaultPartition, NodeID: nodeID(i), Resources: s.View().Free(nodeID(i))}}})
	}
}

func propose(t *testing.T, s *Store, cmds ...Command) any {
	t.Helper()
	var last any
	for _, c := range cmds {
		v, err := try(t, s, c)
		if err != nil {
			t.Fatalf("%T: %v", c, err)
		}
		last = v
	}
	return last
}

func try(t *testing.T, s *Store, c Command) (any, error) {
	t.Helper()
	res, err := s.Propose(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return res[0].Value, res[0].Err
}

func launchOf(id string, cpus api.MilliCPU) FrameworkLaunch {
	return FrameworkLaunch{Task: &api.FrameworkTask{ID: id, Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Command: []string{"sleep", "9"}}}}, Resources: api.Resources{CPUs: cpus, Mem: 64 << 20}}
}

func accept(t *testing.T, s *Store, offers []string, tasks ...FrameworkLaunch) *Accepted {
	t.Helper()
	return propose(t, s, &FrameworkAccept{Framework: "f", Session: "s1", Offers: offers, Tasks: tasks}).(*Accepted)
}

func report(t *testing.T, s *Store, id string, state api.TaskState) {
	t.Helper()
	task := s.View().FrameworkTask("f", id)
	propose(t, s, &TaskReport{Statuses: []api.TaskStatus{{Task: task.ID, Attempt: task.Attempt, NodeID: task.NodeID, State: state, PID: 7, Time: testInit().At}}})
}

// news is what framework f is to be told of a task, as words.
func news(s *Store, id string) (out []string) {
	for n := range s.View().FrameworkNews("f") {
		if n.Task == id {
			for _, u := range n.Updates {
				out = append(out, u.State.Word())
			}
		}
	}
	return out
}

func TestAcceptTakesOffersAndStartsTasksAtOnce(t *testing.T) {
	s := offered(t)
	a := accept(t, s, []string{"o0"}, launchOf("a", 1000), launchOf("b", 3500), launchOf("c", 500))
	if a.Invalid != "" || a.Refused[0] != "" || a.Refused[2] != "" || !strings.Contains(a.Refused[1], "more than was offered") {
		t.Fatalf("accepted %+v", a)
	}
	v := s.View()
	task := v.FrameworkTask("f", "a")
	if task == nil || task.NodeID != nodeID(0) || task.State != api.TaskStaging || v.FrameworkTask("f", "b") != nil {
		t.Fatalf("task %+v", task)
	}
	if j := v.Job(task.Job); j.Spec.Kind != api.KindFramework || j.Spec.Name != "spark-go" || j.Framework != "f" || j.Counts.Starting != 2 || j.Actor != "token:spark" {
		t.Errorf("its job is %+v", j)
	}
	if free := v.Free(nodeID(0)); free.CPUs != 2500 {
		t.Errorf("the rest of the offer is not free: %s", free)
	}
	as := v.Assignments(nodeID(0))
	if len(as) != 2 || as[0].Spec.Command[0] != "sleep" || as[0].Restarts || as[0].Task.Framework.Spec != nil {
		t.Errorf("the node is told %+v", as)
	}
}

func TestOffersAreTakenTogetherOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		offers []string
		why    string
		left   int // offers that stand after it
	}{
		{nil, "No offers specified", 2},
		{[]string{"o0", "o0"}, "Duplicate offer o0 in offer list", 1},
		{[]string{"o0", "gone"}, "Offer gone is no longer valid", 1},
		{[]string{"o0", "o1"}, "must belong to one single agent", 0},
	} {
		s := offered(t)
		a := accept(t, s, c.offers, launchOf("a", 100))
		if !strings.Contains(a.Invalid, c.why) || s.View().FrameworkTask("f", "a") != nil {
			t.Errorf("%v: %+v", c.offers, a)
		}
		left := 0
		for range s.View().Offers() {
			left++
		}
		if left != c.left {
			t.Errorf("%v: %d offers stand, want %d", c.offers, left, c.left)
		}
	}
	s := offered(t)
	propose(t, s, &FrameworkPut{Connect: true, Framework: &api.Framework{ID: "g", Name: "g", Session: "s1", Partitions: []string{api.DefaultPartition}}})
	a := propose(t, s, &FrameworkAccept{Framework: "g", Session: "s1", Offers: []string{"o0"}, Tasks: []FrameworkLaunch{launchOf("a", 1)}}).(*Accepted)
	if a.Invalid == "" || s.View().Free(nodeID(0)).CPUs != 0 {
		t.Errorf("another framework takes an offer: %+v", a)
	}
	if _, err := try(t, s, &FrameworkAccept{Framework: "f", Session: "old", Offers: []string{"o0"}}); err == nil {
		t.Error("a session that is over takes an offer")
	}
}

func TestTwoOffersOfOneNodeAreOneRoom(t *testing.T) {
	s := offered(t)
	propose(t, s, &OfferRemove{IDs: []string{"o0"}})
	half := api.Resources{CPUs: 2000, Mem: 256 << 20}
	propose(t, s, &OfferMake{Offers: []*api.Offer{{ID: "a", Framework: "f", Partition: api.DefaultPartition, NodeID: nodeID(0), Resources: half},
		{ID: "b", Framework: "f", Partition: api.DefaultPartition, NodeID: nodeID(0), Resources: half}}})
	if a := accept(t, s, []string{"a", "b"}, launchOf("x", 3000)); a.Invalid != "" || a.Refused[0] != "" {
		t.Errorf("accepted %+v", a)
	}
}

func TestATasksIDIsItsFrameworksWhileItLives(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	if a := accept(t, s, []string{"o1"}, launchOf("a", 100)); a.Refused[0] != "Task has duplicate ID: a" {
		t.Fatalf("accepted %+v", a)
	}
	first := s.View().FrameworkTask("f", "a").ID
	report(t, s, "a", api.TaskFinished)
	offerAll(t, s, "f")
	if a := accept(t, s, []string{"o0"}, launchOf("a", 100)); a.Refused[0] != "" || s.View().FrameworkTask("f", "a").ID == first {
		t.Fatalf("an id is not free once its task has ended: %+v", a)
	}
}

// Each change of a task waits until it is acknowledged, in order, whoever leads.
func TestUpdatesWaitForTheirAcknowledgement(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	if got := news(s, "a"); got != nil {
		t.Errorf("a task that was just accepted is told as %v", got)
	}
	for _, state := range []api.TaskState{api.TaskStarting, api.TaskRunning, api.TaskRunning, api.TaskFinished} {
		report(t, s, "a", state)
	}
	if got := news(s, "a"); !slices.Equal(got, []string{"starting", "running", "finished"}) {
		t.Fatalf("it is told %v", got)
	}
	var row News
	for row = range s.View().FrameworkNews("f") {
	}
	if bytes.Equal(row.Updates[0].ID, row.Updates[1].ID) || len(row.Updates[0].ID) != 16 {
		t.Errorf("ids of updates: %x and %x", row.Updates[0].ID, row.Updates[1].ID)
	}
	ack := func(id []byte) int {
		return propose(t, s, &FrameworkAck{Framework: "f", Acks: []Ack{{row.Job, row.Index, id}}}).(int)
	}
	if ack(row.Updates[1].ID) != 0 || ack(row.Updates[0].ID) != 1 || ack(row.Updates[0].ID) != 0 || ack(row.Updates[1].ID) != 1 || ack(row.Updates[2].ID) != 1 {
		t.Error("what is acknowledged is not the oldest update, once")
	}
	if got := news(s, "a"); got != nil {
		t.Errorf("it is told %v again", got)
	}
}

// A framework's task is never tried again, or elsewhere, whatever ends it: that is for its
// framework to decide.
func TestAFrameworkDecidesWhatFollowsAnEnd(t *testing.T) {
	victim := func(s *Store) []Victim {
		task := s.View().FrameworkTask("f", "a")
		return []Victim{{task.Job, task.Index, task.Attempt}}
	}
	for _, c := range []struct {
		name string
		do   func(s *Store)
		end  api.TaskState // that its node reports then; 0: none
		want api.TaskState
	}{
		{"fails", func(*Store) {}, api.TaskFailed, api.TaskFailed},
		{"is preempted", func(s *Store) { propose(t, s, &TaskPreempt{Victims: victim(s)}) }, api.TaskKilled, api.TaskKilled},
		{"is drained", func(s *Store) {
			propose(t, s, &TaskStop{IDs: []string{s.View().FrameworkTask("f", "a").ID}, Move: true, Reason: api.ReasonDrained})
		}, api.TaskKilled, api.TaskKilled},
		{"is killed", func(s *Store) { propose(t, s, &FrameworkKill{Framework: "f", Task: "a"}) }, api.TaskKilled, api.TaskKilled},
		{"its node is lost", func(s *Store) {
			propose(t, s, &NodeState{Meta: Meta{At: testInit().At}, ID: nodeID(0), State: api.NodeUnreachable, Since: s.View().Node(nodeID(0)).Since})
		}, 0, api.TaskUnreachable},
		{"its node comes back", func(s *Store) {
			propose(t, s, &NodeState{Meta: Meta{At: testInit().At}, ID: nodeID(0), State: api.NodeUnreachable, Since: s.View().Node(nodeID(0)).Since})
			propose(t, s, &NodeHello{Meta: Meta{At: testInit().At}, ID: nodeID(0), Hello: testHello(4000)})
		}, 0, api.TaskRunning},
		{"ended while its node was lost", func(s *Store) {
			propose(t, s, &NodeState{Meta: Meta{At: testInit().At}, ID: nodeID(0), State: api.NodeUnreachable, Since: s.View().Node(nodeID(0)).Since})
		}, api.TaskFinished, api.TaskFinished},
		{"its node is removed", func(s *Store) { propose(t, s, &NodeRemove{ID: nodeID(0), Force: true}) }, 0, api.TaskGoneByOperator},
	} {
		s := offered(t)
		accept(t, s, []string{"o0"}, launchOf("a", 100))
		report(t, s, "a", api.TaskRunning)
		c.do(s)
		if c.end != 0 {
			report(t, s, "a", c.end)
		}
		task := s.View().FrameworkTask("f", "a")
		if task.State != c.want || task.Attempt != 1 || len(task.Earlier) > 0 || task.Pending() {
			t.Errorf("a task that %s is %s, attempt %d, pending %v", c.name, task.State, task.Attempt, task.Pending())
		}
		if got := news(s, "a"); got[len(got)-1] != c.want.Word() {
			t.Errorf("of a task that %s the framework is told %v", c.name, got)
		}
		checkSums(t, s.View())
	}
}

func TestAKillMayGiveAnotherTime(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	grace := api.Duration(5 * time.Second)
	propose(t, s, &FrameworkKill{Framework: "f", Task: "a", Grace: &grace})
	as := s.View().Assignments(nodeID(0))
	if as[0].Spec.StopGrace != grace || as[0].Task.Desired != api.DesiredStop {
		t.Errorf("the node is told %+v, %s", as[0].Spec, as[0].Task.Desired)
	}
	if _, err := try(t, s, &FrameworkKill{Framework: "f", Task: "b"}); err == nil {
		t.Error("what is not there is killed")
	}
}

func TestAFrameworkThatIsAwayKeepsWhatRuns(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	if _, err := try(t, s, &FrameworkLeave{ID: "f", Session: "old"}); err == nil {
		t.Error("an earlier connection that ends has it away")
	}
	propose(t, s, &FrameworkLeave{ID: "f", Session: "s1"})
	v := s.View()
	if f := v.Framework("f"); f.Connected || v.FrameworkTask("f", "a").Desired != api.DesiredRun || v.Free(nodeID(1)).CPUs != 4000 {
		t.Fatalf("framework %+v", f)
	}
	if n := propose(t, s, &OfferMake{Offers: []*api.Offer{{ID: "x", Framework: "f", Partition: api.DefaultPartition, NodeID: nodeID(1), Resources: api.Resources{CPUs: 1}}}}).(int); n != 0 {
		t.Error("who is away is offered something")
	}
	connect(t, s, "f", "s2")
	for session, want := range map[string]int{"s1": 0, "s2": 1} {
		if n := propose(t, s, &OfferMake{Sessions: map[string]string{"f": session}, Offers: []*api.Offer{{ID: "x", Framework: "f", Partition: api.DefaultPartition, NodeID: nodeID(1), Resources: api.Resources{CPUs: 1}}}}).(int); n != want {
			t.Errorf("%d of what was decided for session %s is offered to session s2", n, session)
		}
	}
	if _, err := try(t, s, &FrameworkRemove{ID: "f", Session: "s1"}); err == nil {
		t.Error("who came back is removed for having been away")
	}
	propose(t, s, &FrameworkRemove{Meta: Meta{At: testInit().At}, ID: "f"})
	if task := s.View().FrameworkTask("f", "a"); task.Desired != api.DesiredStop || news(s, "a") != nil {
		t.Errorf("what a removed framework ran is wanted: %s", task.Desired)
	}
	if _, err := try(t, s, &FrameworkPut{Connect: true, Framework: &api.Framework{ID: "f", Name: "f", Session: "s3"}}); err == nil {
		t.Error("a framework that was removed comes back")
	}
}

// Who lost its leader keeps its offers; who connects anew by itself does not.
func TestOffersOutliveALeader(t *testing.T) {
	for keep, want := range map[bool]int{true: 2, false: 0} {
		s := offered(t)
		f := *s.View().Framework("f")
		f.Session = "s2"
		propose(t, s, &FrameworkPut{Connect: true, KeepOffers: keep, Framework: &f})
		n := 0
		for range s.View().Offers() {
			n++
		}
		if n != want {
			t.Errorf("with KeepOffers %v, %d offers stand", keep, n)
		}
	}
	s := offered(t)
	f := *s.View().Framework("f")
	f.Partitions = []string{"ml"}
	propose(t, s, &FrameworkPut{Framework: &f})
	for o := range s.View().Offers() {
		t.Errorf("offer %s stands in a partition that the framework left", o.ID)
	}
	f.Principal = "somebody"
	if _, err := try(t, s, &FrameworkPut{Connect: true, Framework: &f}); err == nil {
		t.Error("another principal takes a framework over")
	}
}

// What ended is remembered, but not all of it for ever.
func TestEndedTasksOfAFrameworkAreBounded(t *testing.T) {
	s := offered(t)
	const more = 50
	for i := range api.MaxFrameworkEnded + forgetMore + more {
		id := fmt.Sprint(i)
		if i > 0 {
			offerAll(t, s, "f")
		}
		accept(t, s, []string{"o0"}, launchOf(id, 100))
		if i == 0 {
			continue // it runs on
		}
		report(t, s, id, api.TaskFinished)
		for n := range s.View().FrameworkNews("f") {
			propose(t, s, &FrameworkAck{Framework: "f", Acks: []Ack{{n.Job, n.Index, n.Updates[0].ID}}})
		}
	}
	n := 0
	for range s.View().FrameworkTasks("f") {
		n++
	}
	if n > api.MaxFrameworkEnded+forgetMore+1 || n < api.MaxFrameworkEnded || s.View().FrameworkTask("f", "0") == nil || s.View().FrameworkTask("f", "1") != nil {
		t.Errorf("%d tasks are remembered", n)
	}
	checkSums(t, s.View())
}

// The job of a framework is stopped with the framework alone.
func TestAFrameworksJobIsNotStoppedByItself(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	id := s.View().FrameworkTask("f", "a").Job
	for _, c := range []Command{&JobStop{ID: id}, &JobScale{ID: id, Count: 3}, &JobUpdate{ID: id, Spec: testSpec(api.KindService, "x", 1)}, &JobHold{ID: id}, &JobRequeue{ID: id}, &JobRemove{IDs: []string{id}}} {
		if _, err := try(t, s, c); err == nil {
			t.Errorf("%T changes the job of a framework", c)
		}
	}
}

// A partition is removed beside frameworks that run nothing there; one that is drained
// ends what they run.
func TestPartitionsOfFrameworksAreRemoved(t *testing.T) {
	for _, runs := range []bool{false, true} {
		s := offered(t)
		propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}}, &OfferMake{Offers: []*api.Offer{{ID: "m", Framework: "f", Partition: "ml", NodeID: nodeID(0), Resources: api.Resources{CPUs: 1000, Mem: 256 << 20}}}})
		accept(t, s, []string{"m"}, launchOf("a", 100))
		if !runs {
			report(t, s, "a", api.TaskFinished)
		}
		job := s.View().FrameworkTask("f", "a").Job
		if _, err := try(t, s, &PartitionRemove{Path: "ml"}); (err != nil) != runs {
			t.Fatalf("with a task that runs %v it is removed: %v", runs, err)
		}
		if runs {
			propose(t, s, &PartitionRemove{Path: "ml", Drain: true})
			if s.View().FrameworkTask("f", "a").Desired != api.DesiredStop {
				t.Fatal("what runs in a partition that is drained may stay")
			}
			report(t, s, "a", api.TaskKilled)
			propose(t, s, &PartitionRemove{Path: "ml"})
		}
		v := s.View()
		if f := v.Framework("f"); v.Partition("ml") != nil || f.In("ml") || !f.Connected || !v.Job(job).State.Ended() {
			t.Errorf("after it is removed the framework is in %v, its job %s", f.Partitions, v.Job(job).State)
		}
	}
}

// What holds for jobs of a partition holds for frameworks, too: its nodes, and those of the
// partitions above, and the most that one task may have.
func TestRulesOfPartitionsHoldForFrameworks(t *testing.T) {
	for name, p := range map[string]*api.Partition{
		"nodes": {Path: "ml", Weight: 1000, Nodes: []api.Constraint{{Attr: "zone", Op: "=", Value: "b"}}},
		"cpus":  {Path: "ml", Weight: 1000, TaskRules: api.TaskRules{MaxCPUs: 50}},
	} {
		s := offered(t)
		propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}}, &PartitionPut{Partition: p}, &PartitionPut{Partition: &api.Partition{Path: "ml/train", Weight: 1000}})
		f := *s.View().Framework("f")
		f.Partitions = append(f.Partitions, "ml/train")
		propose(t, s, &FrameworkPut{Framework: &f}, &OfferMake{Offers: []*api.Offer{{ID: "m", Framework: "f", Partition: "ml/train", NodeID: nodeID(0), Resources: api.Resources{CPUs: 1000, Mem: 256 << 20}}}})
		l := launchOf("a", 100)
		l.Task.Spec.CPUs = 100
		if a := accept(t, s, []string{"m"}, l); a.Invalid != "" || a.Refused[0] == "" {
			t.Errorf("%s: a rule of the partition above does not hold: %+v", name, a)
		}
	}
}

// What was told to end is out of reach with its node, as it may run still, and continues to
// end once that answers. Of a framework that is gone nothing is waited for.
func TestWhatWasToEndOnALostNode(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100), launchOf("b", 100))
	report(t, s, "a", api.TaskRunning)
	report(t, s, "b", api.TaskRunning)
	propose(t, s, &FrameworkKill{Framework: "f", Task: "a"})
	report(t, s, "a", api.TaskKilling)
	now := testInit().At
	lose := func() {
		now = now.Add(time.Minute)
		propose(t, s, &NodeState{Meta: Meta{At: now}, ID: nodeID(0), State: api.NodeUnreachable, Since: s.View().Node(nodeID(0)).Since})
	}
	is := func(task string, want api.TaskState) {
		t.Helper()
		if row := s.View().FrameworkTask("f", task); row.State != want {
			t.Errorf("%s is %s, not %s", task, row.State, want)
		}
		checkSums(t, s.View())
	}
	lose()
	is("a", api.TaskUnreachable)
	is("b", api.TaskUnreachable)
	propose(t, s, &FrameworkKill{Framework: "f", Task: "b"})
	now = now.Add(time.Hour)
	propose(t, s, &NodeHello{Meta: Meta{At: now}, ID: nodeID(0), Hello: api.NodeHello{Addr: "x:1", Level: int(Newest), Resources: s.View().Node(nodeID(0)).Resources}})
	is("a", api.TaskKilling)
	is("b", api.TaskKilling)
	propose(t, s, &FrameworkRemove{ID: "f"})
	lose()
	is("a", api.TaskLost)
	is("b", api.TaskLost)
}

// A task has a day to end at most, whatever its framework says, and what the framework sent
// is not kept once it has.
func TestAnEndComes(t *testing.T) {
	s := offered(t)
	l := launchOf("a", 100)
	l.Task.Info = []byte("sent")
	accept(t, s, []string{"o0"}, l)
	grace := api.Duration(1<<63 - 1)
	propose(t, s, &FrameworkKill{Framework: "f", Task: "a", Grace: &grace})
	if task := s.View().FrameworkTask("f", "a"); task.Framework.Spec.StopGrace != api.MaxStopGrace || task.Framework.Info == nil {
		t.Errorf("it has %s", task.Framework.Spec.StopGrace)
	}
	report(t, s, "a", api.TaskKilled)
	if task := s.View().FrameworkTask("f", "a"); task.Framework.Info != nil {
		t.Error("what its framework sent is kept")
	}
}

// Whoever takes the id of a framework that is forgotten does not get what that still runs.
func TestAForgottenFrameworkIsNobodys(t *testing.T) {
	s := offered(t)
	accept(t, s, []string{"o0"}, launchOf("a", 100))
	at := testInit().At
	propose(t, s, &FrameworkRemove{Meta: Meta{At: at}, ID: "f"})
	for i := range api.MaxEndedFrameworks {
		id := fmt.Sprint("g", i)
		propose(t, s, &FrameworkPut{Connect: true, Framework: &api.Framework{ID: id, Name: id, Session: "s"}}, &FrameworkRemove{Meta: Meta{At: at.Add(time.Second)}, ID: id})
	}
	if s.View().Framework("f") != nil {
		t.Fatal("it is remembered")
	}
	if _, err := try(t, s, &FrameworkPut{Connect: true, Framework: &api.Framework{ID: "f", Name: "other", Session: "s", Principal: "other"}}); err == nil {
		t.Error("another has its tasks")
	}
}

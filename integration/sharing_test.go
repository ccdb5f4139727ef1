package integration

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// What a first run took decides about those that wait already.
func TestWaitingJobsAreRankedByWhatIsLearned(t *testing.T) {
	s := newShared(t, []api.Resources{{CPUs: 1000, Mem: 1 << 30}})
	s.partition(&api.Partition{Path: "p", Policy: api.PolicySJF})
	submit := func(command string, said time.Duration) string {
		spec := batchOf("p", 1, 1000, 64<<20)
		spec.Command, spec.Time = []string{command}, api.Duration(said)
		spec.Normalize()
		v, err := s.Do(t.Context(), &fsm.JobCreate{Meta: s.meta(), Spec: spec})
		if err != nil {
			t.Fatal(err)
		}
		s.settle()
		return v.(*api.Job).ID
	}
	first := submit("quick", 0)
	hour := submit("slow", time.Hour)
	again := submit("quick", 0) // nobody knows yet that it is
	s.now = s.now.Add(10 * time.Second)
	s.report(s.View().TaskOf(first, 0), api.TaskFinished, false)
	s.settle()
	if quick, slow := s.View().TaskOf(again, 0), s.View().TaskOf(hour, 0); quick.State != api.TaskRunning || slow.State == api.TaskRunning {
		t.Errorf("the job that takes 10 s is %s, and the one of an hour %s", quick.State, slow.State)
	}
}

// Room that was held for a job is given up when another one becomes the first of
// its partition: who was served before that, and had to pass it by, looks again.
func TestRoomGivenUpIsSeenAtOnce(t *testing.T) {
	cpu := func(n api.MilliCPU, mem api.Bytes) api.Resources {
		return api.Resources{CPUs: n * 1000, Mem: mem << 30, Ports: api.Ranges{{First: 20000, Last: 20007}}}
	}
	s := newShared(t, []api.Resources{cpu(1, 3), cpu(2, 1), cpu(1, 6)})
	s.partition(&api.Partition{Path: "default", Guarantee: api.AmountsOf(api.Resources{CPUs: 2000, Mem: 10 << 30})}) // so what is held for it binds the other
	s.partition(&api.Partition{Path: "a", Preempt: api.PreemptNever})                                                // nor is it lent
	submit := func(spec *api.JobSpec) string {
		id := s.submit("ann", spec)
		s.settle()
		return id
	}
	large := batchOf("default", 1, 1100, 100<<20)
	large.Kind, large.Array, large.Name = api.KindService, "", "large" // fits the second node alone
	submit(large)
	submit(batchOf("default", 1, 100, 100<<20))
	gang := batchOf("default", 1, 100, 3000<<20) // has to wait, and room is held for it
	gang.Array, gang.Gang = "", 3
	submit(gang)
	spread := batchOf("a", 1, 100, 200<<20)
	spread.Spread = "zone"
	id := submit(spread)
	if at := s.View().TaskOf(id, 0).NodeID; at != "id1" {
		t.Fatalf("the task went to %q: this test needs it on the second node", at)
	}
	s.do(&fsm.NodeState{Meta: s.meta(), ID: "id1", State: api.NodeUnreachable, Since: s.View().Node("id1").Since})
	s.settle()
	if v := s.View().TaskOf(id, 0); v.State != api.TaskRunning || v.NodeID == "id1" {
		t.Errorf("the task is %s on %q, and the third node has room that is held for nobody", v.State, v.NodeID)
	}
}

// With a backlog everywhere, weighted dominant shares differ by no more than
// one task, but for small rests that no task of the poorer one fits in, and for
// a node that is held for one that is poorer still and fits nowhere.
func TestDominantSharesAreFair(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		nodes := make([]api.Resources, rapid.IntRange(1, 4).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = api.Resources{CPUs: 20_000, Mem: 40 << 30}
		}
		s := newShared(rt, nodes)
		type user struct {
			path   string
			weight float64
			need   api.Resources
		}
		var users []user
		needs := map[string]api.Resources{}
		for i := range rapid.IntRange(2, 4).Draw(rt, "users") {
			u := user{fmt.Sprint("p", i), float64(rapid.IntRange(1, 3).Draw(rt, "weight")),
				api.Resources{CPUs: api.MilliCPU(rapid.IntRange(1, 10).Draw(rt, "cpus")) * 100, Mem: api.Bytes(rapid.IntRange(1, 10).Draw(rt, "mem")) * 100 << 20}}
			users, needs[u.path] = append(users, u), u.need
			s.partition(&api.Partition{Path: u.path, Weight: api.Weight(u.weight * 1000)})
			s.submit("x", batchOf(u.path, 2000, u.need.CPUs, u.need.Mem))
		}
		s.settle()
		capacity := s.View().Capacity()
		for _, a := range users {
			for _, b := range users {
				mine := fsm.Dominant(s.View().Usage(a.path).Allocated, capacity) / a.weight
				theirs := fsm.Dominant(s.View().Usage(b.path).Allocated, capacity) / b.weight
				one := max(fsm.Dominant(a.need, capacity)/a.weight, fsm.Dominant(b.need, capacity)/b.weight)
				held := 0
				for _, c := range users {
					if c.path != a.path && fsm.Dominant(s.View().Usage(c.path).Allocated, capacity)/c.weight <= mine && s.nodesFor(c.need) == 0 {
						held++
					}
				}
				if theirs-mine > one+1e-9 && s.nodesFor(a.need) > held {
					rt.Fatalf("%s has a weighted share of %.4f, %s of %.4f: more than one task (%.4f) apart", a.path, mine, b.path, theirs, one)
				}
			}
			s.fairTo(rt, a.path, a.weight, needs)
		}
	})
}

// nodesFor counts the nodes on which one more task of a need fits.
func (s *shared) nodesFor(need api.Resources) (count int) {
	for n := range s.View().Nodes() {
		if s.View().Free(n.ID).Fits(need) {
			count++
		}
	}
	return count
}

// fairTo checks two promises of dominant resource fairness against what a
// partition would have by itself: it has at least its part of an evenly split
// cluster (less what does not divide, and what another one is ahead by with one
// task), and would not rather have the bundle of another of the same weight.
func (s *shared) fairTo(rt *rapid.T, path string, weight float64, needs map[string]api.Resources) {
	rt.Helper()
	need, capacity := needs[path], s.View().Capacity()
	ahead := func(other string) int64 { // one task of the other, in tasks of this one
		o := needs[other]
		return max(int64((o.CPUs+need.CPUs-1)/need.CPUs), int64((o.Mem+need.Mem-1)/need.Mem))
	}
	mine := int64(s.View().Usage(path).Allocated.CPUs / need.CPUs)
	total := 0.0
	for p := range s.View().Partitions() {
		if p.Path != api.DefaultPartition {
			total += p.Weight.Float()
		}
	}
	part := weight / total
	alone := min(int64(float64(capacity.CPUs)*part)/int64(need.CPUs), int64(float64(capacity.Mem)*part)/int64(need.Mem))
	nodes := int64(0)
	for range s.View().Nodes() {
		nodes++
	}
	rest := nodes + 1 // each node may leave one
	for other := range needs {
		rest += ahead(other)
	}
	if mine < alone-rest {
		rt.Fatalf("%s runs %d tasks, in its own part of the cluster it could run %d", path, mine, alone)
	}
	for p := range s.View().Partitions() {
		if p.Path == path || p.Path == api.DefaultPartition || p.Weight.Float() != weight {
			continue
		}
		other := s.View().Usage(p.Path).Allocated
		would := min(int64(other.CPUs/need.CPUs), int64(other.Mem/need.Mem))
		if mine < would-nodes-1-ahead(p.Path) {
			rt.Fatalf("%s runs %d tasks and could run %d with what %s has", path, mine, would, p.Path)
		}
	}
}

// Asking for more than a task needs does not get more of them to run.
func TestLyingDoesNotPay(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		truth := api.Resources{CPUs: api.MilliCPU(rapid.IntRange(1, 8).Draw(rt, "cpus")) * 250, Mem: api.Bytes(rapid.IntRange(1, 8).Draw(rt, "mem")) * 256 << 20}
		lie := truth
		if rapid.Bool().Draw(rt, "which") {
			lie.CPUs = lie.CPUs * api.MilliCPU(rapid.IntRange(11, 30).Draw(rt, "lie")) / 10
		} else {
			lie.Mem = lie.Mem * api.Bytes(rapid.IntRange(11, 30).Draw(rt, "lie")) / 10
		}
		other := api.Resources{CPUs: api.MilliCPU(rapid.IntRange(1, 8).Draw(rt, "cpus2")) * 250, Mem: api.Bytes(rapid.IntRange(1, 8).Draw(rt, "mem2")) * 256 << 20}
		runs := func(need api.Resources) int {
			s := newShared(rt, []api.Resources{{CPUs: 64_000, Mem: 64 << 30}})
			s.partition(&api.Partition{Path: "me"})
			s.partition(&api.Partition{Path: "other"})
			s.submit("x", batchOf("me", 3000, need.CPUs, need.Mem))
			s.submit("y", batchOf("other", 3000, other.CPUs, other.Mem))
			s.settle()
			return s.View().Usage("me").Running
		}
		// Tasks cannot be divided: the last of each of the two may fall either way.
		if honest, liar := runs(truth), runs(lie); liar > honest+2 {
			rt.Fatalf("a need of %v runs %d tasks, said to be %v it runs %d", truth, honest, lie, liar)
		}
	})
}

// A guarantee is reached as soon as its owner asks, whatever others hold, as
// far as whole tasks and nodes allow: what a search over all evictions finds is
// the measure. Taking back ends, and nobody is preempted twice within minRuntime.
func TestGuaranteesComeBack(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		nodes := make([]api.Resources, rapid.IntRange(1, 3).Draw(rt, "nodes"))
		for i := range nodes {
			nodes[i] = api.Resources{CPUs: 4000, Mem: 8 << 30}
		}
		s := newShared(rt, nodes)
		g := api.MilliCPU(rapid.IntRange(1, len(nodes)*4).Draw(rt, "guarantee")) * 1000
		s.partition(&api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: g}})
		mode := rapid.SampledFrom([]api.Preempt{api.PreemptKill, api.PreemptFreeze}).Draw(rt, "mode")
		s.partition(&api.Partition{Path: "ml", Preempt: mode})
		s.submit("x", batchOf("ml", 100, api.MilliCPU(rapid.IntRange(1, 4).Draw(rt, "ml"))*500, 64<<20))
		s.settle()
		s.now = s.now.Add(time.Minute)
		need := api.MilliCPU(rapid.IntRange(1, 4).Draw(rt, "prod")) * 500
		s.submit("y", batchOf("prod", 100, need, 64<<20))
		s.settle()
		// Without the borrowers each node holds so many tasks; the guarantee
		// covers so many.
		perNode, want := 4000/need, g/need
		want = min(want, perNode*api.MilliCPU(len(nodes)))
		if got := s.View().Usage("prod").Allocated.CPUs / need; got < want {
			rt.Fatalf("prod runs %d tasks of %v, its guarantee of %v covers %d", got, need, g, want)
		}
		before := s.preempt
		s.settle()
		if s.preempt != before {
			rt.Fatalf("taking back continues: %d more", s.preempt-before)
		}
	})
}

// Frozen tasks continue where they were once their owner's room is free again.
func TestFrozenTasksGoOn(t *testing.T) {
	s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30}})
	s.partition(&api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: 2000}})
	s.partition(&api.Partition{Path: "ml", Preempt: api.PreemptFreeze})
	ml := s.submit("x", batchOf("ml", 4, 1000, 64<<20))
	s.settle()
	prod := s.submit("y", batchOf("prod", 2, 1000, 64<<20))
	s.settle()
	if u := s.View().Usage("ml"); u.Frozen != 2 || u.Allocated.CPUs != 2000 || u.Allocated.Mem != 4*64<<20 {
		t.Fatalf("ml has %+v, want two frozen tasks that keep their memory", u)
	}
	if u := s.View().Usage("prod"); u.Running != 2 {
		t.Fatalf("prod runs %d tasks, want 2", u.Running)
	}
	s.now = s.now.Add(time.Minute)
	plan := scheduler.Planner{Now: func() time.Time { return s.now }, Begin: roundOf}
	for task := range s.View().FrozenTasks() {
		why, err := plan.Explain(s.View(), task.ID)
		if err != nil || !strings.Contains(why.Summary, "is frozen on "+task.Node+" for 1m0s") || !strings.Contains(why.Hints[0], "cpus=1") {
			t.Errorf("why %s: %+v, %v", task.ID, why, err)
		}
	}
	for task := range s.View().MadeTasks(prod) {
		s.report(task, api.TaskFinished, false)
	}
	s.settle()
	for task := range s.View().MadeTasks(ml) {
		if task.Frozen || task.Attempt != 1 || task.State != api.TaskRunning {
			t.Fatalf("%s: frozen %v, attempt %d, %s", task.ID, task.Frozen, task.Attempt, task.State)
		}
		if task.FrozenFor != 0 && task.FrozenFor != api.Duration(time.Minute) {
			t.Fatalf("%s was frozen for %s", task.ID, task.FrozenFor)
		}
	}
}

// Where work is leaving nothing is thawed: what is frozen moves, and the node is
// empty once what ran has ended.
func TestNothingIsThawedWhereWorkLeaves(t *testing.T) {
	s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30}, {CPUs: 1000, Mem: 8 << 30}})
	s.partition(&api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: 2000}})
	s.partition(&api.Partition{Path: "ml", Preempt: api.PreemptFreeze})
	ml := s.submit("x", batchOf("ml", 5, 1000, 64<<20))
	s.settle()
	prod := s.submit("y", batchOf("prod", 2, 1000, 64<<20))
	s.settle()
	if n := s.View().Usage("ml").Frozen; n != 2 {
		t.Fatalf("%d are frozen", n)
	}
	s.do(&fsm.NodeDrain{Meta: s.meta(), ID: "id0", Drain: true, By: s.now.Add(time.Hour)})
	for task := range s.View().MadeTasks(prod) { // there is room to continue, at the same instant
		s.report(task, api.TaskFinished, false)
	}
	s.settle()
	if n := s.View().Usage("ml").Frozen; n != 0 {
		t.Errorf("%d are frozen still", n)
	}
	for task := range s.View().MadeTasks(ml) {
		if task.Attempt > 1 && task.NodeID == "id0" {
			t.Errorf("%s went back to the node that is to be empty", task.ID)
		}
	}
	s.now = s.now.Add(time.Hour - time.Duration(api.DefaultStopGrace))
	s.settle()
	if _, n := s.View().Ledger("id0"); n != 0 {
		t.Errorf("%d tasks are on the node at the deadline", n)
	}
}

// A service with ports is ended rather than frozen: its clients would hang.
func TestServicesWithPortsAreNotFrozen(t *testing.T) {
	for _, ports := range []int{0, 1} {
		s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30, Ports: api.Ranges{{First: 20000, Last: 20009}}}})
		s.partition(&api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: 2000}})
		s.partition(&api.Partition{Path: "ml", Preempt: api.PreemptFreeze})
		web := &api.JobSpec{Name: "web", Kind: api.KindService, Partition: "ml", Count: new(4), TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 1000, Mem: 64 << 20,
			Ports: []api.PortRequest{{Name: "http"}}[:ports]}}}}
		s.submit("x", web)
		s.settle()
		s.submit("y", batchOf("prod", 2, 1000, 64<<20))
		s.settle()
		u := s.View().Usage("ml")
		if want := 2 * (1 - ports); u.Frozen != want || u.Pending != 2-want {
			t.Errorf("with %d ports: %d are frozen and %d wait, of 2 that were preempted", ports, u.Frozen, u.Pending)
		}
	}
}

// A task that was frozen for as long as its partition lets it be ends, and waits to
// start again; one that just then may continue does.
func TestFrozenForTooLong(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		for said, want := range map[api.Duration]time.Duration{0: time.Hour, api.Duration(5 * time.Minute): 5 * time.Minute} {
			s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 8 << 30}})
			s.partition(&api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: 2000}})
			s.partition(&api.Partition{Path: "ml", Preempt: api.PreemptFreeze, MaxFrozen: said})
			ml := s.submit("x", batchOf("ml", 4, 1000, 64<<20))
			s.settle()
			prod := s.submit("y", batchOf("prod", 2, 1000, 64<<20))
			s.settle()
			s.now = s.now.Add(want - time.Second)
			s.settle()
			if n := s.View().Usage("ml").Frozen; n != 2 {
				t.Fatalf("%d are frozen just before their time", n)
			}
			s.now = s.now.Add(time.Second)
			if goesOn {
				for task := range s.View().MadeTasks(prod) {
					s.report(task, api.TaskFinished, false)
				}
			}
			s.settle()
			u, c := s.View().Usage("ml"), s.View().Job(ml).Counts
			if wait := map[bool]int{false: 2, true: 0}[goesOn]; u.Frozen != 0 || c.Pending != wait || c.Running != 4-wait {
				t.Errorf("after %s: %d are frozen, %+v (room to continue: %v)", want, u.Frozen, c, goesOn)
			}
			for task := range s.View().MadeTasks(ml) {
				if goesOn && task.Attempt != 1 {
					t.Errorf("%s is in attempt %d", task.ID, task.Attempt)
				}
			}
		}
	}
}

// The jobs of each policy start in the order that it promises.
func TestPolicies(t *testing.T) {
	type job struct {
		user     string
		priority int
		time     time.Duration
	}
	jobs := []job{{"ann", 0, 30 * time.Second}, {"ann", 2, 10 * time.Second}, {"bob", 1, 20 * time.Second}, {"ann", 0, 5 * time.Second}}
	for policy, want := range map[api.Policy][]int{
		api.PolicyFIFO:     {0, 1, 2, 3},
		api.PolicySJF:      {3, 1, 2, 0},
		api.PolicySRTF:     {3, 1, 2, 0},
		api.PolicyPriority: {1, 2, 0, 3},
		api.PolicyFair:     {0, 2, 1, 3},
	} {
		t.Run(string(policy), func(t *testing.T) {
			s := newShared(t, []api.Resources{{CPUs: 1000, Mem: 8 << 30}})
			s.partition(&api.Partition{Path: "p", Policy: policy})
			first := batchOf("p", 1, 1000, 64<<20)
			first.Priority, first.Time = 9, api.Duration(time.Second)
			running := s.submit("carl", first)
			s.settle()
			var ids []string
			for _, j := range jobs {
				spec := batchOf("p", 1, 1000, 64<<20)
				spec.Priority, spec.Time = j.priority, api.Duration(j.time)
				spec.Name = fmt.Sprintf("j%d", len(ids))
				ids = append(ids, s.submit(j.user, spec))
			}
			var got []int
			for range jobs {
				s.now = s.now.Add(time.Second)
				s.report(s.View().Task(running+".0"), api.TaskFinished, false)
				s.settle()
				for i, id := range ids {
					if s.View().Job(id).Counts.Running == 1 {
						got, running = append(got, i), id
					}
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("they started in the order %v, want %v", got, want)
			}
		})
	}
}

// A better job takes the place of a worse one where the policy says so, and
// the worse one starts again later.
func TestPolicyPreempts(t *testing.T) {
	for _, policy := range []api.Policy{api.PolicyPriority, api.PolicySRTF} {
		t.Run(string(policy), func(t *testing.T) {
			s := newShared(t, []api.Resources{{CPUs: 1000, Mem: 8 << 30}})
			s.partition(&api.Partition{Path: "p", Policy: policy})
			low := batchOf("p", 1, 1000, 64<<20)
			low.Time = api.Duration(time.Hour)
			worse := s.submit("x", low)
			s.settle()
			s.now = s.now.Add(time.Second)
			high := batchOf("p", 1, 1000, 64<<20)
			high.Priority, high.Time = 5, api.Duration(time.Minute)
			better := s.submit("x", high)
			s.settle()
			if s.View().Job(better).Counts.Running != 1 || s.View().Job(worse).Counts.Pending != 1 {
				t.Fatalf("better %+v, worse %+v", s.View().Job(better).Counts, s.View().Job(worse).Counts)
			}
			s.report(s.View().Task(better+".0"), api.TaskFinished, false)
			s.settle()
			if task := s.View().Task(worse + ".0"); task.Attempt != 2 || task.State != api.TaskRunning {
				t.Fatalf("the worse one is %s in attempt %d", task.State, task.Attempt)
			}
		})
	}
}

// The draw of the weighted placement follows the weights of the nodes.
func TestWeightedDraw(t *testing.T) {
	nodes := []api.Resources{{CPUs: 100_000, Mem: 1 << 40}, {CPUs: 300_000, Mem: 1 << 40}}
	s := newShared(t, nodes)
	s.partition(&api.Partition{Path: "p", Placement: api.PlaceWeighted, Alpha: 1000, Beta: 1})
	s.submit("x", batchOf("p", 1000, 10, 1<<20))
	s.settle()
	_, small := s.View().Ledger("id0")
	if got := float64(small) / 1000; math.Abs(got-0.25) > 0.05 {
		t.Fatalf("the small node got %.3f of the tasks, want about 0.25", got)
	}
}

// The optimiser packs what a greedy order leaves out.
func TestPackUsesTheWholeBacklog(t *testing.T) {
	nodes := []api.Resources{{CPUs: 10_000, Mem: 10 << 30}, {CPUs: 10_000, Mem: 10 << 30}}
	fits := func(placement api.Placement) int {
		s := newShared(t, nodes)
		s.partition(&api.Partition{Path: "p", Placement: placement})
		for _, cpus := range []api.MilliCPU{4000, 4000, 6000, 6000} {
			s.submit("x", batchOf("p", 1, cpus, 64<<20))
		}
		s.settle()
		return s.View().Usage("p").Running
	}
	if got := fits(api.PlacePack); got != 4 {
		t.Fatalf("pack runs %d of 4 tasks that fill both nodes exactly", got)
	}
	if got := fits(api.PlaceClosest); got != 3 {
		t.Fatalf("best fit in the order of submission runs %d; with 3 this example shows what pack is for", got)
	}
}

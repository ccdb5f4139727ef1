package scheduler

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

var planner = Planner{Now: func() time.Time { return t0 }, Begin: begin}

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// oneQueue serves the partitions in the order of their paths, without shares.
type oneQueue struct{ paths []string }

func begin(v *fsm.View) Round {
	r := &oneQueue{}
	for p := range v.Partitions() {
		r.paths = append(r.paths, p.Path)
	}
	return r
}

func (r *oneQueue) Next() string {
	if len(r.paths) == 0 {
		return ""
	}
	return r.paths[0]
}
func (r *oneQueue) Done(string)                                                  { r.paths = r.paths[1:] }
func (r *oneQueue) Room(string, api.Resources) string                            { return "" }
func (r *oneQueue) Held(string) api.Resources                                    { return api.Resources{} }
func (r *oneQueue) Charge(string, api.Resources)                                 {}
func (r *oneQueue) Refund(string, api.Resources)                                 {}
func (r *oneQueue) Entitled(string, api.Resources) bool                          { return false }
func (r *oneQueue) Ahead(string, string, api.Resources) bool                     { return false }
func (r *oneQueue) Sooner(string, string) bool                                   { return false }
func (r *oneQueue) Shares() iter.Seq2[string, float64]                           { return maps.All(map[string]float64{}) }
func (r *oneQueue) Fair(string) float64                                          { return 1 }
func (r *oneQueue) Share(string) float64                                         { return 1 }
func (r *oneQueue) Apart(string, string) (n [2]string, w, s [2]float64, ok bool) { return }
func (r *oneQueue) MayRecall(string, string, api.Resources, api.Resources) bool  { return false }
func (r *oneQueue) Over() []string                                               { return nil }
func (r *oneQueue) MayReclaim(string, string, api.Resources, api.Resources) bool { return false }

// cluster makes a store with n nodes of two cores, 1 GiB and ten ports each.
func cluster(t testing.TB, n int) *fsm.Store {
	t.Helper()
	s := fsm.NewStore(nil)
	do(t, s, &fsm.ClusterInit{Level: fsm.Newest, Meta: fsm.Meta{At: t0}, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{},
		Node: &api.Node{ID: "id0", Name: "n0"}})
	do(t, s, &fsm.TokenCreate{Meta: fsm.Meta{At: t0}, Token: &api.Token{ID: "t", Hash: "h"}})
	for i := range n {
		id := fmt.Sprint("id", i)
		if i > 0 {
			do(t, s, &fsm.NodeJoin{Meta: fsm.Meta{At: t0}, Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: id, Hello: api.NodeHello{Addr: "x:1", Attrs: map[string]string{"zone": fmt.Sprint(i % 2)},
			Resources: api.Resources{CPUs: 2000, Mem: 1 << 30, Ports: api.Ranges{{First: 20000, Last: 20009}}, Custom: map[string]api.Quantity{"licence": {Scalar: 1000}}}}})
	}
	return s
}

func do(t testing.TB, s *fsm.Store, cmds ...fsm.Command) {
	t.Helper()
	res, err := s.Propose(context.Background(), cmds...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func submit(t testing.TB, s *fsm.Store, spec *api.JobSpec) *api.Job {
	t.Helper()
	spec.Command = []string{"/bin/true"}
	spec.Normalize()
	if err := spec.Validate(); err != nil {
		t.Fatal(err)
	}
	v, err := s.Do(context.Background(), &fsm.JobCreate{Meta: fsm.Meta{At: t0}, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	j := v.(*api.Job)
	return j
}

func schedule(t testing.TB, s *fsm.Store, now time.Time) time.Time {
	t.Helper()
	e := NewEngine(begin)
	e.Update(s.View(), nil, true)
	cmds, next := e.Decide(now)
	do(t, s, cmds...)
	return next
}

func perNode(s *fsm.Store, job string) map[string]int {
	out := map[string]int{}
	for t := range s.View().JobTasks(job) {
		out[t.Node]++
	}
	return out
}

func TestServicesSpread(t *testing.T) {
	s := cluster(t, 3)
	submit(t, s, &api.JobSpec{Name: "big", Kind: api.KindService, Count: new(1), TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 1000}}}})
	schedule(t, s, t0)
	submit(t, s, &api.JobSpec{Name: "web", Kind: api.KindService, Count: new(6)})
	schedule(t, s, t0)
	if got := perNode(s, "web"); got["n0"] != 2 || got["n1"] != 2 || got["n2"] != 2 {
		t.Fatalf("web is on %v, want two on each node", got)
	}
}

func TestNothingIsOvercommitted(t *testing.T) {
	s := cluster(t, 2)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-9", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 700}}}})
	schedule(t, s, t0)
	if c := s.View().Job(j.ID).Counts; c.Starting != 4 || c.Pending != 6 {
		t.Fatalf("two nodes of two cores hold four tasks of 0.7, got %+v", c)
	}
}

func TestPorts(t *testing.T) {
	s := cluster(t, 1)
	j := submit(t, s, &api.JobSpec{Name: "p", Kind: api.KindService, Count: new(6), TaskSpec: api.TaskSpec{
		Placing: api.Placing{Request: api.Request{CPUs: 10, Ports: []api.PortRequest{{Name: "http"}, {Name: "admin"}}}}}})
	schedule(t, s, t0)
	seen := map[int]bool{}
	for task := range s.View().JobTasks(j.ID) {
		for _, p := range task.Ports {
			if seen[p] || p < 20000 || p > 20009 {
				t.Fatalf("port %d is used twice or out of range", p)
			}
			seen[p] = true
		}
	}
	if len(seen) != 10 || s.View().Job("p").Counts.Pending != 1 {
		t.Fatalf("ten ports hold five tasks of two, got %d ports, %+v", len(seen), s.View().Job("p").Counts)
	}
	why, err := planner.Explain(s.View(), "p")
	if err != nil || len(why.Nodes) != 1 || !strings.Contains(why.Nodes[0].Reason, "ports") {
		t.Fatalf("got %+v, %v", why, err)
	}
}

func TestFixedPortGoesOncePerNode(t *testing.T) {
	s := cluster(t, 3)
	submit(t, s, &api.JobSpec{Name: "p", Kind: api.KindService, Count: new(4), TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{Ports: []api.PortRequest{{Name: "http", Port: 20005}}}}}})
	schedule(t, s, t0)
	if got := perNode(s, "p"); got["n0"] != 1 || got["n1"] != 1 || got["n2"] != 1 || got[""] != 1 {
		t.Fatalf("got %v", got)
	}
}

func TestConstraintsAndCustomResources(t *testing.T) {
	s := cluster(t, 4)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-2", TaskSpec: api.TaskSpec{Placing: api.Placing{Constraints: []api.Constraint{{Attr: "zone", Op: "=", Value: "1"}}, Request: api.Request{Custom: map[string]api.Quantity{"licence": {Scalar: 1000}}}}}})
	schedule(t, s, t0)
	if got := perNode(s, j.ID); got["n1"] != 1 || got["n3"] != 1 || got[""] != 1 {
		t.Fatalf("one licence on each of n1 and n3: got %v", got)
	}
}

func TestBackoffIsWaitedFor(t *testing.T) {
	s := cluster(t, 1)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Retries: 1})
	schedule(t, s, t0)
	code := 1
	do(t, s, &fsm.TaskReport{Meta: fsm.Meta{At: t0}, Statuses: []api.TaskStatus{{Task: j.ID + ".0", Attempt: 1, NodeID: "id0", State: api.TaskFailed, ExitCode: &code, Time: t0}}})
	next := schedule(t, s, t0)
	task := s.View().Task(j.ID + ".0")
	if task.Attempt != 2 || !task.Pending() || !next.Equal(t0.Add(time.Second)) {
		t.Fatalf("attempt %d, node %q, next %v", task.Attempt, task.Node, next)
	}
	schedule(t, s, next)
	if task := s.View().Task(j.ID + ".0"); task.Pending() {
		t.Fatal("still pending after its back-off")
	}
}

func TestWhyNothingRuns(t *testing.T) {
	s := cluster(t, 1)
	submit(t, s, &api.JobSpec{Name: "web", Kind: api.KindService, Count: new(0)})
	why, err := planner.Explain(s.View(), "web")
	if err != nil || !strings.Contains(why.Summary, "scaled to 0") || len(why.Hints) != 1 {
		t.Errorf("%+v, %v", why, err)
	}
}

func TestCheckFitsSaysByHowMuch(t *testing.T) {
	s := cluster(t, 2)
	spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 5000, Mem: 1 << 20}}}}
	err := planner.CheckFits(s.View(), spec)
	if api.ErrorCode(err) != api.CodeDoesNotFit || !strings.Contains(err.Error(), "3 too few") {
		t.Fatalf("got %v", err)
	}
	spec.CPUs = 2000
	if err := planner.CheckFits(s.View(), spec); err != nil {
		t.Fatal(err)
	}
	spec.Constraints = []api.Constraint{{Attr: "zone", Op: "=", Value: "9"}}
	if err := planner.CheckFits(s.View(), spec); api.ErrorCode(err) != api.CodeDoesNotFit || !strings.Contains(err.Error(), "zone=9") {
		t.Fatalf("got %v", err)
	}
	spec.Constraints = []api.Constraint{{Attr: "zone", Op: "=", Value: "a: b"}} // what is behind the colon is the value
	if err := planner.CheckFits(s.View(), spec); err == nil || !strings.HasPrefix(err.Error(), "no node meets zone=a: b: see") {
		t.Fatalf("got %v", err)
	}
	spec.Constraints = []api.Constraint{{Attr: "gen", Op: ">", Value: "9"}}
	if err := planner.CheckFits(s.View(), spec); err == nil || !strings.HasPrefix(err.Error(), "no node meets gen>9 (n0: it has no gen): see") {
		t.Fatalf("got %v", err)
	}
}

func BenchmarkDecide(b *testing.B) {
	s := cluster(b, 100)
	submit(b, s, &api.JobSpec{Kind: api.KindBatch, Array: "0-999"})
	v := s.View()
	for b.Loop() {
		e := NewEngine(begin)
		e.Update(v, nil, true)
		if cmds, _ := e.Decide(t0); len(cmds) != 2 {
			b.Fatal(len(cmds))
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "placements/s")
}

// Tasks of an array that were stopped while they waited are passed over, also
// where a pass was decided before.
func TestStoppedOnesArePassedOver(t *testing.T) {
	s := cluster(t, 2)
	j := submit(t, s, &api.JobSpec{Kind: api.KindBatch, Array: "10-19", TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: 1000}}}})
	stop := func(ids ...int) {
		for _, i := range ids {
			do(t, s, &fsm.TaskStop{Meta: fsm.Meta{At: t0}, IDs: []string{api.TaskID(j.ID, i)}, Reason: api.ReasonStopped})
		}
	}
	stop(10, 12, 19)
	e := NewEngine(begin)
	e.Update(s.View(), nil, true)
	cmds, _ := e.Decide(t0)
	for _, p := range cmds[0].(*fsm.TaskPlace).Placements {
		if p.Index == 12 {
			t.Error("one that has ended is placed")
		}
	}
	stop(13)
	do(t, s, cmds...)
	schedule(t, s, t0)
	for _, i := range []int{11, 14, 15, 16} {
		if task := s.View().Task(api.TaskID(j.ID, i)); task.Node == "" {
			t.Errorf("%s waits", task.ID)
		}
	}
	if c := s.View().Job(j.ID).Counts; c != (api.JobCounts{Pending: 2, Starting: 4, Stopped: 4}) {
		t.Errorf("%+v", c)
	}
}

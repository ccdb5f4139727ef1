package foresee

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func begin(v *fsm.View) scheduler.Round { return allocator.Begin(v) }

var (
	jobs  = Planner{scheduler.Planner{Now: func() time.Time { return now }, Begin: begin}}
	parts = Shares{Planner: allocator.Planner{Now: func() time.Time { return now }}, Jobs: jobs.Planner}
)

// world is a cluster that is decided about by the leader's loops, on a real
// store: what a plan is held against.
type world struct {
	t interface {
		Helper()
		Fatalf(string, ...any)
	}
	*fsm.Store
	engine *scheduler.Engine
	watch  *fsm.Watcher
	gave   []string
}

func meta() fsm.Meta { return fsm.Meta{At: now, Actor: "test"} }

func newWorld(t interface {
	Helper()
	Fatalf(string, ...any)
}, nodes int) *world {
	w := &world{t: t, Store: fsm.NewStore(nil), engine: scheduler.NewEngine(begin)}
	w.watch = w.Watch(scheduler.Tables...)
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: meta(), Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id0", Name: "n0"}},
		&fsm.TokenCreate{Meta: meta(), Token: &api.Token{ID: "t", Hash: "h"}})
	for i := range nodes {
		id := fmt.Sprint("id", i)
		if i > 0 {
			w.do(&fsm.NodeJoin{Meta: meta(), Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		w.do(&fsm.NodeHello{Meta: meta(), ID: id, Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 4000, Mem: 8 << 30}}})
	}
	return w
}

func (w *world) do(cmds ...fsm.Command) {
	w.t.Helper()
	res, err := w.Propose(context.Background(), cmds...)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, r := range res {
		if r.Err != nil {
			w.t.Fatalf("%v", r.Err)
		}
	}
}

// settle lets all decide until nothing more changes.
func (w *world) settle() {
	w.t.Helper()
	for range 500 {
		changes, all := w.watch.Take()
		w.engine.Update(w.View(), changes, all)
		cmds, _ := w.engine.Decide(now)
		cmds = append(cmds, controller.Decide(w.View(), now, nil, true)...)
		for _, c := range cmds {
			if p, ok := c.(*fsm.TaskPreempt); ok {
				for _, v := range p.Victims {
					w.gave = append(w.gave, api.TaskID(v.Job, v.Index))
				}
			}
			if _, err := w.Propose(context.Background(), c); err != nil {
				w.t.Fatalf("%v", err)
			}
		}
		did := false
		for n := range w.View().Nodes() {
			for t := range w.View().NodeTasks(n.ID) {
				st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: n.ID, State: api.TaskRunning, PID: 1, Time: now}
				switch {
				case t.Desired == api.DesiredStop || t.Desired == api.DesiredMove:
					st.State, st.ExitCode = api.TaskKilled, new(int)
				case t.State != api.TaskRunning:
				case t.Desired == api.DesiredFreeze && !t.Frozen:
					st.Frozen = true
				default:
					continue
				}
				w.do(&fsm.TaskReport{Meta: meta(), Statuses: []api.TaskStatus{st}})
				did = true
			}
		}
		if !did && len(cmds) == 0 {
			return
		}
	}
	w.t.Fatalf("the decisions never end")
}

func spec(name, partition string, kind api.Kind, tasks int, cpus api.MilliCPU) *api.JobSpec {
	s := &api.JobSpec{Name: name, Kind: kind, Partition: partition, TaskSpec: api.TaskSpec{Command: []string{"x"}, Placing: api.Placing{Request: api.Request{CPUs: cpus, Mem: 64 << 20}}}}
	if kind == api.KindService {
		s.Count = &tasks
	} else {
		s.Array = fmt.Sprintf("0-%d", tasks-1)
	}
	s.Normalize()
	return s
}

// running are the attempts of a job that run, by task, and where.
func running(v *fsm.View, job string) map[string]string {
	out := map[string]string{}
	for t := range v.MadeTasks(job) {
		if t.Holds() && !t.Frozen {
			out[t.ID] = fmt.Sprint(t.Node, " #", t.Attempt)
		}
	}
	return out
}

// A plan of a job, and of a partition, is what then happens: how many start, and
// where, which are restarted or end, who is preempted, and how many wait.
func TestAPlanIsWhatHappens(t *testing.T) {
	draw.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(rt, "nodes")
		w := newWorld(rt, n)
		defer func(at time.Time) { now = at }(now)
		amount := func(label string) api.Amounts {
			return api.Amounts{CPUs: 500 * api.MilliCPU(rapid.IntRange(0, 4*n).Draw(rt, label))}
		}
		preempts := api.Names(api.Preempts())
		put := func(path string, more string) *fsm.PartitionPut {
			p := &api.Partition{Path: path, Limit: amount(more + " limit"), Guarantee: amount(more + " guarantee"), Preempt: rapid.SampledFrom(preempts).Draw(rt, more),
				Weight: api.Weight(1000 * rapid.IntRange(1, 4).Draw(rt, more+" weight"))}
			return &fsm.PartitionPut{Meta: meta(), Partition: p}
		}
		for _, path := range []string{"a", "b"} {
			first := put(path, path)
			if w.View().Trial(first).Err != nil {
				first.Partition = &api.Partition{Path: path}
			}
			w.do(first)
		}
		draw := func(label string) *api.JobSpec {
			kind := rapid.SampledFrom([]api.Kind{api.KindService, api.KindBatch}).Draw(rt, label+" kind")
			return spec(label, rapid.SampledFrom([]string{"a", "b"}).Draw(rt, label+" partition"), kind, rapid.IntRange(1, 6).Draw(rt, label+" tasks"), 500*api.MilliCPU(rapid.IntRange(1, 6).Draw(rt, label+" cpus")))
		}
		for i := range rapid.IntRange(0, 6).Draw(rt, "jobs") {
			w.do(&fsm.JobCreate{Meta: meta(), Spec: draw(fmt.Sprint("j", i))})
			w.settle()
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "seconds")) * time.Second)
			if rapid.Bool().Draw(rt, "one ends") {
				w.end()
			}
			w.settle()
		}
		w.settle()
		if rapid.Bool().Draw(rt, "of a partition") {
			w.planPartition(put("b", "b then"))
			return
		}
		s := draw("new")
		var cmd fsm.Command = &fsm.JobCreate{Meta: meta(), Spec: s}
		if j := w.View().Job("j0"); j != nil && j.Spec.Kind == api.KindService {
			s = spec("j0", j.Spec.Partition, api.KindService, rapid.IntRange(1, 6).Draw(rt, "count"), 500*api.MilliCPU(rapid.IntRange(1, 6).Draw(rt, "cpus")))
			cmd = &fsm.JobUpdate{Meta: meta(), ID: "j0", Spec: s}
		}
		w.planJob(s, cmd)
	})
}

// jobs plans as the engine decides.
func (w *world) jobs() Planner {
	p := jobs
	p.Memory = w.engine.Remember
	return p
}

// end ends a task of a batch that runs, if there is one.
func (w *world) end() {
	for n := range w.View().Nodes() {
		for t := range w.View().NodeTasks(n.ID) {
			if t.State == api.TaskRunning && !t.Frozen && w.View().Job(t.Job).Spec.Kind == api.KindBatch {
				w.do(&fsm.TaskReport{Meta: meta(), Statuses: []api.TaskStatus{{Task: t.ID, Attempt: t.Attempt, NodeID: n.ID, State: api.TaskFinished, PID: 1, ExitCode: new(int), Time: now}}})
				return
			}
		}
	}
}

func (w *world) planJob(s *api.JobSpec, cmd fsm.Command) {
	w.t.Helper()
	before, frozen := running(w.View(), s.Name), map[string]bool{}
	for t := range w.View().FrozenTasks() {
		frozen[fmt.Sprint(t.ID, t.Node, " #", t.Attempt)] = true // one that continues is not started
	}
	plan, err := w.jobs().Plan(context.Background(), w.View(), s, cmd)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	w.gave = nil
	w.do(cmd)
	w.settle()
	after, nodes, starts := running(w.View(), s.Name), map[string]int{}, 0
	for id, at := range after {
		if before[id] != at && !frozen[id+at] {
			starts++
			nodes[strings.Fields(at)[0]]++
		}
	}
	if plan.Fits != len(after) || plan.Starts != starts || plan.Waiting != w.View().Job(s.Name).Counts.Pending {
		w.t.Fatalf("planned %d that run, %d started, %d waiting: there are %d, %d, %d", plan.Fits, plan.Starts, plan.Waiting, len(after), starts, w.View().Job(s.Name).Counts.Pending)
	}
	for _, n := range plan.Nodes {
		if nodes[n.Node] != n.Tasks {
			w.t.Fatalf("planned %v, they start on %v", plan.Nodes, nodes)
		}
	}
	for _, id := range plan.Restarts {
		if is, ok := after[id]; ok && is == before[id] {
			w.t.Fatalf("%s was to be restarted", id)
		}
	}
	for id, at := range before {
		if is, ok := after[id]; is != at && !slices.Contains(plan.Restarts, id) && !slices.Contains(plan.Stops, id) {
			w.t.Fatalf("%s was on %s, and is on %q (%v): the plan says nothing of it: %+v", id, at, is, ok, plan)
		}
	}
	var gave []string
	for _, g := range plan.GiveWay {
		gave = append(gave, g.Task)
	}
	if !slices.Equal(gave, w.gave) {
		w.t.Fatalf("planned to be preempted: %v; did: %v", gave, w.gave)
	}
	if plan.Waiting > 0 && len(plan.Obstacles) == 0 {
		w.t.Fatalf("%d wait, and nothing says why: %+v", plan.Waiting, plan)
	}
}

func (w *world) planPartition(cmd *fsm.PartitionPut) {
	w.t.Helper()
	plan, err := Shares{Planner: parts.Planner, Jobs: w.jobs().Planner}.Foresee(context.Background(), w.View(), cmd)
	if err != nil {
		if w.View().Trial(cmd).Err == nil {
			w.t.Fatalf("%v", err)
		}
		return
	}
	before := w.View()
	w.gave = nil
	w.do(cmd)
	w.settle()
	starts := 0
	for t := range w.View().Tasks() {
		if was := before.Task(t.ID); t.Holds() && (was == nil || !was.Holds()) {
			starts++
		}
	}
	if !slices.Equal(plan.Reclaimed, w.gave) || plan.Starts != starts {
		w.t.Fatalf("planned that %v are preempted and %d start; %v did, and %d", plan.Reclaimed, plan.Starts, w.gave, starts)
	}
	p := w.View().Partition(cmd.Partition.Path)
	above := p.Limit.CPUs > 0 && allocator.Begin(w.View()).Held(p.Path).CPUs > p.Limit.CPUs
	if said := slices.ContainsFunc(plan.Warnings, func(x string) bool { return strings.Contains(x, "above its limit") }); said != above {
		w.t.Fatalf("above its limit: %v, said: %v (%v)", above, said, plan.Warnings)
	}
}

// A plan names what changes, and that nothing does, and changes nothing itself.
func TestAPlanSaysWhatChanges(t *testing.T) {
	w := newWorld(t, 1)
	w.do(&fsm.JobCreate{Meta: meta(), Spec: spec("web", "default", api.KindService, 2, 1000)})
	w.settle()
	v := w.View()
	s := spec("web", "default", api.KindService, 2, 3000)
	s.Env = map[string]string{"KEY": "secret"}
	plan, err := jobs.Plan(context.Background(), v, s, &fsm.JobUpdate{Meta: meta(), ID: "web", Spec: s})
	if err != nil {
		t.Fatal(err)
	}
	want := []api.FieldChange{{Field: "cpus", From: "1", To: "3"}, {Field: "env.KEY", To: api.Masked}}
	if plan.Action != "update" || !slices.Equal(plan.Changes, want) || len(plan.Restarts) == 0 {
		t.Errorf("%+v", plan)
	}
	same := spec("web", "default", api.KindService, 2, 1000)
	for _, cmd := range []fsm.Command{nil, &fsm.JobUpdate{Meta: meta(), ID: "web", Spec: same}} {
		if plan, err = jobs.Plan(context.Background(), v, same, cmd); err != nil || plan.Action != "nothing" || plan.Fits != 2 || plan.Starts != 0 {
			t.Errorf("%+v, %v", plan, err)
		}
	}
	if w.View() != v {
		t.Error("a plan changed something")
	}
}

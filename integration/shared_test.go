package integration

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// shared is a cluster without machines: the state, the controller, the
// allocator and the scheduler, on a clock that the test turns. Tasks run until
// the test ends them; what is told to stop or freeze does so at once.
type shared struct {
	t interface {
		Helper()
		Fatalf(string, ...any)
	}
	*fsm.Store
	engine  *scheduler.Engine
	watch   *fsm.Watcher
	now     time.Time
	preempt int                      // victims so far
	takes   map[string]time.Duration // attempts of which it is known
	next    time.Time                // when the engine decides again without a change
	leaves  func(*api.Task) bool     // whether one that was told to leaves at once; nil: when it must
	started []string                 // jobs of the attempts that started, in their order
}

func roundOf(v *fsm.View) scheduler.Round { return allocator.Begin(v) }

func newShared(t interface {
	Helper()
	Fatalf(string, ...any)
}, nodes []api.Resources) *shared {
	s := &shared{t: t, Store: fsm.NewStore(nil), engine: scheduler.NewEngine(roundOf), takes: map[string]time.Duration{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s.watch = s.Watch(scheduler.Tables...)
	s.do(&fsm.ClusterInit{Level: fsm.Newest, Meta: s.meta(), Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id0", Name: "n0"}},
		&fsm.TokenCreate{Meta: s.meta(), Token: &api.Token{ID: "t", Hash: "h"}})
	for i, r := range nodes {
		id := fmt.Sprint("id", i)
		if i > 0 {
			s.do(&fsm.NodeJoin{Meta: s.meta(), Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		s.hello(id, r)
	}
	return s
}

func (s *shared) meta() fsm.Meta { return fsm.Meta{At: s.now, Actor: "test"} }

func (s *shared) hello(id string, r api.Resources) {
	s.do(&fsm.NodeHello{Meta: s.meta(), ID: id, Hello: api.NodeHello{Addr: "x:1", Level: int(fsm.Newest), Attrs: map[string]string{"zone": id[len(id)-1:]}, Resources: r}})
}

// do proposes commands, which must be accepted.
func (s *shared) do(cmds ...fsm.Command) {
	s.t.Helper()
	res, err := s.Propose(context.Background(), cmds...)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	for _, r := range res {
		if r.Err != nil {
			s.t.Fatalf("%v", r.Err)
		}
	}
}

func (s *shared) partition(p *api.Partition) {
	s.t.Helper()
	s.do(&fsm.PartitionPut{Meta: s.meta(), Partition: p})
}

func (s *shared) submit(actor string, spec *api.JobSpec) string {
	s.t.Helper()
	spec.Command = []string{"x"}
	spec.Normalize()
	if err := spec.Validate(); err != nil {
		s.t.Fatalf("%v", err)
	}
	v, err := s.Do(context.Background(), &fsm.JobCreate{Meta: fsm.Meta{At: s.now, Actor: actor}, Spec: spec})
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	return v.(*api.Job).ID
}

func batchOf(partition string, tasks int, cpus api.MilliCPU, mem api.Bytes) *api.JobSpec {
	return &api.JobSpec{Kind: api.KindBatch, Partition: partition, Array: fmt.Sprintf("0-%d", tasks-1),
		TaskSpec: api.TaskSpec{Placing: api.Placing{Request: api.Request{CPUs: cpus, Mem: mem}}}}
}

func (s *shared) report(t *api.Task, state api.TaskState, frozen bool) {
	st := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: state, PID: 1, Time: s.now, Frozen: frozen}
	if state.Final() {
		st.ExitCode = new(int)
	}
	s.do(&fsm.TaskReport{Meta: s.meta(), Statuses: []api.TaskStatus{st}})
}

// obey does what executors would: start what was placed, end what is told to,
// freeze what is told to.
func (s *shared) obey() (did bool) {
	for n := range s.View().Nodes() {
		if n.State != api.NodeReady && n.State != api.NodeDraining {
			continue
		}
		for t := range s.View().NodeTasks(n.ID) {
			switch {
			case t.Desired == api.DesiredStop || t.Desired == api.DesiredMove:
				s.report(t, api.TaskKilled, false)
			case t.State != api.TaskRunning:
				s.report(t, api.TaskRunning, false)
			case t.Desired == api.DesiredFreeze && !t.Frozen:
				s.report(t, api.TaskRunning, true)
			default:
				continue
			}
			did = true
		}
	}
	return did
}

// settle lets everybody decide until nothing more changes. It fails if that
// never is. Each decision is checked against one made from nothing.
func (s *shared) settle() {
	s.t.Helper()
	running, gaveWay := 0, s.preempt
	for p := range s.View().Partitions() {
		running += s.View().Usage(p.Path).Running
	}
	for range 500 {
		changes, all := s.watch.Take()
		s.engine.Update(s.View(), changes, all)
		cmds, next := s.engine.Decide(s.now)
		s.next = next
		s.check()
		cmds = append(cmds, controller.Decide(s.View(), s.now, nil, true)...)
		for _, c := range cmds {
			before := s.borrowed()
			if _, err := s.Propose(context.Background(), c); err != nil {
				s.t.Fatalf("%v", err)
			}
			s.note(c)
			if p, ok := c.(*fsm.TaskPreempt); ok && len(p.Victims) > 0 {
				s.preempt += len(p.Victims)
				if after := s.borrowed(); after >= before && strings.HasSuffix(p.Cause, "of partition prod") {
					s.t.Fatalf("%s: what is borrowed went from %d to %d thousandths of a core: taking back must lower it", p.Cause, before, after)
				}
			}
		}
		s.check()
		if !s.obey() && len(cmds) == 0 {
			if n := s.preempt - gaveWay; n > running+s.View().TaskCount() {
				s.t.Fatalf("%d tasks were preempted at one instant, there are only %d", n, s.View().TaskCount())
			}
			return
		}
	}
	s.t.Fatalf("the decisions never end")
}

// note notes what a command started.
func (s *shared) note(c fsm.Command) {
	place, ok := c.(*fsm.TaskPlace)
	if !ok {
		return
	}
	for _, p := range place.Placements {
		if t := s.View().TaskOf(p.Job, p.Index); t != nil && t.Attempt == p.Attempt && t.Holds() {
			s.started = append(s.started, p.Job)
			s.expect(t)
		}
	}
}

// expect has an attempt take as long as such a one is expected to by now.
func (s *shared) expect(t *api.Task) {
	if d := s.View().Estimate(s.View().Job(t.Job).Spec); d > 0 {
		s.takes[fmt.Sprint(t.ID, "#", t.Attempt)] = max(d, t.Ran(s.now)+time.Second)
	}
}

// borrowed is the potential that every act of taking back lowers: the cpus of
// tasks that are to run on, beyond the guarantees of their partitions. As what
// a winner gets is within its guarantee, placing it never raises it.
func (s *shared) borrowed() (sum int64) {
	held := map[string]int64{}
	for t := range s.View().Tasks() {
		if t.Holds() && t.Desired == api.DesiredRun {
			held[t.Partition] += int64(t.Resources.CPUs)
		}
	}
	for p := range s.View().Partitions() {
		sum += max(0, held[p.Path]-int64(p.Guaranteed().CPUs))
	}
	return sum
}

// check holds what must be true at every step: nothing is given twice, and
// gangs are whole.
func (s *shared) check() {
	s.t.Helper()
	v := s.View()
	for n := range v.Nodes() {
		l, _ := v.Ledger(n.ID)
		if l.Free.CPUs < 0 || l.Free.Mem < 0 || l.Free.GPUs < 0 {
			s.t.Fatalf("node %s has %v free", n.Name, l.Free)
		}
	}
	for j := range v.Jobs() {
		if j.Spec.Gang > 0 && !j.State.Ended() && !j.Stop && j.Counts.Pending > 0 {
			for t := range v.MadeTasks(j.ID) {
				if t.Holds() && t.Desired == api.DesiredRun {
					s.t.Fatalf("gang %s: %s runs while %d wait", j.ID, t.ID, j.Counts.Pending)
				}
			}
		}
	}
}

// used is what a partition and those below it hold of a resource.
func (s *shared) used(path, name string) int64 {
	for _, p := range (allocator.Planner{Now: func() time.Time { return s.now }}).Status(s.View()) {
		if p.Path == path {
			return api.AmountsOf(p.Allocated).Of(name)
		}
	}
	return 0
}

// limitsHold checks the limits of the partitions that can be made to keep
// them: one whose tasks may not be preempted keeps what it has when its limit
// is lowered, and so does one whose tasks were just preempted.
func (s *shared) limitsHold() {
	s.t.Helper()
	for p := range s.View().Partitions() {
		stuck := false
		for t := range s.View().Tasks() {
			q := s.View().Partition(t.Partition)
			stuck = stuck || t.Holds() && (q.Preempt == api.PreemptNever || !t.Preempted.IsZero() && s.now.Sub(t.Preempted) < time.Duration(q.MinRuntime))
		}
		if stuck {
			continue
		}
		for k, most := range p.Limit.Each {
			if u := s.used(p.Path, k); u > most {
				s.t.Fatalf("partition %s holds %s %d of at most %d", p.Path, k, u, most)
			}
		}
	}
}

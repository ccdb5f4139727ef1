package simulate

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/cluster/simulate/trace"
	"github.com/mesita/mesita/fsm"
)

// Bounds against decisions that never come to rest.
const (
	maxRounds = 10_000 // within one instant
	maxIdle   = 10_000 // wake-ups in a row that change nothing while nothing runs or comes
	maxYields = 1000   // how often a task is preempted
)

// keepEnded is how many ended jobs the store holds before they are forgotten.
const keepEnded = 2000

// simulator is one simulation under way.
type simulator struct {
	cluster *Cluster
	trace   *trace.Trace
	start   time.Time
	nodes   []node
	nodeOf  map[string]int // by id

	store   *fsm.Store
	engine  engine
	tallies *scheduler.Tallies
	forTask *fsm.Watcher // what the executors have to look at
	forCtrl *fsm.Watcher
	forEng  *fsm.Watcher

	now     time.Duration
	queue   eventQueue
	wake    time.Duration // when the engine wants to be asked again; 0: not
	idle    int
	jobs    []jobRun
	byID    map[string]int
	runs    map[runKey]*run
	dropped map[runKey]bool
	out     []api.TaskStatus // what the executors will report
	yields  map[runKey]int   // how often each was preempted
	endless string           // a task that did so too often, which ends the simulation
	open    int              // batch tasks that have arrived or will, and have not ended
	rec     *recorder
}

// jobRun is a job of the trace during the simulation.
type jobRun struct {
	*trace.Job
	id      string // "" before it arrived, and if it was refused
	started bool
	refused bool
}

// Run simulates a trace on a validated cluster.
func Run(ctx context.Context, c *Cluster, t *trace.Trace) (*Result, error) {
	s, err := newSimulator(c, t)
	if err != nil {
		return nil, err
	}
	if err := s.setUp(ctx); err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := s.settle(ctx); err != nil {
			return nil, err
		}
		if s.endless != "" || !s.advance() {
			break
		}
		if err := s.happen(ctx); err != nil {
			return nil, err
		}
	}
	return s.finish(), nil
}

func newSimulator(c *Cluster, t *trace.Trace) (*simulator, error) {
	nodes, err := c.nodes()
	if err != nil {
		return nil, err
	}
	s := &simulator{cluster: c, trace: t, start: c.Start, nodes: nodes, nodeOf: map[string]int{}, store: fsm.NewStore(nil),
		jobs: make([]jobRun, len(t.Jobs)), byID: map[string]int{}, runs: map[runKey]*run{}, yields: map[runKey]int{}, dropped: map[runKey]bool{}}
	if s.start.IsZero() {
		s.start = defaultStart
	}
	for i := range nodes {
		nodes[i].id = nodeID(i, nodes[i].name, c.Seed)
		s.nodeOf[nodes[i].id] = i
	}
	s.engine, s.tallies = newEngine(s.cluster)
	s.forTask = s.store.Watch(fsm.TableTasks)
	s.forCtrl = s.store.Watch(fsm.TableJobs, fsm.TableNodes)
	s.forEng = s.store.Watch(engineTables...)
	return s, nil
}

// yielded counts that a task was preempted. Taking ends by itself, but not before who
// may take further stops.
func (s *simulator) yielded(r *run) {
	s.yields[r.key]++
	if n := s.yields[r.key]; n >= maxYields && s.endless == "" {
		s.endless = fmt.Sprintf("the simulation ended at %s, its bound: a task of line %d was preempted for the %dth time, and may never come to its end; see what takes its room, by the priorities and guarantees of partition %s", s.now, s.jobs[r.key.job].Line, n, s.jobs[r.key.job].Partition)
	}
}

// nodeID is in the order of the cluster file, or with a seed in an order of
// the seed's. Schedulers prefer the first of equal nodes.
func nodeID(i int, name string, seed int64) string {
	if seed == 0 {
		return fmt.Sprintf("%05d-%s", i, name)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%s", seed, name)
	return fmt.Sprintf("%016x-%s", h.Sum64(), name)
}

func (s *simulator) clock() time.Time { return s.start.Add(s.now) }

func (s *simulator) meta() fsm.Meta { return fsm.Meta{At: s.clock(), Actor: "simulator"} }

// setUp makes the cluster, its partitions, and all events that are known
// beforehand.
func (s *simulator) setUp(ctx context.Context) error {
	first := &api.Node{ID: s.nodes[0].id, Name: s.nodes[0].name, Joined: s.clock(), Since: s.clock(), State: api.NodeDown}
	cmds := []fsm.Command{
		&fsm.ClusterInit{Level: fsm.Newest, Meta: s.meta(), Cluster: &api.Cluster{ID: "simulation", Name: "simulation"}, Authority: &api.Authority{}, Node: first},
		&fsm.TokenCreate{Meta: s.meta(), Token: &api.Token{ID: "join", Kind: api.TokenJoin}},
	}
	for _, n := range s.nodes {
		cmds = append(cmds, &fsm.NodeJoin{Meta: s.meta(), Token: "join", NodeID: n.id, Name: n.name}, s.hello(n))
	}
	if err := s.propose(ctx, cmds...); err != nil {
		return err
	}
	parts, err := s.partitions()
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.propose(ctx, &fsm.PartitionPut{Meta: s.meta(), Partition: p}); err != nil {
			return api.InField("partitions", fmt.Errorf("%s: %s", p.Path, err))
		}
	}
	for i, f := range s.cluster.Failures {
		s.queue.push(event{at: time.Duration(f.At), kind: nodeFails, item: i})
		if f.For > 0 {
			s.queue.push(event{at: time.Duration(f.At + f.For), kind: nodeReturns, item: i})
		}
	}
	v := s.store.View()
	for i := range s.trace.Jobs {
		j := s.trace.Jobs[i] // of this cluster: the trace may be run on others
		j.Fill(v.Chain(j.Partition))
		s.jobs[i].Job = &j
		s.queue.push(event{at: s.trace.Jobs[i].Submit, kind: jobArrives, item: i})
		s.open += s.trace.Jobs[i].Steps()
	}
	s.rec = newRecorder(s.nodes, s.jobs, s.store.View())
	return nil
}

func (s *simulator) hello(n node) fsm.Command {
	return &fsm.NodeHello{Meta: s.meta(), ID: n.id, Hello: api.NodeHello{Addr: n.name + ":5050", Version: "simulated", Level: int(fsm.Newest), Attrs: n.attrs, Resources: n.resources}}
}

// partitions are those of the cluster file, parents first; a file without any
// gets those that the trace names.
func (s *simulator) partitions() ([]*api.Partition, error) {
	named := map[string]int{} // partition → a line that names it
	for i := range s.trace.Jobs {
		if j := &s.trace.Jobs[i]; named[j.Partition] == 0 {
			named[j.Partition] = j.Line
		}
	}
	paths := []string{api.DefaultPartition}
	parts := slices.Clone(s.cluster.Partitions)
	for _, p := range parts {
		paths = append(paths, p.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(named)) {
		if slices.Contains(paths, path) {
			continue
		}
		if len(s.cluster.Partitions) > 0 {
			return nil, api.FieldErrorf("partitions", "the trace has work for %q in line %d, and the cluster has no such partition: add it, or leave partitions out to have them all made alike", path, named[path])
		}
		for up := path; up != "" && !slices.Contains(paths, up); up = api.ParentPath(up) {
			p := &api.Partition{Path: up}
			p.Normalize()
			parts, paths = append(parts, p), append(paths, up)
		}
	}
	slices.SortStableFunc(parts, func(x, y *api.Partition) int {
		return cmp.Or(cmp.Compare(strings.Count(x.Path, "/"), strings.Count(y.Path, "/")), cmp.Compare(x.Path, y.Path))
	})
	return parts, nil
}

// propose changes the state; the error is that of the first refused command.
func (s *simulator) propose(ctx context.Context, cmds ...fsm.Command) error {
	res, err := s.store.Propose(ctx, cmds...)
	if err != nil {
		return fmt.Errorf("at %s: %w", s.now, err)
	}
	for _, r := range res {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// settle lets everybody who decides do so until nobody has anything more to
// do at this instant.
func (s *simulator) settle(ctx context.Context) error {
	for range maxRounds {
		cmds := s.executors()
		changes, all := s.forCtrl.Take()
		if len(changes) > 0 || all {
			cmds = append(cmds, controller.Decide(s.store.View(), s.clock(), changes, all)...)
		}
		if len(cmds) == 0 {
			changes, all = s.forEng.Take()
			s.engine.Update(s.store.View(), changes, all)
			var next time.Time
			cmds, next = s.engine.Decide(s.clock())
			s.setWake(next, len(cmds) > 0)
			cmds = s.startAtOnce(cmds)
		}
		if len(cmds) == 0 {
			return nil
		}
		if _, err := s.store.Propose(ctx, cmds...); err != nil {
			return fmt.Errorf("at %s: %w", s.now, err)
		}
	}
	return fmt.Errorf("at %s: decisions continue without end: this is a bug of mesita", s.now)
}

func (s *simulator) setWake(next time.Time, did bool) {
	s.wake = 0
	if !next.IsZero() {
		s.wake = max(next.Sub(s.start), s.now+time.Millisecond)
	}
	if did {
		s.idle = 0
	}
}

// advance continues to the next instant at which something happens, and reports
// whether there is one.
func (s *simulator) advance() bool {
	at, ok := s.queue.next()
	until := time.Duration(s.cluster.Until)
	if s.open == 0 && until == 0 { // only services without an end, and failures, are left
		return false
	}
	if s.wake > 0 && (!ok || s.wake < at) {
		if at = s.wake; !ok && len(s.runs) == 0 {
			if s.idle++; s.idle > maxIdle {
				return false
			}
		}
		ok = true
	}
	switch {
	case !ok && (until == 0 || len(s.runs) == 0):
		return false
	case until > 0 && (!ok || at > until):
		s.rec.advance(until)
		s.now = until
		return false
	}
	s.rec.advance(at)
	s.now = at
	return true
}

// happen applies all events of this instant.
func (s *simulator) happen(ctx context.Context) error {
	var cmds []fsm.Command
	var arrived []int
	for {
		if at, ok := s.queue.next(); !ok || at > s.now {
			break
		}
		e := s.queue.pop()
		switch e.kind {
		case taskEnds, taskKilled:
			s.runEvent(&e)
		case serviceEnds:
			s.open--
			cmds = append(cmds, &fsm.JobStop{Meta: s.meta(), ID: s.jobs[e.item].id})
		case nodeReturns, nodeFails:
			cmds = append(cmds, s.nodeEvent(&e))
		case jobArrives:
			arrived = append(arrived, e.item)
		}
	}
	cmds = slices.DeleteFunc(append(s.reports(), cmds...), func(c fsm.Command) bool { return c == nil })
	if len(cmds) > 0 {
		if _, err := s.store.Propose(ctx, cmds...); err != nil {
			return fmt.Errorf("at %s: %w", s.now, err)
		}
	}
	if err := s.forget(ctx); err != nil {
		return err
	}
	return s.arrive(ctx, arrived)
}

// nodeEvent is nil if the node is in that state already.
func (s *simulator) nodeEvent(e *event) fsm.Command {
	name := s.cluster.Failures[e.item].Node
	i := slices.IndexFunc(s.nodes, func(n node) bool { return n.name == name })
	n := s.store.View().Node(s.nodes[i].id)
	if e.kind == nodeReturns {
		s.rec.nodeUp(i, true)
		return s.hello(s.nodes[i])
	}
	if n.State != api.NodeReady {
		return nil
	}
	s.rec.nodeUp(i, false)
	return &fsm.NodeState{Meta: s.meta(), ID: n.ID, State: api.NodeUnreachable, Reason: "simulated failure", Since: n.Since}
}

// arrive submits jobs as the API would: what no node could ever hold is
// refused.
func (s *simulator) arrive(ctx context.Context, items []int) error {
	var cmds []fsm.Command
	var asked []int
	plan := planner(s.clock)
	for _, i := range items {
		j := &s.jobs[i]
		spec := j.Spec(time.Duration(s.cluster.Stop))
		spec.Name = ""
		if err := plan.CheckFits(s.store.View(), spec); err != nil {
			s.refuse(i, err)
			continue
		}
		asked = append(asked, i)
		cmds = append(cmds, &fsm.JobCreate{Meta: fsm.Meta{At: s.clock(), Actor: j.User}, Spec: spec})
	}
	if len(cmds) == 0 {
		return nil
	}
	res, err := s.store.Propose(ctx, cmds...)
	if err != nil {
		return fmt.Errorf("at %s: %w", s.now, err)
	}
	for k, r := range res {
		i := asked[k]
		j, ok := r.Value.(*api.Job)
		if r.Err != nil || !ok {
			s.refuse(i, r.Err)
			continue
		}
		s.jobs[i].id = j.ID
		s.byID[j.ID] = i
		s.rec.arrive(i)
	}
	return nil
}

func (s *simulator) refuse(i int, err error) {
	s.open -= s.jobs[i].Steps()
	s.rec.refuse(i, err)
}

// forget removes jobs that ended long ago.
func (s *simulator) forget(ctx context.Context) error {
	v := s.store.View()
	if v.EndedCount() < keepEnded {
		return nil
	}
	var ids []string
	for j := range v.EndedJobs() {
		if ids = append(ids, j.ID); len(ids) >= keepEnded/2 {
			break
		}
	}
	for _, id := range ids {
		delete(s.byID, id)
	}
	return s.propose(ctx, &fsm.JobRemove{Meta: s.meta(), IDs: ids})
}

// finish closes what still runs and sums everything up.
func (s *simulator) finish() *Result {
	for _, k := range slices.SortedFunc(maps.Keys(s.runs), compareRunKeys) {
		r := s.runs[k]
		s.cut(r)
		r.ended = outcomeCut
		s.rec.end(r, s.now)
	}
	return s.rec.result(s)
}

// why is what the planner says of the first jobs that never started.
func (s *simulator) why() []string {
	var out []string
	plan := planner(s.clock)
	for i := range s.jobs {
		j := &s.jobs[i]
		if j.id == "" || j.started || len(out) >= 3 {
			continue
		}
		if why, err := plan.Explain(s.store.View(), j.id); err == nil {
			text := "line " + strconv.Itoa(j.Line) + ": " + why.Summary
			for _, n := range why.Nodes[:min(len(why.Nodes), 2)] {
				text += "; " + n.Node + " " + n.Reason
			}
			out = append(out, text)
		}
	}
	return out
}

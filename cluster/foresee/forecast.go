package foresee

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// Bounds of one forecast. It is work that is counted, in what takes a microsecond or
// so, so that the same state gives the same answer on any machine; time is a bound
// for the case that this is wrong. Beside jobs that are looked at, a pass costs
// something for itself, and for each task that runs where room may be held.
const (
	maxWork     = 40_000
	workOfPass  = 30
	workOfStart = 15
	heldAWork   = 3
	maxForecast = time.Second
)

// forecast is a future in which time passes: tasks end when they are expected to,
// and what waits starts as the engine has it.
type forecast struct {
	*future
	view    *fsm.View // as it began
	ends    ends
	frozen  []end // of what is
	seen    *scheduler.Backlog
	work    int
	sure    api.Sure // of what starts now
	rows    []row
	rowOf   map[string]int // by job
	started map[string]int // tasks by job
	served  int
	held    int                  // tasks that run
	kept    map[string]time.Time // when jobs can start for which room is kept
	tally   *fsm.Tally           // what runs once what can start at once has
	rest    rest
}

// row is what waits of a job.
type row struct {
	job      *api.Job
	position int
	at       time.Time // when the first starts; zero: nobody knows
	sure     api.Sure
	obstacle *api.Obstacle // nil: those before it
	limit    *api.Obstacle // that it stands behind others for
}

// end is when an attempt is expected to end.
type end struct {
	at      time.Time
	job     string
	index   int
	attempt int
	runs    time.Duration
	sure    api.Sure
}

type ends []end

func (x ends) Len() int           { return len(x) }
func (x ends) Swap(i, j int)      { x[i], x[j] = x[j], x[i] }
func (x ends) Less(i, j int) bool { return x[i].at.Before(x[j].at) }
func (x *ends) Push(v any)        { *x = append(*x, v.(end)) }
func (x *ends) Pop() any {
	last := len(*x) - 1
	v := (*x)[last]
	*x = (*x)[:last]
	return v
}

// foretell goes through what waits in a view.
func foretell(ctx context.Context, p scheduler.Planner, v *fsm.View) (*forecast, error) {
	f := &forecast{future: &future{fork: v.Fork(), engine: p.Engine(v), now: p.Now(), passes: true}, view: v, seen: scheduler.NewBacklog(), sure: api.SureLimits,
		rowOf: map[string]int{}, started: map[string]int{}}
	f.touched, f.placed = map[string]bool{}, f.starts
	until := p.Now().Add(maxForecast)
	f.obey(nil, true)
	f.running()
	goesOn := func() bool { return f.work < maxWork && ctx.Err() == nil && p.Now().Before(until) }
	f.instant(goesOn)
	f.explain()
	for f.seen.Deaf = true; goesOn() && f.fork.View().PendingCount() > 0 && f.elapse(); {
		f.instant(goesOn)
	}
	f.begin()
	return f, context.Cause(ctx)
}

// running notes when what runs will end.
func (f *forecast) running() {
	v := f.fork.View()
	for n := range v.Nodes() {
		if n.State != api.NodeReady && n.State != api.NodeDraining {
			continue
		}
		for t := range v.NodeTasks(n.ID) {
			if j := v.Job(t.Job); j != nil && t.Holds() {
				f.held++
				f.willEnd(j, t)
			}
		}
	}
}

// willEnd notes when an attempt will end, if that is known: by what earlier runs took,
// or by its --time.
func (f *forecast) willEnd(j *api.Job, t *api.Task) {
	spec := j.SpecFor(t)
	if spec == nil {
		return
	}
	d := f.fork.View().Estimate(spec)
	if d == 0 {
		return
	}
	ran := t.Ran(f.now)
	x := end{job: j.ID, index: t.Index, attempt: t.Attempt, runs: max(d, ran+time.Second), sure: api.SureLimits} // one that is overdue is about to end
	if d != time.Duration(spec.Time) {
		x.sure = api.SureRuns
	}
	x.at = f.now.Add(x.runs - ran)
	heap.Push(&f.ends, x)
}

// instant lets all decide until nothing more changes before time passes.
func (f *forecast) instant(goesOn func() bool) {
	for goesOn() {
		n, obeyed := f.step(f.decide, false)
		if n == 0 && !obeyed {
			return
		}
	}
}

// decide is the engine's decision, and notes what it starts.
func (f *forecast) decide(now time.Time) ([]fsm.Command, time.Time) {
	tried := f.seen.Tried
	cmds, next := f.engine.DecideBefore(now, f.seen)
	f.work += workOfPass + f.seen.Tried - tried + f.held/heldAWork
	return cmds, next
}

// starts notes what was placed, in the order in which it was decided.
func (f *forecast) starts(place *fsm.TaskPlace) {
	f.work += workOfStart * len(place.Placements)
	v := f.fork.View()
	for _, p := range place.Placements {
		t, j := v.TaskOf(p.Job, p.Index), v.Job(p.Job)
		if t == nil || j == nil || t.Attempt != p.Attempt || !t.Holds() {
			continue // it was refused
		}
		f.held++
		f.willEnd(j, t)
		f.serve(p.Job, 1, func(r *row) { r.at, r.sure = f.now, f.sure })
	}
}

// serve counts that so many tasks of a job are served next, and fills in its row if
// they are the first.
func (f *forecast) serve(job string, n int, first func(r *row)) {
	j := f.view.Job(job)
	if j == nil {
		return
	}
	if n = min(n, j.Counts.Pending-f.started[job]); n <= 0 {
		return // they ran when this began, and were preempted
	}
	if f.started[job] == 0 {
		f.rowOf[job] = len(f.rows)
		f.rows = append(f.rows, row{job: j, position: f.served + 1})
		first(&f.rows[len(f.rows)-1])
	}
	f.started[job] += n
	f.served += n
}

// elapse continues to when the next attempts end, or the engine wants to decide again.
// It is false if that is never.
func (f *forecast) elapse() bool {
	f.goOn()
	t := f.endsNext()
	switch {
	case t != nil && (!f.next.After(f.now) || !f.ends[0].at.After(f.next)):
		f.now = f.ends[0].at
	case f.next.After(f.now):
		f.now = f.next
		return true
	default:
		return false
	}
	report := &fsm.TaskReport{Meta: fsm.Meta{At: f.now, Actor: "forecast"}}
	for ; t != nil && f.ends[0].at.Equal(f.now); t = f.endsNext() {
		if x := heap.Pop(&f.ends).(end); x.sure == api.SureRuns {
			f.sure = api.SureRuns
		}
		report.Statuses = append(report.Statuses, api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskFinished, PID: max(1, t.PID), ExitCode: new(int), Time: f.now})
	}
	f.do(report)
	f.held -= len(report.Statuses)
	f.work += workOfStart * len(report.Statuses)
	return true
}

// endsNext is the attempt that ends next, which is that of the first end; nil: none
// is known to. Ends that will not be are dropped, those of what is frozen set aside,
// and those of what was are later.
func (f *forecast) endsNext() *api.Task {
	for len(f.ends) > 0 {
		x := &f.ends[0]
		t := f.attempt(x)
		if t != nil && !t.Frozen {
			left := x.runs - t.Ran(x.at)
			if t.FrozenFor == 0 || left <= 0 {
				return t
			}
			x.at = x.at.Add(left)
			heap.Fix(&f.ends, 0)
			continue
		}
		if t != nil {
			f.frozen = append(f.frozen, *x)
		}
		heap.Pop(&f.ends)
	}
	return nil
}

// attempt is that of an end as it is by now, nil if it is over.
func (f *forecast) attempt(x *end) *api.Task {
	t := f.fork.View().TaskOf(x.job, x.index)
	if t == nil || t.Attempt != x.attempt || !t.Holds() {
		return nil
	}
	return t
}

// goOn has what was frozen and continues since end once it has run as long as expected.
func (f *forecast) goOn() {
	f.frozen = slices.DeleteFunc(f.frozen, func(x end) bool {
		t := f.attempt(&x)
		if t != nil && t.Frozen {
			return false
		}
		if t != nil {
			x.at = f.now.Add(max(x.runs-t.Ran(f.now), 0))
			heap.Push(&f.ends, x)
		}
		return true
	})
}

// explain says why what waits does not start at once, and what is promised.
func (f *forecast) explain() {
	for i := range f.rows {
		f.rows[i].sure, f.rows[i].obstacle = api.SurePromised, &api.Obstacle{Kind: api.ObstacleNone}
	}
	f.kept, f.tally = f.engine.Kept(), f.fork.View().Tally()
}

// moreRows is how many rows are made at a time of what is left.
const moreRows = 1000

// rest is what a forecast leaves: it is served in its order alone, as nobody knows when
// there is room; at last what no node can ever take, and what is on hold. Rows are made as
// they are asked for: most who ask want the first ones.
type rest struct {
	order *scheduler.Order // nil: all rows are made
	known map[string]bool
	never map[string]bool
	last  []*api.Job
}

// begin begins with what is left, and finishes the rows that are there.
func (f *forecast) begin() {
	f.follow()
	f.rest = rest{order: f.engine.InOrder(f.now), known: f.known(), never: map[string]bool{}}
	for i := range f.rows {
		f.finish(&f.rows[i])
	}
	f.ends, f.frozen = nil, nil
}

// more makes more rows. It is false if there are no more.
func (f *forecast) more() bool {
	x, before := &f.rest, len(f.rows)
	if x.order == nil {
		return false
	}
	line := func(p scheduler.Place, known bool) {
		n := len(f.rows)
		if f.line(p, known); known && len(f.rows) > n { // of those that are only passed nothing is known
			f.finish(&f.rows[n])
		}
	}
	f.rows = slices.Grow(f.rows, moreRows)
	goesOn := x.order.Continue(func(p scheduler.Place) bool {
		id := p.Job.ID
		known := x.known[id]
		if known && p.First && f.isNever(id) {
			x.never[id], x.last = true, append(x.last, p.Job)
		}
		if !known || !x.never[id] {
			line(p, known)
		}
		return len(f.rows)-before < moreRows
	})
	if goesOn {
		return true
	}
	for _, j := range x.last {
		line(scheduler.Place{Job: j, Tasks: j.Counts.Pending, First: true}, true)
	}
	f.onHold()
	f.rest = rest{}
	return len(f.rows) > before
}

// known are the jobs of which more is known than their place.
func (f *forecast) known() map[string]bool {
	out := f.seen.Jobs()
	for id := range f.touched {
		out[id] = true
	}
	for id := range f.kept {
		out[id] = true
	}
	return out
}

func (f *forecast) isNever(job string) bool {
	k := f.seen.Obstacle(job).Kind
	return k == api.ObstacleNever || k == api.ObstacleNoNodes
}

// onHold adds what is on hold.
func (f *forecast) onHold() {
	held := 0
	for p := range f.view.Partitions() {
		held += f.view.Usage(p.Path).Held
	}
	if held == 0 {
		return
	}
	for j := range f.view.LiveJobs() {
		if j.Hold && !j.Stop && j.Counts.Pending > 0 {
			f.rows = append(f.rows, row{job: j, position: f.served + 1, sure: api.SureNot, obstacle: &api.Obstacle{Kind: api.ObstacleOnHold, Job: j.ID}})
			f.served += j.Counts.Pending
		}
	}
}

func (f *forecast) finish(r *row) {
	if r.obstacle != nil {
		return
	}
	switch o := f.obstacle(r.job); {
	case o.Kind == api.ObstacleFull && r.limit != nil: // which is what has it stand behind others
	case o.Kind != "":
		r.obstacle = &o
	}
	if at, ok := f.kept[r.job.ID]; ok && (r.at.Equal(at) || r.at.IsZero() && f.now.Before(at)) {
		r.at, r.sure = at, api.SurePromised
	}
}

// obstacle is what keeps a job waiting at first: that enough run comes before what more
// room would mend.
func (f *forecast) obstacle(j *api.Job) api.Obstacle {
	o := f.seen.Obstacle(j.ID)
	switch o.Kind {
	case api.ObstacleTaking, api.ObstacleNever, api.ObstacleNoNodes, api.ObstacleOut, api.ObstacleParts, api.ObstacleBackoff:
		return o
	}
	if bar, barred := scheduler.Barred(f.tally, j); barred {
		return bar
	}
	return o
}

// line serves tasks by order alone.
func (f *forecast) line(p scheduler.Place, known bool) {
	if known && (f.touched[p.Job.ID] || f.started[p.Job.ID] > 0) {
		f.serve(p.Job.ID, p.Tasks, func(r *row) { r.sure, r.limit = api.SureNot, p.Limit })
		return
	}
	if p.First {
		f.rows = append(f.rows, row{job: p.Job, position: f.served + 1, sure: api.SureNot, limit: p.Limit})
	}
	f.served += p.Tasks
}

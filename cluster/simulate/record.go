package simulate

import (
	"math"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// segment is a time in which an attempt held the same on a node.
type segment struct {
	from, to time.Duration
	job      int32
	index    int32
	node     int32
	outcome  outcome // of the attempt
	frozen   bool
}

// span is a time in which a node was away.
type span struct{ from, to time.Duration }

// level is how many tasks wait from a time on.
type level struct {
	at      time.Duration
	waiting int
}

// wait is how long a task waited for its first start.
type wait struct {
	part int
	time time.Duration
}

// recorder keeps what happened.
type recorder struct {
	nodes    []node
	jobs     []jobRun
	capacity api.Resources
	parts    []*part
	partOf   map[string]int
	root     []*part
	now      time.Duration

	segments []segment
	attempts []attempt
	down     [][]span // by node
	levels   []level
	waits    []wait
	waiting  int
	stale    bool // entitlements have to be found anew

	refused  []string // the first few
	refusals int
}

func newRecorder(nodes []node, jobs []jobRun, v *fsm.View) *recorder {
	r := &recorder{nodes: nodes, jobs: jobs, partOf: map[string]int{}, down: make([][]span, len(nodes))}
	for _, n := range nodes {
		r.capacity.CPUs += n.resources.CPUs
		r.capacity.Mem += n.resources.Mem
	}
	for p := range v.Partitions() {
		q := &part{Partition: p, guarantee: r.dominant(p.Guarantee.CPUs, p.Guarantee.Mem), limit: math.Inf(1)}
		if p.Limit.CPUs > 0 {
			q.limit = min(q.limit, ratio(float64(p.Limit.CPUs), float64(r.capacity.CPUs)))
		}
		if p.Limit.Mem > 0 {
			q.limit = min(q.limit, ratio(float64(p.Limit.Mem), float64(r.capacity.Mem)))
		}
		r.partOf[p.Path] = len(r.parts)
		r.parts = append(r.parts, q)
		if up, ok := r.partOf[p.Parent()]; ok && p.Parent() != "" {
			r.parts[up].children = append(r.parts[up].children, q)
		} else {
			r.root = append(r.root, q)
		}
	}
	return r
}

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// dominant is the larger share of the whole cluster.
func (r *recorder) dominant(c api.MilliCPU, m api.Bytes) float64 {
	return max(ratio(float64(c), float64(r.capacity.CPUs)), ratio(float64(m), float64(r.capacity.Mem)))
}

func (r *recorder) part(job int) *part { return r.parts[r.partOf[r.jobs[job].Partition]] }

// advance counts the time up to an instant.
func (r *recorder) advance(to time.Duration) {
	if to <= r.now {
		return
	}
	if n := len(r.levels); n == 0 || r.levels[n-1].waiting != r.waiting {
		r.levels = append(r.levels, level{r.now, r.waiting})
	}
	r.entitle()
	dt := (to - r.now).Seconds()
	for _, p := range r.parts {
		if p.pending.tasks > 0 {
			p.backlog += dt
			p.gotTime += dt * r.dominant(p.held.cpus, p.held.mem)
			p.fairTime += dt * p.fair
		}
	}
	r.now = to
}

// tally is a number of tasks and what they ask for.
type tally struct {
	tasks int
	cpus  api.MilliCPU
	mem   api.Bytes
}

func (t *tally) add(n int, c api.MilliCPU, m api.Bytes) {
	t.tasks += n
	t.cpus += api.MilliCPU(n) * c
	t.mem += api.Bytes(n) * m
}

func (r *recorder) pend(job, n int) {
	j := &r.jobs[job]
	r.part(job).pending.add(n, j.CPUs, j.Mem)
	r.waiting += n
	r.stale = true
}

func (r *recorder) arrive(job int) {
	r.pend(job, r.jobs[job].Tasks)
	r.part(job).tasks += r.jobs[job].Tasks
	r.part(job).jobs++
}

func (r *recorder) refuse(job int, err error) {
	if r.refusals++; len(r.refused) < 3 && err != nil {
		r.refused = append(r.refused, err.Error())
	}
	r.jobs[job].refused = true
}

func (r *recorder) begin(run *run, now time.Duration) {
	i := run.key.job
	j := &r.jobs[i]
	r.pend(i, -1)
	r.part(i).held.add(1, j.CPUs, j.Mem)
	if run.attempt == 1 {
		r.waits = append(r.waits, wait{r.partOf[j.Partition], now - j.Submit})
	}
}

// freeze takes the cpus of a run away, or gives them back.
func (r *recorder) freeze(run *run, on bool) {
	p, j := r.part(run.key.job), &r.jobs[run.key.job]
	r.stale = true
	if on {
		p.held.cpus -= j.CPUs
		p.freezes++
		return
	}
	p.held.cpus += j.CPUs
}

// drop counts a waiting task that was stopped.
func (r *recorder) drop(job int) {
	r.pend(job, -1)
	r.part(job).stopped++
}

// abandon counts a task that was stopped before it could continue.
func (r *recorder) abandon(run *run) { r.part(run.key.job).stopped++ }

// requeue counts a task as waiting again.
func (r *recorder) requeue(run *run) { r.pend(run.key.job, 1) }

func (r *recorder) nodeUp(i int, up bool) {
	d := r.down[i]
	switch {
	case !up:
		r.down[i] = append(d, span{r.now, math.MaxInt64})
	case len(d) > 0 && d[len(d)-1].to == math.MaxInt64:
		d[len(d)-1].to = r.now
	}
}

// end files an attempt.
func (r *recorder) end(run *run, now time.Duration) {
	p, j := r.part(run.key.job), &r.jobs[run.key.job]
	if run.frozen {
		p.held.cpus += j.CPUs
	}
	p.held.add(-1, j.CPUs, j.Mem)
	r.stale = true
	r.attempts = append(r.attempts, attempt{run.began, now, int32(run.key.job), int32(run.key.index), int32(run.node), int32(run.attempt), run.ended})
	for _, x := range run.pieces {
		r.segments = append(r.segments, segment{x.from, x.to, int32(run.key.job), int32(run.key.index), int32(run.node), run.ended, x.frozen})
	}
	switch run.ended {
	case outcomeFinished, outcomeLimit:
		p.ended++
		p.lastEnd = now
		if run.ended == outcomeFinished {
			p.finished++
		}
		p.slowdown += max(1, (now-j.Submit).Seconds()/max(j.TaskRuntime(run.key.index).Seconds(), slowdownBound.Seconds()))
	case outcomePreempted:
		p.preempted++
	case outcomeNodeLost:
		p.nodeLost++
	case outcomeStopped:
		if j.Kind == api.KindBatch {
			p.stopped++
			p.lastEnd = now
		}
	}
}

// slowdownBound keeps very short tasks from ruling the mean slowdown (Feitelson
// and Rudolph, JSSPP 1998).
const slowdownBound = 10 * time.Second

package crowd

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/verdict"
	"github.com/mesita/mesita/integration/lab"
)

// Partitions with a rule each, whose work would break it at once if nobody kept it.
const (
	most   = "most"   // bounds how many tasks run
	each   = "each"   // bounds how many of a user do; all users of a crowd are root
	yields = "yields" // has room for what one of the two below it wants
	lends  = yields + "/lends"
	owns   = yields + "/owns"
)

// running bounds what may be on nodes.
var running = map[string]int{most: 3, each: 2}

// notice is how long before whoever is preempted is told.
const notice = 3 * time.Second

// Ruled is what came of the rules that the crowd worked below.
type Ruled struct {
	Held   map[string]float64           // by job: when its release was sent, in seconds since boot; 0: never
	Leaves map[record.Attempt]time.Time // until when who was told to leave may run
	Full   int                          // readings at which as many ran as may
}

func newRuled() *Ruled {
	return &Ruled{Held: map[string]float64{}, Leaves: map[record.Attempt]time.Time{}}
}

// String says how often a rule was what kept something back.
func (r *Ruled) String() string {
	return fmt.Sprintf("%d readings at a bound of running tasks, %d jobs held, %d attempts told to leave", r.Full, len(r.Held), len(r.Leaves))
}

// ruled is a user who works below the rules.
type ruled struct {
	*user
	cycle func(ctx context.Context, v *ruled)
}

func (r *Crowd) hireRuled() {
	n := r.o.Nodes[0]
	for path, spec := range map[string]map[string]any{
		most:   {"maxRunning": running[most]},
		each:   {"maxRunningPerUser": running[each]},
		yields: {"limit": map[string]any{"cpus": 0.055}, "guarantee": map[string]any{"cpus": 0.03}},
	} {
		n.Must(http.MethodPut, "/v1/partitions/"+path+"?create=1", spec, nil)
	}
	n.Must(http.MethodPut, "/v1/partitions/"+lends+"?create=1", map[string]any{"notice": notice.String(), "minRuntime": "1s"}, nil)
	n.Must(http.MethodPut, "/v1/partitions/"+owns+"?create=1", map[string]any{"guarantee": map[string]any{"cpus": 0.03}}, nil)
	for i, cycle := range []func(context.Context, *ruled){
		func(ctx context.Context, v *ruled) { v.batch(ctx, most, 8, 0.5) },
		func(ctx context.Context, v *ruled) { v.batch(ctx, each, 6, 0.5) },
		func(ctx context.Context, v *ruled) { v.hold(ctx) },
		func(ctx context.Context, v *ruled) { v.yield(ctx) },
	} {
		r.workers = append(r.workers, &ruled{r.newUser(80 + i), cycle})
	}
}

func (v *ruled) work(ctx context.Context) {
	for ctx.Err() == nil {
		v.cycle(ctx, v)
		lab.Pause(ctx, time.Duration(v.rng.Int64N(int64(2*time.Second))))
	}
}

// batch submits so many tasks of so many seconds, and waits for their end for a while.
func (v *ruled) batch(ctx context.Context, partition string, tasks int, seconds float64) {
	p := v.begin(ctx, partition, tasks, seconds)
	v.ended(ctx, p)
}

func (v *ruled) begin(ctx context.Context, partition string, tasks int, seconds float64) (id string) {
	v.n++
	p := &verdict.Promise{Job: fmt.Sprintf("%s-%d", v.name, v.n), Codes: make([]int, tasks)}
	v.Promise(p)
	if v.send(ctx, http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "name": p.Job, "partition": partition, "array": fmt.Sprintf("0-%d", tasks-1), "cpus": 0.01, "mem": "8MiB",
		"stopGrace": "1s", "command": v.o.Record.Command(fmt.Sprintf("%.2f", seconds), 0)}, nil) == nil {
		v.mu.Lock()
		p.Acked = true
		v.mu.Unlock()
	}
	return p.Job
}

// ended waits until a job has ended, or for as long as it should take many times over.
func (v *ruled) ended(ctx context.Context, id string) {
	for range 100 {
		var j api.Job
		if ctx.Err() != nil || v.at[v.rng.IntN(len(v.at))].Call(http.MethodGet, "/v1/jobs/"+id, nil, &j) == nil && j.State.Ended() {
			return
		}
		lab.Pause(ctx, 200*time.Millisecond)
	}
}

// hold holds a service before it has a task, gives it two, and lets it go.
func (v *ruled) hold(ctx context.Context) {
	v.n++
	id := fmt.Sprintf("%s-%d", v.name, v.n)
	if v.send(ctx, http.MethodPost, "/v1/jobs", map[string]any{"kind": "service", "name": id, "count": 0, "cpus": 0.01, "mem": "8MiB", "stopGrace": "1s",
		"command": v.o.Record.Command(record.Forever, 0)}, nil) != nil {
		return
	}
	steady := context.WithoutCancel(ctx) // what was begun is ended, or it would run on
	defer func() { _ = v.send(steady, http.MethodPost, "/v1/jobs/"+id+"/stop", nil, nil) }()
	if v.send(ctx, http.MethodPost, "/v1/jobs/"+id+"/hold", nil, nil) != nil {
		return
	}
	v.held(id, 0)
	if v.send(ctx, http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": 2}, nil) != nil {
		return
	}
	lab.Pause(ctx, time.Duration(v.rng.Int64N(int64(4*time.Second))))
	now, err := record.Uptime()
	if err != nil {
		v.o.Stage.Errorf("%v", err)
		return
	}
	v.held(id, now)
	_ = v.send(ctx, http.MethodPost, "/v1/jobs/"+id+"/release", nil, nil) // stopped it is, either way
	lab.Pause(ctx, time.Second)
}

func (v *ruled) held(id string, released float64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.Ruled.Held[id] = released
}

// yield fills what is lent, and has the owner ask for its own.
func (v *ruled) yield(ctx context.Context) {
	lent := v.begin(ctx, lends, 5, 4)
	lab.Pause(ctx, 2*time.Second)
	v.batch(ctx, owns, 3, 1)
	v.ended(ctx, lent)
}

// readRules looks at all tasks as one view has them.
func (r *Crowd) readRules(n *lab.Node) {
	var l struct {
		Items []*api.Task
		Next  string
	}
	if n.Call(http.MethodGet, "/v1/tasks?limit=10000", nil, &l) != nil || l.Next != "" {
		return
	}
	full, wrong := verdict.Running(l.Items, running)
	for _, w := range wrong {
		r.o.Stage.Errorf("%s says %s", n.Name, w)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if full {
		r.Ruled.Full++
	}
	for _, t := range l.Items {
		if t.Leaving() {
			r.Ruled.Leaves[record.Attempt{Task: t.ID, Number: t.Attempt}] = *t.Leaves
		}
	}
}

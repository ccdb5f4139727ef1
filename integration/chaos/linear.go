package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// rivals is how many clients change the same objects.
const rivals = 3

// linearWithin bounds the search for an order; a history this short takes
// milliseconds.
const linearWithin = time.Minute

// verdict is what a client was told of an operation.
type verdict int

const (
	unsure  verdict = iota // no answer, or one that an earlier try explains as well
	done                   // it took effect
	refused                // the state of the object forbade it
)

// change is one operation on one object of the API, as its client saw it.
type change struct {
	object string
	// of a partition: the version that it was to have, and has afterwards
	before, after int
	// of a service: the number of tasks, that was asked for or read
	count int
	read  bool
}

// histories collects what the rivals did, by kind of object.
type histories struct {
	mu    sync.Mutex
	begin time.Time
	ops   map[string][]porcupine.Operation
}

// models says what each kind of object may do. An operation whose outcome is
// not known may take effect at any time after it began, or never: it returns at
// the end of time, where it disturbs nobody.
var models = map[string]porcupine.Model{
	// A partition is changed by who knows its version.
	"partition": model(func(version int, c change, v verdict) (bool, int) {
		fits := version == c.before
		switch {
		case v == unsure && fits:
			return true, version + 1
		case v == unsure:
			return true, version
		case v == done:
			return fits && c.after == version+1, version + 1
		}
		return !fits, version
	}),
	// A name is given once.
	"job": model(once),
	// A token is revoked once.
	"token": model(once),
	// A service has the number of tasks that was asked for last.
	"scale": model(func(count int, c change, _ verdict) (bool, int) {
		if c.read {
			return count == c.count, count
		}
		return true, c.count
	}),
}

func once(taken int, _ change, v verdict) (bool, int) {
	switch v {
	case done:
		return taken == 0, 1
	case refused:
		return taken == 1, 1
	}
	return true, 1
}

func model(step func(state int, c change, v verdict) (bool, int)) porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, o := range all {
				object := o.Input.(change).object
				by[object] = append(by[object], o)
			}
			var out [][]porcupine.Operation
			for _, ops := range by {
				out = append(out, ops)
			}
			return out
		},
		Init: func() any { return 0 },
		Step: func(state, in, out any) (bool, any) { return step(state.(int), in.(change), out.(verdict)) },
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v: %d", in, out)
		},
	}
}

// note adds an operation that began then and ends now.
func (h *histories) note(kind string, client int, began time.Time, c change, v verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := porcupine.Operation{ClientId: client, Input: c, Call: int64(began.Sub(h.begin)), Output: v, Return: int64(time.Since(h.begin))}
	if v == unsure {
		o.Return = math.MaxInt64
	}
	h.ops[kind] = append(h.ops[kind], o)
}

// rival changes the same few objects as others do at the same time.
type rival struct {
	*user
	id     int
	shared *shared
}

// shared is what the rivals fight over.
type shared struct {
	mu       sync.Mutex
	versions map[string]int // of partitions, as last heard
	token    string
}

func (r *run) newRival(i int, s *shared) *rival {
	u := r.newUser(50 + i)
	return &rival{user: u, id: i, shared: s}
}

func (v *rival) work(ctx context.Context) {
	for ctx.Err() == nil {
		switch v.rng.IntN(4) {
		case 0:
			v.partition(ctx, fmt.Sprint("fight", v.rng.IntN(2)))
		case 1:
			v.job(ctx)
		case 2:
			v.tokens(ctx)
		case 3:
			v.scales(ctx)
		}
		pause(ctx, time.Duration(v.rng.Int64N(int64(300*time.Millisecond))))
	}
}

// ask sends a request and tells what came of it. After a try that may have
// taken effect, a refusal proves nothing.
func (v *rival) ask(ctx context.Context, method, path string, in, out any) verdict {
	doubt := false
	err := v.sendDoubt(ctx, method, path, in, out, &doubt)
	switch {
	case err == nil:
		return done
	case doubt || unclear(err):
		return unsure
	}
	return refused
}

func (v *rival) partition(ctx context.Context, path string) {
	v.shared.mu.Lock()
	c := change{object: path, before: v.shared.versions[path]}
	v.shared.mu.Unlock()
	query := fmt.Sprint("?if_version=", c.before)
	if c.before == 0 {
		query = "?create=1"
	}
	var got api.PartitionChange
	began := time.Now()
	// A weight that nobody else asks for, or it would be no change.
	verdict := v.ask(ctx, http.MethodPut, "/v1/partitions/"+path+query, map[string]any{"weight": 1 + v.rng.IntN(90), "priority": v.rng.IntN(1000)}, &got)
	if verdict == done {
		c.after = got.Partition.Version
	}
	v.histories.note("partition", v.id, began, c, verdict)
	if verdict != done { // learn what it has now
		var now api.Partition
		if v.nodes[v.rng.IntN(len(v.nodes))].Call(http.MethodGet, "/v1/partitions/"+path, nil, &now) != nil {
			return
		}
		c.after = now.Version
	}
	v.shared.mu.Lock()
	v.shared.versions[path] = max(v.shared.versions[path], c.after)
	v.shared.mu.Unlock()
}

// job takes a name that others want in the same second.
func (v *rival) job(ctx context.Context) {
	name := fmt.Sprint("once-", int(time.Since(v.histories.begin).Seconds()))
	v.ledger.mu.Lock()
	if v.ledger.batches[name] == nil {
		v.ledger.batches[name] = &promise{job: name, tasks: 1, codes: []int{0}, silent: true}
	}
	v.ledger.mu.Unlock()
	began := time.Now()
	verdict := v.ask(ctx, http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "name": name, "cpus": 0.01, "mem": "8MiB", "command": []string{"/bin/true"}}, nil)
	v.histories.note("job", v.id, began, change{object: name}, verdict)
	if verdict == done {
		v.ledger.mu.Lock()
		v.ledger.batches[name].acked = true
		v.ledger.mu.Unlock()
	}
}

// tokens makes one for all, or revokes it beside the others.
func (v *rival) tokens(ctx context.Context) {
	v.shared.mu.Lock()
	id := v.shared.token
	if v.rng.IntN(3) == 0 {
		v.shared.token = ""
	}
	v.shared.mu.Unlock()
	if id != "" {
		began := time.Now()
		v.histories.note("token", v.id, began, change{object: id}, v.ask(ctx, http.MethodDelete, "/v1/tokens/"+id, nil, nil))
		return
	}
	var g api.TokenGrant
	if v.ask(ctx, http.MethodPost, "/v1/tokens", api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer}, &g) == done {
		v.shared.mu.Lock()
		v.shared.token = g.ID
		v.shared.mu.Unlock()
	}
}

// fought is the service that the rivals scale; it has no node to run on.
const fought = "fought"

func (v *rival) scales(ctx context.Context) {
	c := change{object: fought, count: v.rng.IntN(1000)}
	began := time.Now()
	if verdict := v.ask(ctx, http.MethodPost, "/v1/jobs/"+fought+"/scale", map[string]int{"count": c.count}, nil); verdict != refused {
		v.histories.note("scale", v.id, began, c, verdict)
	}
}

// makeFought makes that service, with no task.
func (r *run) makeFought() {
	r.nodes[0].Submit(map[string]any{"kind": "service", "name": fought, "count": 0, "cpus": 0.01, "mem": "8MiB",
		"constraints": []string{"node.name=nowhere"}, "command": []string{"/bin/true"}})
}

// checkLinear looks for an order of the rivals' operations that explains every
// answer they got. The last reading of the service counts as one of them.
func (r *run) checkLinear(n *lab.Node) {
	var j api.Job
	began := time.Now()
	n.Must(http.MethodGet, "/v1/jobs/"+fought, nil, &j)
	r.histories.note("scale", rivals, began, change{object: fought, count: wanted(&j), read: true}, done)
	n.Must(http.MethodPost, "/v1/jobs/"+fought+"/stop", nil, nil)
	count := 0
	for kind, ops := range r.histories.ops {
		count += len(ops)
		if got := porcupine.CheckOperationsTimeout(models[kind], ops, linearWithin); got != porcupine.Ok {
			r.stage.Errorf("no order of what was asked of each %s explains the answers (%s):\n%s", kind, got, described(ops))
		}
	}
	r.stage.say("order", "%d operations of %d rivals have an order", count, rivals)
}

func described(ops []porcupine.Operation) (out string) {
	for _, o := range ops {
		out += fmt.Sprintf("  %8.3f to %8.3f  client %d  %+v: %d\n", float64(o.Call)/1e9, min(float64(o.Return)/1e9, 1e6), o.ClientId, o.Input, o.Output)
	}
	return out
}

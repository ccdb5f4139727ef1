package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/verdict"
	"github.com/mesita/mesita/integration/lab"
)

// ledger is what the clients were promised.
type ledger struct {
	mu       sync.Mutex
	batches  map[string]*verdict.Promise
	names    []string       // of jobs that the rivals got
	services map[string]int // wanted tasks; -1: not known
	writes   int            // that were acknowledged
	tries    int
}

// user sends work under ids of its own, each until it has an answer.
type user struct {
	*run
	name string
	rng  *rand.Rand
	jobs []string
	n    int
	at   []*lab.Node // whom it asks
}

// patience is how long a client repeats a request.
const patience = 90 * time.Second

func (r *run) newUser(i int) *user {
	return &user{run: r, name: fmt.Sprintf("c%d", i), rng: rand.New(rand.NewPCG(r.o.seed, uint64(i)+100)), at: slices.Clone(r.nodes)}
}

// work sends requests until the context ends.
func (c *user) work(ctx context.Context) {
	for ctx.Err() == nil {
		switch c.rng.IntN(10) {
		case 0:
			c.scale(ctx, c.rng.IntN(5))
		case 1:
			c.stop(ctx)
		default:
			c.submit(ctx)
		}
		pause(ctx, time.Duration(c.rng.Int64N(int64(400*time.Millisecond))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// submit asks for a batch whose tasks take up to two seconds and end with known
// codes.
func (c *user) submit(ctx context.Context) {
	c.n++
	p := &verdict.Promise{Job: fmt.Sprintf("%s-%d", c.name, c.n)}
	tasks := 1 + c.rng.IntN(3)
	code := 0
	if c.rng.IntN(8) == 0 {
		code = 1 + c.rng.IntN(100)
	}
	for range tasks {
		p.Codes = append(p.Codes, code)
	}
	seconds := fmt.Sprintf("%.2f", 0.05+2*c.rng.Float64()*c.rng.Float64())
	spec := map[string]any{"kind": "batch", "name": p.Job, "cpus": 0.02, "mem": "8MiB", "stopGrace": "1s", "command": c.record.Command(seconds, code)}
	if tasks > 1 {
		spec["array"] = fmt.Sprintf("0-%d", tasks-1)
	}
	c.ledger.mu.Lock()
	c.ledger.batches[p.Job] = p
	c.ledger.mu.Unlock()
	var j api.Job
	if c.send(ctx, http.MethodPost, "/v1/jobs", spec, &j) != nil {
		return
	}
	if j.ID != p.Job {
		c.stage.Errorf("%s was submitted, and the answer is about %q", p.Job, j.ID)
	}
	c.ledger.mu.Lock()
	p.Acked = true
	c.ledger.mu.Unlock()
	c.jobs = append(c.jobs, p.Job)
}

// scale sets how many tasks this client's service has.
func (c *user) scale(ctx context.Context, count int) {
	id := "s" + c.name
	c.ledger.mu.Lock()
	before, known := c.ledger.services[id]
	c.ledger.services[id] = -1
	c.ledger.mu.Unlock()
	var j api.Job
	var err error
	if !known {
		err = c.send(ctx, http.MethodPost, "/v1/jobs", map[string]any{"kind": "service", "name": id, "count": count, "cpus": 0.02, "mem": "8MiB", "stopGrace": "1s",
			"restart": map[string]any{"delay": "100ms", "maxDelay": "1s"}, "command": c.record.Command(record.Forever, 0)}, &j)
	} else {
		err = c.send(ctx, http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": count}, &j)
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	switch {
	case err == nil:
		c.ledger.services[id] = count
	case !known && before == 0: // the next one finds out whether there is one
	}
}

// stop stops one of this client's newest batches.
func (c *user) stop(ctx context.Context) {
	if len(c.jobs) == 0 {
		return
	}
	id := c.jobs[len(c.jobs)-1-c.rng.IntN(min(3, len(c.jobs)))]
	c.ledger.mu.Lock()
	c.ledger.batches[id].Stopped = true
	c.ledger.mu.Unlock()
	_ = c.send(ctx, http.MethodPost, "/v1/jobs/"+url.PathEscape(id)+"/stop", nil, nil) // one that has ended already is refused
}

// send repeats one request under one id, at one node after the other, until it
// is answered. An answer that it was refused is an error.
func (c *user) send(ctx context.Context, method, path string, in, out any) error {
	return c.sendDoubt(ctx, method, path, in, out, new(bool))
}

// sendDoubt also says whether a try was made that may have taken effect without
// an answer.
func (c *user) sendDoubt(ctx context.Context, method, path string, in, out any, doubt *bool) error {
	key := rand.New(c.rng).Uint64()
	began := time.Now()
	for try := 0; ; try++ {
		n := c.at[c.rng.IntN(len(c.at))]
		err := n.CallKey(fmt.Sprintf("chaos-%x", key), method, path, in, out)
		c.ledger.mu.Lock()
		c.ledger.tries++
		if err == nil {
			c.ledger.writes++
		}
		c.ledger.mu.Unlock()
		if err == nil || !unclear(err) {
			return err
		}
		*doubt = true
		if ctx.Err() != nil || time.Since(began) > patience {
			return err
		}
		pause(ctx, time.Duration(50+c.rng.IntN(100))*time.Millisecond)
	}
}

// unclear tells whether the same request may be answered otherwise elsewhere or
// later.
func unclear(err error) bool {
	var e *api.Error
	if !errors.As(err, &e) {
		return true
	}
	switch e.Code {
	case api.CodeUnavailable, api.CodeUnknown, api.CodeBusy, api.CodeTimeout, api.CodeInternal:
		return true
	}
	return false
}

// read looks at the cluster from random nodes until the context ends: each
// unit of each node is in one place at every reading.
func (r *run) read(ctx context.Context, nodes []*lab.Node) {
	rng := rand.New(rand.NewPCG(r.o.seed, 99))
	for ctx.Err() == nil {
		n := nodes[rng.IntN(len(nodes))]
		for _, m := range n.Members() {
			r.readings.Add(1)
			for _, w := range verdict.Ledger(&m) {
				r.stage.Errorf("%s says %s", n.Name, w)
			}
		}
		pause(ctx, 100*time.Millisecond)
	}
}

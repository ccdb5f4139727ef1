package crowd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/verdict"
	"github.com/mesita/mesita/integration/lab"
)

// user sends work under ids of its own, each until it has an answer.
type user struct {
	*Crowd
	name string
	rng  *rand.Rand
	jobs []string
	n    int
	at   []*lab.Node // whom it asks
}

// patience is how long a client repeats a request.
const patience = 90 * time.Second

func (r *Crowd) newUser(i int) *user {
	return &user{Crowd: r, name: fmt.Sprintf("c%d", i), rng: rand.New(rand.NewPCG(r.o.Seed, uint64(i)+100)), at: slices.Clone(r.o.Nodes)}
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
		lab.Pause(ctx, time.Duration(c.rng.Int64N(int64(400*time.Millisecond))))
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
	spec := map[string]any{"kind": "batch", "name": p.Job, "cpus": 0.02, "mem": "8MiB", "stopGrace": "1s", "command": c.o.Record.Command(seconds, code)}
	if tasks > 1 {
		spec["array"] = fmt.Sprintf("0-%d", tasks-1)
	}
	c.Promise(p)
	var j api.Job
	if c.send(ctx, http.MethodPost, "/v1/jobs", spec, &j) != nil {
		return
	}
	if j.ID != p.Job {
		c.o.Stage.Errorf("%s was submitted, and the answer is about %q", p.Job, j.ID)
	}
	c.mu.Lock()
	p.Acked = true
	c.mu.Unlock()
	c.jobs = append(c.jobs, p.Job)
}

// scale sets how many tasks this client's service has.
func (c *user) scale(ctx context.Context, count int) {
	id := "s" + c.name
	c.mu.Lock()
	before, known := c.Services[id]
	c.Services[id] = -1
	c.mu.Unlock()
	var j api.Job
	var err error
	if !known {
		err = c.send(ctx, http.MethodPost, "/v1/jobs", map[string]any{"kind": "service", "name": id, "count": count, "cpus": 0.02, "mem": "8MiB", "stopGrace": "1s",
			"restart": map[string]any{"delay": "100ms", "maxDelay": "1s"}, "command": c.o.Record.Command(record.Forever, 0)}, &j)
	} else {
		err = c.send(ctx, http.MethodPost, "/v1/jobs/"+id+"/scale", map[string]int{"count": count}, &j)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.Services[id] = count
	case !known && before == 0: // the next one finds out whether there is one
	}
}

// stop stops one of this client's newest batches.
func (c *user) stop(ctx context.Context) {
	if len(c.jobs) == 0 {
		return
	}
	id := c.jobs[len(c.jobs)-1-c.rng.IntN(min(3, len(c.jobs)))]
	c.mu.Lock()
	c.Batches[id].Stopped = true
	c.mu.Unlock()
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
		c.mu.Lock()
		c.tries++
		if err == nil {
			c.writes++
		}
		c.mu.Unlock()
		if err == nil || !unclear(err) {
			return err
		}
		*doubt = true
		if ctx.Err() != nil || time.Since(began) > patience {
			return err
		}
		lab.Pause(ctx, time.Duration(50+c.rng.IntN(100))*time.Millisecond)
	}
}

// unclear reports whether the same request may be answered otherwise elsewhere or
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

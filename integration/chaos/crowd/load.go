package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/integration/chaos/verdict"
	"github.com/mesita/mesita/integration/lab"
)

// load submits that many small jobs a second with the Go client, which repeats
// requests by itself: none of them may fail.
type load struct {
	*Crowd
	client *client.Client
	failed atomic.Int64
	sent   atomic.Int64

	slowest time.Duration // with the crowd's lock
}

// atSockets sends requests for http://127.0.0.1:N to the socket of node N.
type atSockets []*lab.Node

func (a atSockets) RoundTrip(q *http.Request) (*http.Response, error) {
	var i int
	if _, err := fmt.Sscan(q.URL.Port(), &i); err != nil {
		return nil, err
	}
	return a[i-1].RoundTrip(q)
}

func (r *Crowd) load(ctx context.Context) {
	l := &load{Crowd: r}
	var addrs []string
	for i := range r.o.Nodes {
		addrs = append(addrs, fmt.Sprintf("http://127.0.0.1:%d", i+1))
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	c, err := client.New(client.Config{Addrs: addrs, HTTP: atSockets(r.o.Nodes), Patience: patience}) // how long it may take is a matter of the machine
	if err != nil {
		r.o.Stage.Errorf("%v", err)
		return
	}
	l.client = c
	every := time.Second / time.Duration(r.o.Rate)
	var wg sync.WaitGroup
	var due atomic.Int64
	began := time.Now()
	for range inFlight {
		wg.Go(func() {
			for {
				at := began.Add(time.Duration(due.Add(1)) * every)
				if !backoff.Pause(ctx, time.Until(at)) {
					return
				}
				l.one()
			}
		})
	}
	wg.Wait()
	r.o.Stage.Say("load", "%d jobs, %.0f a second, %d requests failed; the slowest took %.1f s", l.sent.Load(), float64(l.sent.Load())/time.Since(began).Seconds(), l.failed.Load(), l.slowest.Seconds())
}

// inFlight is how many of them wait for an answer at most. What came due while
// all of them waited is sent as soon as they do not: the rate is that of the whole
// run, if the machine can take as many.
const inFlight = 64

// runsOneOf is how many jobs of the load are accepted for each that has a task: a
// machine starts fewer processes than jobs are accepted.
const runsOneOf = 10

func (l *load) one() {
	l.sent.Add(1)
	i := l.loads.Add(1)
	p := &verdict.Promise{Job: fmt.Sprintf("load-%d", i), Codes: []int{0}, Silent: true}
	spec := &api.JobSpec{Name: p.Job, Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}, Placing: api.Placing{Request: api.Request{CPUs: 10, Mem: 8 << 20}}}}
	if i%runsOneOf != 0 {
		spec.Kind, spec.Count, p.Idle = api.KindService, new(0), true
	}
	l.Promise(p)
	began := time.Now()
	_, err := l.client.Submit(context.Background(), spec)
	took := time.Since(began)
	if err != nil {
		l.failed.Add(1)
		l.o.Stage.Errorf("a request failed after %.1f s that the client did not repeat: %v", took.Seconds(), err)
		return
	}
	l.mu.Lock()
	p.Acked = true
	l.slowest = max(l.slowest, took)
	l.mu.Unlock()
}

// Package crowd is the clients that work while a cluster is broken, and what they
// were promised: users with jobs and a service of their own, rivals that change
// the same objects, who works below rules that bound it, readers that look at the
// ledgers, and a load of many small jobs. It breaks and judges nothing; command integration/chaos does.
package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/integration/chaos/linear"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/stage"
	"github.com/mesita/mesita/integration/chaos/verdict"
	"github.com/mesita/mesita/integration/lab"
)

// users is how many clients have jobs of their own.
const users = 3

// Options says who the clients are.
type Options struct {
	Stage  *stage.Stage
	Record *record.Record
	Seed   uint64
	Nodes  []*lab.Node // that they ask
	Rate   int         // jobs a second of the load
	Rules  bool        // the programs of all nodes know the newest rules
}

// Crowd is the clients of one cluster. Its maps are for who has called Halt.
type Crowd struct {
	Batches   map[string]*verdict.Promise
	Services  map[string]int // wanted tasks; -1: not known
	Histories *linear.Histories
	Ruled     *Ruled

	o        Options
	readings atomic.Int64
	loads    atomic.Int64
	workers  []worker
	stop     context.CancelFunc // nil while nobody works
	working  sync.WaitGroup

	mu     sync.Mutex // of the maps and what follows
	names  []string   // of jobs that the rivals got
	writes int        // that were acknowledged
	tries  int
}

// worker sends requests until its context ends.
type worker interface{ work(ctx context.Context) }

// New is a crowd that does not work yet.
func New(o Options) *Crowd {
	o.Nodes = slices.Clone(o.Nodes)
	return &Crowd{o: o, Batches: map[string]*verdict.Promise{}, Services: map[string]int{}, Histories: linear.New(), Ruled: newRuled()}
}

// Work sends the clients to work, or lets them continue.
func (r *Crowd) Work(ctx context.Context) {
	if r.workers == nil {
		r.hire()
	}
	ctx, r.stop = context.WithCancel(ctx)
	for _, w := range r.workers {
		r.working.Go(func() { w.work(ctx) })
	}
	r.working.Go(func() { r.read(ctx) })
	if r.o.Rate > 0 {
		r.working.Go(func() { r.load(ctx) })
	}
}

func (r *Crowd) hire() {
	r.o.Stage.Cleanup(r.Halt)
	r.makeFought()
	for i := range users {
		r.workers = append(r.workers, r.newUser(i))
	}
	if r.o.Rules {
		r.hireRuled()
	}
	s := &shared{versions: map[string]int{}}
	for i := range Rivals {
		r.workers = append(r.workers, r.newRival(i, s))
	}
}

// Halt waits for the clients to finish what they are at.
func (r *Crowd) Halt() {
	if r.stop != nil {
		r.stop()
		r.working.Wait()
		r.stop = nil
	}
}

// Promise notes what somebody is about to ask for, or was promised.
func (r *Crowd) Promise(p *verdict.Promise) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Batches[p.Job] = p
}

// Names are those of the jobs that the rivals got.
func (r *Crowd) Names() []string { return r.names }

// String says how much was asked and answered.
func (r *Crowd) String() string {
	return fmt.Sprintf("%d batches, %d writes in %d tries, %d readings", len(r.Batches), r.writes, r.tries, r.readings.Load())
}

// read looks at the cluster from random nodes until the context ends: each
// unit of each node is in one place at every reading.
func (r *Crowd) read(ctx context.Context) {
	rng := rand.New(rand.NewPCG(r.o.Seed, 99))
	for ctx.Err() == nil {
		n := r.o.Nodes[rng.IntN(len(r.o.Nodes))]
		for _, m := range n.Members() {
			r.readings.Add(1)
			for _, w := range verdict.Ledger(&m) {
				r.o.Stage.Errorf("%s says %s", n.Name, w)
			}
		}
		if r.o.Rules {
			r.readRules(n)
		}
		lab.Pause(ctx, 100*time.Millisecond)
	}
}

package integration

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
	"github.com/mesita/mesita/fsm"
)

const (
	chaosSeeds = 20
	chaosSteps = 30
)

// Random nodes are cut off, stopped and drained, and random reports lost, while
// work comes in. The watchdog looks at what must hold meanwhile; when all is
// well again, each job that was acknowledged ends, exactly what is asked for
// runs, and all replicas are equal.
func TestSimulatedChaos(t *testing.T) {
	for seed := range uint64(chaosSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			plan := func(r keeper.StartRequest) runtimetest.Plan { return fate(seed, r.ID) }
			simulate(t, plan, func(s *sim) {
				c := &chaos{sim: s, rng: rand.New(rand.NewPCG(seed, 1)), web: 3}
				c.patience = 3 * time.Second
				c.submit(service("web", c.web))
				for range chaosSteps {
					c.step()
					c.pass(time.Duration(c.rng.Int64N(int64(2500 * time.Millisecond))))
				}
				c.calm()
				c.check()
			})
		})
	}
}

// fate is what becomes of an attempt: it hangs on nothing but the seed.
func fate(seed uint64, id string) runtimetest.Plan {
	if job, _, _ := attemptID(id); job == "web" {
		return runtimetest.Plan{}
	}
	h := fnv.New64a()
	fmt.Fprint(h, seed, id)
	n := h.Sum64()
	p := runtimetest.Plan{Run: 50*time.Millisecond + time.Duration(n%3000)*time.Millisecond}
	switch n >> 32 % 10 {
	case 0:
		p.Code = 1 + int(n>>40%100)
	case 1:
		p.OOM = true
	case 2:
		p.Slow = 200 * time.Millisecond
	case 3:
		p.Ignore = true
	}
	return p
}

type chaos struct {
	*sim
	rng  *rand.Rand
	web  int      // tasks of the service
	jobs []string // that were acknowledged
}

func (c *chaos) step() {
	n := c.nodes[c.rng.IntN(len(c.nodes))]
	switch c.rng.IntN(10) {
	case 0, 1:
		n.cut()
	case 2, 3:
		n.heal()
	case 4:
		if n.daemon.Load() != nil {
			n.stop()
		} else {
			n.start()
		}
	case 5:
		n.reports.Store(int32(c.rng.IntN(3)))
	case 6, 7:
		spec := array(fmt.Sprintf("job%d", len(c.jobs)), fmt.Sprintf("0-%d", c.rng.IntN(15)), c.rng.IntN(4))
		if _, err := c.do(c.creation(spec)); err == nil {
			c.jobs = append(c.jobs, spec.Name)
		}
	case 8:
		count := c.rng.IntN(7)
		if !c.settledDown() {
			break
		}
		if _, err := c.do(&fsm.JobScale{Meta: c.meta(), ID: "web", Count: count}); err == nil {
			c.web = count
		} else {
			c.web = -1 // it may have happened
		}
	case 9:
		_, _ = c.do(&fsm.NodeDrain{Meta: c.meta(), ID: n.id, Drain: c.rng.IntN(2) == 0}) // there may be no quorum
	}
}

// calm makes all well again.
func (c *chaos) calm() {
	c.patience = time.Minute
	for _, n := range c.nodes {
		if n.daemon.Load() == nil {
			n.start()
		}
		n.heal()
		n.reports.Store(reportsArrive)
	}
	for _, n := range c.nodes {
		c.must(&fsm.NodeDrain{Meta: c.meta(), ID: n.id, Drain: false})
	}
	if c.web < 0 {
		c.web = 4
	}
	c.until(time.Minute, "what is told to stop to end", c.settledDown)
	c.must(&fsm.JobScale{Meta: c.meta(), ID: "web", Count: c.web})
}

// settledDown reports whether no task of the service is about to end because of
// an earlier change of the count.
func (c *chaos) settledDown() bool {
	l := c.leader()
	if l == nil {
		return false
	}
	for t := range l.store.View().JobTasks("web") {
		if t.Desired == api.DesiredStop {
			return false
		}
	}
	return true
}

func (c *chaos) check() {
	c.t.Helper()
	for _, id := range c.jobs {
		j := c.ended(id, 5*time.Minute)
		if j.ExitCode == nil || (*j.ExitCode == 0) != (j.State == api.JobFinished) || j.Counts.Finished+j.Counts.Failed != j.Counts.Total() {
			c.t.Errorf("job %s is %s, exit code %v, %+v", id, j.State, j.ExitCode, j.Counts)
		}
		c.finals(id)
	}
	c.until(5*time.Minute, "the end of what was not acknowledged", func() bool { return len(c.live()) == 1 })
	c.runs("web", c.web)
	c.finals("web")
	c.agreed()
	alive := 0
	for _, n := range c.nodes {
		alive += len(n.rt.Alive())
	}
	if alive != c.web {
		c.t.Errorf("%d processes run, and %d tasks", alive, c.web)
	}
}

// live lists the jobs that have not ended.
func (c *chaos) live() []string {
	var out []string
	for j := range c.awaitLeader().store.View().Jobs() {
		if !j.State.Ended() {
			out = append(out, j.ID)
		}
	}
	return out
}

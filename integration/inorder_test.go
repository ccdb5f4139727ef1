package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// idleCrowd is one in which tasks end when the test has them end, nobody knows when,
// and none is preempted. Its room comes bit by bit, for one task like all others, or all
// at once.
type idleCrowd struct {
	*crowd
	bits    bool
	limited map[string]bool // partitions at and below limits
}

func newIdleCrowd(rt *rapid.T) *idleCrowd {
	c := &idleCrowd{bits: rapid.Bool().Draw(rt, "bit by bit"), limited: map[string]bool{}}
	nodes := make([]api.Resources, 1<<rapid.IntRange(0, 2).Draw(rt, "nodes")) // a power of two: what users have is exact
	for i := range nodes {
		nodes[i] = api.Resources{CPUs: 512_000 / api.MilliCPU(len(nodes)), Mem: 1 << 40}
		if c.bits {
			nodes[i].CPUs /= 4
		}
	}
	c.crowd = &crowd{shared: newShared(rt, nodes), rt: rt}
	c.partition(&api.Partition{Path: "hogs", Preempt: api.PreemptNever})
	owed := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "may have a guarantee")
	for _, path := range []string{"a", "a/x", "a/y", "b"} {
		p := &api.Partition{Path: path, Weight: api.Weight(1000 * c.pick(1, 4)), Preempt: api.PreemptNever,
			Policy: rapid.SampledFrom([]api.Policy{api.PolicyFIFO, api.PolicyPriority, api.PolicyFair, api.PolicySJF, api.PolicySRTF}).Draw(rt, "policy")}
		switch c.pick(0, 3) {
		case 0:
			p.Limit = api.Amounts{CPUs: api.MilliCPU(1000 * c.pick(1, 16))}
		case 1:
			if path == owed {
				p.Guarantee = api.Amounts{CPUs: api.MilliCPU(1000 * c.pick(1, 6))}
			}
		}
		c.limited[path] = !p.Limit.IsZero() || c.limited[api.ParentPath(path)]
		c.partition(p)
	}
	return c
}

// job submits one without --time. Where a limit is shared, and where room comes bit by
// bit, all tasks are alike, as smaller ones would pass larger ones; where all comes at
// once, no two jobs are of one user.
func (c *idleCrowd) job() {
	path := rapid.SampledFrom([]string{"a", "a/x", "a/y", "b"}).Draw(c.rt, "partition")
	j, user := batchOf(path, c.pick(1, 6), 1000, 1<<20), fmt.Sprint("user", c.n)
	switch {
	case c.bits:
		user = fmt.Sprint("user", c.pick(0, 2))
	case c.limited["a"] || c.limited["a/x"] || c.limited["a/y"] || c.limited["b"]:
	default:
		if j.CPUs = api.MilliCPU(500 * c.pick(1, 8)); c.pick(0, 4) == 0 {
			j.Array, j.Gang = "", c.pick(2, 4)
		}
	}
	j.Name, j.Priority = fmt.Sprint("j", c.n), c.pick(0, 3)
	c.n++
	c.submit(user, j)
	c.settle()
	c.now = c.now.Add(time.Duration(c.pick(0, 90)) * time.Second)
}

// fill has all room be taken by tasks of so many cpus, and smaller ones.
func (c *idleCrowd) fill(sizes ...api.MilliCPU) {
	c.t.Helper()
	for _, size := range sizes {
		n := 0
		for node := range c.View().Nodes() {
			l, _ := c.View().Ledger(node.ID)
			n += int(l.Free.CPUs / size)
		}
		if n > 0 {
			c.submit("hog", batchOf("hogs", n, size, 1<<20))
			c.settle()
		}
	}
}

// end has so many tasks end of those below some partition; it tells how many did.
func (c *idleCrowd) end(most int, within func(partition string) bool) int {
	c.t.Helper()
	report := &fsm.TaskReport{Meta: c.meta()}
	for t := range c.View().Tasks() {
		if len(report.Statuses) < most && t.Holds() && within(t.Partition) {
			report.Statuses = append(report.Statuses, api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskFinished, PID: 1, ExitCode: new(int), Time: c.now})
		}
	}
	if len(report.Statuses) > 0 {
		c.do(report)
		c.settle()
	}
	return len(report.Statuses)
}

// Nobody knows when there is room. Once there is, who stands before another one in the
// queue is served before, whether room comes bit by bit or all at once, and whatever
// weights, guarantees, limits and policies say. Who is at a limit stands behind all
// others, is told so, and starts once tasks end that its limit is for.
func TestWhoStandsBeforeIsServedBefore(t *testing.T) {
	served, barred := 0, 0
	draw.Check(t, func(rt *rapid.T) {
		c := newIdleCrowd(rt)
		if c.bits {
			c.fill(1000) // nobody had more than others while they waited, for which they would have to make up
		} else {
			for range c.pick(0, 3) {
				c.job()
			}
			c.fill(4000, 500)
		}
		for range c.pick(2, 9) {
			c.job()
		}
		c.settle()
		rows := c.queue()
		c.started = nil
		if c.bits {
			for c.end(1, func(p string) bool { return p == "hogs" }) > 0 {
			}
		} else {
			c.end(1<<20, func(p string) bool { return p == "hogs" })
		}
		place := c.places()
		went := len(c.started)
		for _, r := range rows {
			switch {
			case r.Sure != api.SureNot:
				rt.Fatalf("nobody knows when %s starts: %s, %s", r.Task, r.Sure, r.Estimate)
			case place[r.Job] > 0 && place[r.Job] != r.Position:
				rt.Fatalf("%s was served at place %d, the queue says %d: %s\n%s", r.Task, place[r.Job], r.Position, strings.Join(texts(rows), "\n"), strings.Join(c.started, " "))
			case place[r.Job] > 0:
				served++
			case !c.limited[r.Partition] || r.Position <= went || r.Obstacle.Kind != api.ObstacleLimit && r.Obstacle.Kind != api.ObstacleQuota:
				rt.Fatalf("%s was not served, %d tasks were: %s", r.Task, went, strings.Join(texts(rows), "\n"))
			default:
				barred++
			}
		}
		for c.end(1<<20, func(p string) bool { return c.limited[p] }) > 0 {
		}
		place = c.places()
		last := map[string]*api.Queued{}
		for _, r := range rows {
			before := last[r.Partition]
			if p := c.View().Partition(r.Partition).Policy; place[r.Job] == 0 || before != nil && place[before.Job] > place[r.Job] && p != api.PolicyFair && p != api.PolicySJF && p != api.PolicySRTF {
				rt.Fatalf("%s, which stands before %s, is served after it: %s\n%s", before.Task, r.Task, strings.Join(texts(rows), "\n"), strings.Join(c.started, " "))
			}
			last[r.Partition] = r
		}
	})
	if served == 0 || barred == 0 {
		t.Errorf("%d jobs were served and %d were at limits: the test shows nothing", served, barred)
	}
}

// places are how many tasks started before the first of each job, and one.
func (s *shared) places() map[string]int {
	out := map[string]int{}
	for i, id := range s.started {
		if out[id] == 0 {
			out[id] = i + 1
		}
	}
	return out
}

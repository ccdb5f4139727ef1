package simulate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate/trace"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// drawCluster is a small cluster with two or three partitions of any policy,
// placement and way to preempt, and a node or two that fail and return.
func drawCluster(t *rapid.T) *Cluster {
	c := &Cluster{Seed: rapid.Int64Range(0, 5).Draw(t, "seed"), Stop: api.Duration(rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(t, "stop"))}
	nodes := rapid.IntRange(1, 4).Draw(t, "nodes")
	for i := range nodes {
		c.Nodes = append(c.Nodes, NodeGroup{Name: fmt.Sprintf("n%d", i), Resources: fmt.Sprintf("cpus=%d,mem=8GiB", rapid.IntRange(2, 4).Draw(t, "cpus"))})
	}
	for i, name := range []string{"a", "b", "b/c"}[:rapid.IntRange(2, 3).Draw(t, "partitions")] {
		p := &api.Partition{Path: name, Weight: api.Weight(1000 * (i + 1)),
			Policy:     rapid.SampledFrom(api.Names(api.Policies())).Draw(t, "policy"),
			Placement:  rapid.SampledFrom(api.Names(api.Placements())).Draw(t, "placement"),
			Preempt:    rapid.SampledFrom(api.Names(api.Preempts())).Draw(t, "preempt"),
			MinRuntime: api.Duration(5 * time.Second)}
		if p.Preempt != api.PreemptNever {
			p.Notice = api.Duration(rapid.SampledFrom([]time.Duration{0, 3 * time.Second, 90 * time.Second}).Draw(t, "notice"))
		}
		if name == "a" {
			p.Guarantee.CPUs = api.MilliCPU(1000 * rapid.IntRange(0, 2).Draw(t, "guarantee"))
		}
		c.Partitions = append(c.Partitions, p)
	}
	for range rapid.IntRange(0, 2).Draw(t, "failures") {
		c.Failures = append(c.Failures, Failure{Node: fmt.Sprintf("n%d", rapid.IntRange(0, nodes-1).Draw(t, "node")),
			At: api.Duration(rapid.IntRange(0, 200).Draw(t, "at")) * api.Duration(time.Second), For: api.Duration(30 * time.Second)})
	}
	return c
}

func drawTrace(t *rapid.T, c *Cluster) string {
	var b strings.Builder
	b.WriteString("submit,user,partition,tasks,gang,cpus,mem,runtime,time,priority\n")
	for range rapid.IntRange(1, 15).Draw(t, "jobs") {
		runtime := rapid.IntRange(1, 60).Draw(t, "runtime")
		said := ""
		if rapid.Bool().Draw(t, "says") {
			said = fmt.Sprint(runtime + rapid.IntRange(-1, 30).Draw(t, "more"))
		}
		if said == "0" {
			said = ""
		}
		gang, tasks := "no", rapid.IntRange(1, 6).Draw(t, "tasks")
		if rapid.IntRange(0, 3).Draw(t, "gang") == 0 {
			gang, tasks = "yes", min(tasks, len(c.Nodes))
		}
		fmt.Fprintf(&b, "%d,u%d,%s,%d,%s,%d,1GiB,%d,%s,%d\n", rapid.IntRange(0, 120).Draw(t, "submit"), rapid.IntRange(0, 2).Draw(t, "user"),
			rapid.SampledFrom(c.Partitions).Draw(t, "partition").Path, tasks, gang, rapid.IntRange(1, 2).Draw(t, "cpus"), runtime, said,
			rapid.IntRange(0, 20).Draw(t, "priority"))
	}
	return b.String()
}

// Whatever comes, no node is overbooked, no task runs twice, no work is lost
// from the books, gangs start whole, and everything that fits ends.
func TestAnySimulation(t *testing.T) {
	draw.Check(t, func(t *rapid.T) {
		c := drawCluster(t)
		if err := c.Validate(); err != nil {
			t.Fatalf("%v", err)
		}
		text := drawTrace(t, c)
		tr, err := trace.Read("trace.csv", strings.NewReader(text), trace.Mapping{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		res, err := Run(context.Background(), c, tr)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		checkResult(t, res)
		checkGangs(t, res)
		if r := &res.Report; r.Unfinished > 0 || r.Finished+r.OverTime+r.Stopped != r.Tasks {
			t.Fatalf("not all ended: %+v\n%s", r, text)
		}
	})
}

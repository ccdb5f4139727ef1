// Command comparetool runs one workload trace under every queue policy and
// every placement, and writes a table (standard output) and a picture of it.
// scripts/compare calls it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate"
	"github.com/mesita/mesita/cluster/simulate/trace"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"
)

func main() {
	cluster := flag.String("cluster", "cluster/simulate/traces/batch.yaml", "cluster `FILE`")
	work := flag.String("trace", "cluster/simulate/traces/batch.csv", "trace `FILE`")
	svg := flag.String("svg", "integration/policies.svg", "picture `FILE`")
	flag.Parse()
	if err := run(*cluster, *work, *svg); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// outcome is one simulation.
type outcome struct {
	policy    api.Policy
	placement api.Placement
	*simulate.Report
}

func run(cluster, work, svg string) error {
	var all []*outcome
	for _, policy := range api.Names(api.Policies()) {
		for _, placement := range api.Names(api.Placements()) {
			all = append(all, &outcome{policy: policy, placement: placement})
		}
	}
	var group errgroup.Group
	group.SetLimit(2)
	for _, o := range all {
		group.Go(func() error { return o.simulate(cluster, work) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	table(all)
	return os.WriteFile(svg, []byte(picture(all)), 0o644)
}

// simulate runs the trace with all partitions set to one policy and placement.
func (o *outcome) simulate(cluster, work string) error {
	c, err := readCluster(cluster)
	if err != nil {
		return err
	}
	for _, p := range c.Partitions {
		p.Policy, p.Placement = o.policy, o.placement
	}
	if err := c.Validate(); err != nil {
		return err
	}
	f, err := os.Open(work)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := trace.Read(work, f, c.Trace)
	if err != nil {
		return err
	}
	res, err := simulate.Run(context.Background(), c, t)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", o.policy, o.placement, err)
	}
	o.Report = &res.Report
	return nil
}

func readCluster(name string) (*simulate.Cluster, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	if b, err = json.Marshal(v); err != nil {
		return nil, err
	}
	c := new(simulate.Cluster)
	return c, api.DecodeStrict(strings.NewReader(string(b)), c)
}

func table(all []*outcome) {
	fmt.Println("| policy | placement | makespan | cpus in use | wait: mean | median | p90 | p99 | slowdown | killed | lost core hours | fairness |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, o := range all {
		fmt.Printf("| %s | %s | %s | %.1f %% | %s | %s | %s | %s | %.2f | %d | %.1f | %.3f |\n", o.policy, o.placement, minutes(o.Makespan), o.Utilisation.CPUs*100,
			minutes(o.Wait.Mean), minutes(o.Wait.P50), minutes(o.Wait.P90), minutes(o.Wait.P99), o.Slowdown, o.Preemptions.Killed, o.Preemptions.LostWork/3600, o.Fairness.Partitions)
	}
}

func minutes(seconds float64) string { return fmt.Sprintf("%.1f min", seconds/60) }

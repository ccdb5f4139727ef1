package simulate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// sharer is a partition of the model: an endless backlog of tasks of one width.
type sharer struct {
	weight, width int
	shortest      int // seconds; the longest is the same for all
	array         bool
}

// shares is weighted sharing as one would do it by hand, with the same indivisible
// tasks and nodes: in each of many rounds the nodes are filled anew, and whoever
// has had the least by its weight until then comes next. It gives the cpus that
// each has on average.
func shares(nodes []int, all []sharer) []float64 {
	const rounds = 2000
	had := make([]float64, len(all))
	for range rounds {
		left := append([]int(nil), nodes...)
		full := make([]bool, len(all))
		for {
			least := -1
			for i, s := range all {
				if !full[i] && (least < 0 || had[i]/float64(s.weight) < had[least]/float64(all[least].weight)) {
					least = i
				}
			}
			if least < 0 {
				break
			}
			best := -1
			for n := range left {
				if left[n] >= all[least].width && (best < 0 || left[n] < left[best]) {
					best = n
				}
			}
			if best < 0 {
				full[least] = true
				continue
			}
			left[best] -= all[least].width
			had[least] += float64(all[least].width)
		}
	}
	for i := range had {
		had[i] /= rounds
	}
	return had
}

// longest is the run time of the longest task in the traces of the model.
const longest = 100

// simulatedShares is the cpus that each has on average in the simulator, over so
// many of the longest task. With above, nodes are larger, and the limit of a
// partition above is what all of the model have.
func simulatedShares(t *testing.T, nodes []int, above bool, all []sharer, windows int, r *rand.Rand) []float64 {
	t.Helper()
	until := windows * longest
	c := &Cluster{Until: api.Duration(time.Duration(until) * time.Second)}
	cores := 0
	for i, n := range nodes {
		c.Nodes = append(c.Nodes, NodeGroup{Name: fmt.Sprint("n", i), Resources: fmt.Sprintf("cpus=%d,mem=64GiB", n)})
		cores += n
	}
	top := ""
	if above {
		top = "top/"
		c.Nodes = []NodeGroup{{Name: "n", Resources: "cpus=64,mem=64GiB"}}
		c.Partitions = append(c.Partitions, &api.Partition{Path: "top", Limit: api.Amounts{CPUs: api.MilliCPU(cores) * 1000}})
	}
	var b strings.Builder
	b.WriteString("submit,partition,tasks,cpus,mem,runtime\n")
	for i, s := range all {
		c.Partitions = append(c.Partitions, &api.Partition{Path: fmt.Sprint(top, "p", i), Weight: api.Weight(1000 * s.weight)})
		for need := cores * until; need > 0; { // as much as it could use alone
			tasks, runtime := 1, s.shortest+r.IntN(longest-s.shortest+1)
			if s.array {
				tasks = 50
			}
			fmt.Fprintf(&b, "0,%sp%d,%d,%d,1MiB,%d\n", top, i, tasks, s.width, runtime)
			need -= tasks * s.width * runtime
		}
	}
	res := ran(t, c, b.String())
	got := make([]float64, len(all))
	for _, x := range res.segments {
		var p int
		if _, err := fmt.Sscanf(strings.TrimPrefix(res.jobs[x.job].Partition, top), "p%d", &p); err != nil {
			t.Fatal(err)
		}
		got[p] += (min(x.to.Seconds(), float64(until)) - x.from.Seconds()) * float64(all[p].width) / float64(until)
	}
	return got
}

// Over many tasks no partition has less of what all have than its weight says, by
// more than one of its tasks, however few nodes there are, or below a limit that bounds all of them. More it may have: what
// others' tasks leave is often too narrow for them. What is idle, as room is kept
// and as tasks have to be where they fit, is no more than a task of each.
func TestSharesOverTime(t *testing.T) {
	windows := 20
	if seeds(0) > 0 {
		windows = 50 // a task at the end of a short one weighs more
	}
	check := func(name string, nodes []int, above bool, all []sharer, r *rand.Rand) {
		want, got := shares(nodes, all), simulatedShares(t, nodes, above, all, windows, r)
		most, sum, widths := 0.0, 0.0, 0
		for i := range all {
			most, sum, widths = most+want[i], sum+got[i], widths+all[i].width
		}
		for i := range all {
			if got[i] < want[i]*min(1, sum/most)-float64(all[i].width) {
				t.Errorf("%s: %v: p%d has %.2f cpus on average, by the model %.2f (all: %.2f, %.2f)", name, nodes, i, got[i], want[i], got, want)
			}
		}
		if sum < most-float64(widths) {
			t.Errorf("%s: %v: %.1f cpus are used, by the model %.1f (all: %.2f, %.2f)", name, nodes, sum, most, got, want)
		}
	}
	for name, c := range map[string]struct {
		nodes []int
		all   []sharer
	}{
		"1:2:4":             {[]int{7}, []sharer{{1, 1, 50, false}, {2, 1, 50, false}, {4, 1, 50, false}}},
		"1:2:4, alike":      {[]int{7}, []sharer{{1, 1, 100, false}, {2, 1, 100, false}, {4, 1, 100, false}}},
		"1:2:4, arrays":     {[]int{7}, []sharer{{1, 1, 100, true}, {2, 1, 100, true}, {4, 1, 100, true}}},
		"1:10":              {[]int{11}, []sharer{{1, 1, 30, false}, {10, 1, 30, false}}},
		"a wide one":        {[]int{8}, []sharer{{1, 1, 20, false}, {1, 4, 20, false}}},
		"all of the node":   {[]int{8}, []sharer{{1, 1, 20, false}, {1, 8, 20, false}}},
		"on several nodes":  {[]int{8, 8, 4}, []sharer{{1, 1, 20, false}, {3, 3, 20, false}}},
		"two of them wide":  {[]int{8, 8, 8}, []sharer{{1, 4, 20, false}, {2, 1, 20, true}, {1, 6, 20, false}}},
		"more than are few": {[]int{4, 4, 4, 4, 4, 4}, []sharer{{1, 1, 20, false}, {1, 2, 20, false}, {1, 3, 20, false}, {1, 1, 20, true}}},
	} {
		check(name, c.nodes, false, c.all, rand.New(rand.NewPCG(1, 2)))
		if len(c.nodes) == 1 {
			check(name+", below a limit", c.nodes, true, c.all, rand.New(rand.NewPCG(1, 2)))
		}
	}
	for seed := range seeds(2) {
		r := rand.New(rand.NewPCG(seed, 3))
		var nodes []int
		size := 4 + r.IntN(9)
		for range 3 + r.IntN(12) {
			nodes = append(nodes, size)
		}
		var all []sharer
		for range 2 + r.IntN(3) {
			all = append(all, sharer{1 + r.IntN(5), 1 + r.IntN(size/2), 10 + r.IntN(90), r.IntN(2) == 0})
		}
		check(fmt.Sprint("seed ", seed, " ", all), nodes, false, all, r)
	}
}

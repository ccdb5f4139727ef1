package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// packRand is a random backlog of few tasks, some of which only some nodes may
// take, and nodes of which many are alike.
func packRand(r *rand.Rand) (items []packItem, takes [][]bool, bins []api.Resources) {
	for range 1 + r.IntN(4) {
		bins = append(bins, api.Resources{CPUs: api.MilliCPU(1000 * (2 + 2*r.IntN(3))), Mem: api.Bytes(4+4*r.IntN(2)) << 30})
	}
	for range 1 + r.IntN(8) {
		ok := make([]bool, len(bins))
		only := -1
		if r.IntN(3) == 0 {
			only = r.IntN(len(bins))
		}
		for i := range ok {
			ok[i] = only < 0 || i == only
		}
		need := api.Resources{CPUs: api.MilliCPU(500 * (1 + r.IntN(8))), Mem: api.Bytes(1+r.IntN(4)) << 30}
		items = append(items, packItem{need, fsm.Dominant(need, api.Resources{CPUs: 6000, Mem: 8 << 30}), func(i int) bool { return ok[i] }})
		takes = append(takes, ok)
	}
	return items, takes, bins
}

// bruteForce is the largest value that any packing of the items from that one on
// has.
func bruteForce(items []packItem, takes [][]bool, bins []api.Resources, from int) float64 {
	if from == len(items) {
		return 0
	}
	best := bruteForce(items, takes, bins, from+1)
	for i := range bins {
		if !takes[from][i] || bins[i].CPUs < items[from].need.CPUs || bins[i].Mem < items[from].need.Mem {
			continue
		}
		was := bins[i]
		bins[i].CPUs, bins[i].Mem = was.CPUs-items[from].need.CPUs, was.Mem-items[from].need.Mem
		best = max(best, items[from].value+bruteForce(items, takes, bins, from+1))
		bins[i] = was
	}
	return best
}

// A plan for few tasks is the best there is, also where some of them may go to
// some nodes only.
func TestFewArePackedAsWellAsCanBe(t *testing.T) {
	for seed := range uint64(1000) {
		items, takes, bins := packRand(rand.New(rand.NewPCG(seed, 12)))
		where, bound := packBins(items, bins)
		want := bruteForce(items, takes, bins, 0)
		if got := packValue(items, where); got < want-1e-9 || got > want+1e-9 || bound < want-1e-9 {
			t.Errorf("seed %d: a plan of value %g with bound %g, and %g is possible", seed, got, bound, want)
		}
	}
}

// packCluster is a cluster of those nodes, with the default partition packed.
func packCluster(t *testing.T, bins []api.Resources) *fsm.Store {
	t.Helper()
	s := cluster(t, len(bins))
	for i, b := range bins {
		do(t, s, &fsm.NodeHello{Meta: fsm.Meta{At: t0}, ID: fmt.Sprint("id", i), Hello: api.NodeHello{Addr: "x:1", Resources: b}})
	}
	do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: api.DefaultPartition, Placement: api.PlacePack}})
	return s
}

// Where all tasks fit none waits; where not, the order of the queue goes before
// the plan: who waits had no room when its turn came; and what starts after the
// last that the order started is the best that was possible then. All end at the same
// time, so nobody who waits keeps others from starting.
func TestPackingKeepsTheOrderOfTheQueue(t *testing.T) {
	for seed := range uint64(400) {
		items, takes, bins := packRand(rand.New(rand.NewPCG(seed, 12)))
		s := packCluster(t, bins)
		jobs := make([]string, len(items))
		all := 0.0
		for k, it := range items {
			spec := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Time: api.Duration(time.Minute), Placing: api.Placing{Request: api.Request{CPUs: it.need.CPUs, Mem: it.need.Mem}}}}
			for i := range bins {
				if !takes[k][i] {
					spec.Constraints = append(spec.Constraints, api.Constraint{Attr: "node.name", Op: "!=", Value: fmt.Sprint("n", i)})
				}
			}
			jobs[k] = submit(t, s, spec).ID
			all += it.value
		}
		best := bruteForce(items, takes, bins, 0)
		schedule(t, s, t0)
		// from is the task from which on all is as it was planned last: what was
		// started then is the best.
		reached := false
		for from := range items {
			got := 0.0
			for k := from; k < len(items); k++ {
				if s.View().Task(api.TaskID(jobs[k], 0)).Node != "" {
					got += items[k].value
				}
			}
			reached = reached || got >= bruteForce(items, takes, bins, from)-1e-9
			if from == 0 && best >= all-1e-9 && !reached {
				t.Errorf("seed %d: all fit, and %g of %g starts", seed, got, all)
			}
			node := s.View().Task(api.TaskID(jobs[from], 0)).Node
			for i := range bins {
				fits := takes[from][i] && bins[i].CPUs >= items[from].need.CPUs && bins[i].Mem >= items[from].need.Mem
				if node == "" && fits {
					t.Errorf("seed %d: task %d waits, and n%d had room when its turn came", seed, from, i)
				}
				if node == fmt.Sprint("n", i) {
					bins[i].CPUs, bins[i].Mem = bins[i].CPUs-items[from].need.CPUs, bins[i].Mem-items[from].need.Mem
				}
			}
		}
		if !reached {
			t.Errorf("seed %d: nothing that started is the best that was possible", seed)
		}
	}
}

// Those of whom no more may run take no part in the plan: others go where they would
// go if those were not there.
func TestWhoMayNotRunIsNotPlanned(t *testing.T) {
	for seed := range uint64(100) {
		items, _, bins := packRand(rand.New(rand.NewPCG(seed, 12)))
		where := map[bool][]string{}
		for _, capped := range []bool{false, true} {
			s := packCluster(t, bins)
			do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: api.DefaultPartition, Placement: api.PlacePack, TaskRules: api.TaskRules{MaxRunningPerUser: 1}}})
			ask := func(user, name string, need api.Request) {
				spec := &api.JobSpec{Name: name, Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}, Time: api.Duration(time.Minute), Placing: api.Placing{Request: need}}}
				spec.Normalize()
				do(t, s, &fsm.JobCreate{Meta: fsm.Meta{At: t0, Actor: user}, Spec: spec})
			}
			ask("ada", "runs", api.Request{CPUs: 1, Mem: 1 << 10})
			schedule(t, s, t0)
			if s.View().Task("runs.0").Node == "" {
				t.Fatalf("seed %d: nothing runs of who is to be at the bound", seed)
			}
			for k, it := range items {
				need := api.Request{CPUs: it.need.CPUs, Mem: it.need.Mem}
				if capped {
					ask("ada", "", need)
				}
				ask(fmt.Sprint("user", k), fmt.Sprint("item", k), need)
			}
			schedule(t, s, t0)
			for k := range items {
				where[capped] = append(where[capped], s.View().Task(fmt.Sprintf("item%d.0", k)).Node)
			}
		}
		if !slices.Equal(where[true], where[false]) {
			t.Errorf("seed %d: beside those who may not run they go to %q, without them to %q", seed, where[true], where[false])
		}
	}
}

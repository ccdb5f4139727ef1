package integration

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Who borrows memory keeps the CPUs that are guaranteed to it, whoever asks for theirs.
func TestWhoBorrowsMemoryKeepsItsCPUs(t *testing.T) {
	s := newShared(t, []api.Resources{{CPUs: 10_000, Mem: 6 << 30}})
	s.partition(&api.Partition{Path: "vic", Guarantee: api.Amounts{CPUs: 2000, Mem: 2 << 30}})
	s.partition(&api.Partition{Path: "own", Guarantee: api.Amounts{CPUs: 8000, Mem: 4 << 30}})
	s.submit("x", batchOf("vic", 1, 100, 3<<30))
	small := s.submit("x", batchOf("vic", 4, 500, 16<<20))
	s.settle()
	s.submit("y", batchOf("own", 16, 500, 256<<20))
	s.settle()
	if n := s.View().Job(small).Counts.Running; n != 4 || s.preempt > 0 {
		t.Errorf("%d of 4 tasks within the guarantee of CPUs run, %d were preempted", n, s.preempt)
	}
}

// A task goes to the node whose vector of what is left then is the shortest, in
// units of the largest node: found here by looking at all of them.
func TestClosestIsTheBestFit(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		nodes := make([]api.Resources, 2+r.IntN(10))
		var most api.Resources
		for i := range nodes {
			nodes[i] = api.Resources{CPUs: api.MilliCPU(1000 * (1 + r.IntN(16))), Mem: api.Bytes(1+r.IntN(32)) << 30}
			most.CPUs, most.Mem = max(most.CPUs, nodes[i].CPUs), max(most.Mem, nodes[i].Mem)
		}
		s := newShared(t, nodes)
		s.partition(&api.Partition{Path: "p", Placement: api.PlaceClosest})
		left := slices.Clone(nodes)
		for range 20 {
			cpus, mem := api.MilliCPU(100*(1+r.IntN(40))), api.Bytes(1+r.IntN(64))<<27
			best, length := -1, math.Inf(1)
			for i, n := range left {
				c, m := float64(n.CPUs-cpus)/float64(most.CPUs), float64(n.Mem-mem)/float64(most.Mem)
				if d := math.Hypot(c, m); c >= 0 && m >= 0 && d < length {
					best, length = i, d
				}
			}
			id := s.submit("x", batchOf("p", 1, cpus, mem))
			s.settle()
			got := -1
			if task := s.View().Task(id + ".0"); task != nil && task.NodeID != "" {
				if _, err := fmt.Sscanf(task.NodeID, "id%d", &got); err != nil {
					t.Fatal(err)
				}
			}
			if best < 0 {
				if got >= 0 {
					t.Fatalf("seed %d: n%d took what fits nowhere", seed, got)
				}
				s.do(&fsm.JobStop{Meta: s.meta(), ID: id})
				s.settle()
				continue
			}
			if got < 0 {
				t.Fatalf("seed %d: it waits, and n%d has room", seed, best)
			}
			if d := math.Hypot(float64(left[got].CPUs-cpus)/float64(most.CPUs), float64(left[got].Mem-mem)/float64(most.Mem)); d > length+1e-12 {
				t.Fatalf("seed %d: it went to n%d, which leaves %g; n%d leaves %g", seed, got, d, best, length)
			}
			left[got].CPUs, left[got].Mem = left[got].CPUs-cpus, left[got].Mem-mem
		}
	}
}

// The weighted draw falls on nodes as often as their weights say, by Pearson's
// chi-square test: at one in a thousand, for as many nodes, and the draws are the
// same in each run, as they follow from the ids of the tasks.
func TestWeightedIsDrawnByWeight(t *testing.T) {
	const draws = 4000
	for nodes, critical := range map[int]float64{2: 10.83, 5: 18.47, 10: 27.88} {
		all := make([]api.Resources, nodes)
		weight := 0.0
		for i := range all {
			all[i] = api.Resources{CPUs: api.MilliCPU(100_000 * (i + 1)), Mem: 1 << 40}
			weight += float64(i + 1)
		}
		s := newShared(t, all)
		s.partition(&api.Partition{Path: "p", Placement: api.PlaceWeighted, Alpha: 1000, Beta: 1}) // what is free hardly counts
		s.submit("x", batchOf("p", draws, 1, 1<<20))
		s.settle()
		chi, sum := 0.0, 0
		for i := range all {
			_, n := s.View().Ledger(fmt.Sprint("id", i))
			want := draws * float64(i+1) / weight
			chi, sum = chi+(float64(n)-want)*(float64(n)-want)/want, sum+n
		}
		if sum != draws || chi > critical {
			t.Errorf("%d nodes: %d tasks, a chi-square of %.2f is above %.2f", nodes, sum, chi, critical)
		}
	}
}

package simulate

import (
	"cmp"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(1, math.Abs(a), math.Abs(b)) }

// seeds is how many random cases a test draws: few, as each simulates hours;
// MESITA_SEEDS asks for more.
func seeds(few uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("MESITA_SEEDS"), 10, 32); err == nil && n > 0 {
		return n
	}
	return few
}

// fataler is what a test and a property test have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkResult fails if work appeared or vanished, if a node held more than it
// has, or if a task ran twice at once.
func checkResult(t fataler, res *Result) {
	t.Helper()
	w := res.Report.Work
	if !near(w.Used, w.Done+w.Lost+w.OverTime+w.Services+w.Open) {
		t.Fatalf("used %g is not the sum of what became of it: %+v", w.Used, w)
	}
	done := 0.0
	type change struct {
		at   time.Duration
		cpus api.MilliCPU
		mem  api.Bytes
	}
	byNode := make([][]change, len(res.nodes))
	byTask := map[[2]int32][]segment{}
	finished := map[[2]int32]bool{}
	for _, x := range res.segments {
		j := res.jobs[x.job].Job
		cpus := j.CPUs
		if x.frozen {
			cpus = 0
		}
		byNode[x.node] = append(byNode[x.node], change{x.from, cpus, j.Mem}, change{x.to, -cpus, -j.Mem})
		key := [2]int32{x.job, x.index}
		byTask[key] = append(byTask[key], x)
		if x.outcome == outcomeFinished && !finished[key] {
			finished[key] = true
			done += j.TaskRuntime(int(x.index)).Seconds() * j.CPUs.Cores()
		}
	}
	if !near(done, w.Done) {
		t.Fatalf("tasks that finished took %g core seconds by the trace, and %g in the simulation", done, w.Done)
	}
	for i, cs := range byNode {
		slices.SortFunc(cs, func(a, b change) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.mem, b.mem)) // what ends comes first
		})
		var cpus api.MilliCPU
		var mem api.Bytes
		for _, c := range cs {
			cpus, mem = cpus+c.cpus, mem+c.mem
			if n := res.nodes[i]; cpus > n.resources.CPUs || mem > n.resources.Mem {
				t.Fatalf("%s holds %s cpus and %s of memory at %s", n.name, cpus, mem, c.at)
			}
		}
	}
	for key, xs := range byTask {
		slices.SortFunc(xs, func(a, b segment) int { return int(a.from - b.from) })
		for i := 1; i < len(xs); i++ {
			if xs[i].from < xs[i-1].to {
				t.Fatalf("task %v runs twice at %s", key, xs[i].from)
			}
		}
	}
}

// checkGangs fails if a gang did not start whole.
func checkGangs(t fataler, res *Result) {
	t.Helper()
	for i := range res.jobs {
		if j := &res.jobs[i]; j.Gang {
			if at := starts(res, i); len(at) > 0 && (len(at) != j.Tasks || at[0] != at[len(at)-1]) {
				t.Fatalf("the gang of line %d started at %v", j.Line, at)
			}
		}
	}
}

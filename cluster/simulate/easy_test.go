package simulate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// easyJob is a job of one task on the machine of the model, in seconds.
type easyJob struct{ submit, cpus, runtime, time int }

// easy is EASY backfilling as the literature has it (Mu'alem and Feitelson,
// Utilization, predictability, workloads, and user runtime estimates, IEEE TPDS
// 2001, figure 1), on one machine: when each job starts, and when the first of
// the queue was last promised to.
func easy(total int, jobs []easyJob) (starts, promised []int) {
	starts, promised = make([]int, len(jobs)), make([]int, len(jobs))
	for i := range starts {
		starts[i], promised[i] = -1, -1
	}
	free := total
	var running, queue []int
	for next, now := 0, 0; next < len(jobs) || len(running)+len(queue) > 0; {
		now = 1 << 60
		if next < len(jobs) {
			now = jobs[next].submit
		}
		for _, i := range running {
			now = min(now, starts[i]+jobs[i].runtime)
		}
		running = slices.DeleteFunc(running, func(i int) bool {
			if starts[i]+jobs[i].runtime > now {
				return false
			}
			free += jobs[i].cpus
			return true
		})
		for ; next < len(jobs) && jobs[next].submit == now; next++ {
			queue = append(queue, next)
		}
		start := func(i int) {
			starts[i] = now
			free -= jobs[i].cpus
			running = append(running, i)
		}
		for len(queue) > 0 && jobs[queue[0]].cpus <= free {
			start(queue[0])
			queue = queue[1:]
		}
		if len(queue) == 0 {
			continue
		}
		head := queue[0]
		slices.SortFunc(running, func(a, b int) int { return cmp.Compare(starts[a]+jobs[a].time, starts[b]+jobs[b].time) })
		shadow, then := 0, free
		for _, i := range running {
			if end := starts[i] + jobs[i].time; then < jobs[head].cpus || end == shadow {
				shadow, then = end, then+jobs[i].cpus
			}
		}
		extra := then - jobs[head].cpus
		if promised[head] < 0 {
			promised[head] = shadow
		}
		waiting := queue[:1]
		for _, i := range queue[1:] {
			switch j := jobs[i]; {
			case j.cpus > free || now+j.time > shadow && j.cpus > extra:
				waiting = append(waiting, i)
			default:
				if now+j.time > shadow {
					extra -= j.cpus
				}
				start(i)
			}
		}
		queue = waiting
	}
	return starts, promised
}

// What bounds the jobs of a simulation: the size of the node, the limit of their
// partition, or that of one above.
const (
	byNode = iota
	byLimit
	byLimitAbove
	bounds
)

// simulated is when the simulator starts them, with so many cpus.
func simulated(t *testing.T, total, bound int, jobs []easyJob) []int {
	t.Helper()
	starts, _ := kept(t, total, bound, jobs)
	return starts
}

// kept is simulated, with what came of the room that was kept.
func kept(t *testing.T, total, bound int, jobs []easyJob) ([]int, *Report) {
	t.Helper()
	c := &Cluster{Nodes: []NodeGroup{{Name: "n", Resources: fmt.Sprintf("cpus=%d,mem=64GiB", total)}}}
	limit := api.Amounts{CPUs: api.MilliCPU(total) * 1000}
	path := "default"
	switch bound {
	case byLimit:
		c.Partitions = []*api.Partition{{Path: path, Limit: limit}}
	case byLimitAbove:
		path = "ml/train"
		c.Partitions = []*api.Partition{{Path: "ml", Limit: limit}, {Path: path}}
	}
	if bound != byNode {
		c.Nodes[0].Resources = "cpus=64,mem=64GiB"
	}
	var b strings.Builder
	b.WriteString("submit,partition,cpus,mem,runtime,time\n")
	for _, j := range jobs {
		fmt.Fprintf(&b, "%d,%s,%d,1MiB,%d,%d\n", j.submit, path, j.cpus, j.runtime, j.time)
	}
	res := ran(t, c, b.String())
	out := make([]int, len(jobs))
	for i := range out {
		out[i] = -1
	}
	for _, s := range res.segments {
		if s.from%time.Second != 0 {
			t.Fatalf("job %d starts at %s", s.job, s.from)
		}
		out[s.job] = int(s.from / time.Second)
	}
	return out, &res.Report
}

// idled is the part of so many cpus that was free while a job that did not fit was
// first in line, and that it wanted: in the mean until the last end.
func idled(total int, jobs []easyJob, starts []int) float64 {
	last, sum := 0, 0
	for i, j := range jobs {
		last = max(last, starts[i]+j.runtime)
	}
	for at := range last {
		free, first := total, -1
		for i, j := range jobs {
			switch {
			case j.submit <= at && starts[i] > at:
				if first < 0 {
					first = i
				}
			case starts[i] <= at && at < starts[i]+j.runtime:
				free -= j.cpus
			}
		}
		if first >= 0 {
			sum += min(free, jobs[first].cpus)
		}
	}
	return float64(sum) / float64(total*(last-jobs[0].submit))
}

// The first of a queue that does not fit is passed by nobody who would make it
// late: FIFO with backfilling is EASY, to the second, and no first job begins
// later than it was promised.
func TestBackfillingIsEASY(t *testing.T) {
	for name, c := range map[string]struct {
		jobs []easyJob
		want []int
	}{
		"what the same pass started ends, too": {[]easyJob{{0, 4, 60, 60}, {1, 2, 60, 60}, {2, 4, 10, 10}, {3, 2, 36000, 36000}}, []int{0, 60, 120, 130}},
		"all at once":                          {[]easyJob{{0, 3, 50, 60}, {0, 4, 10, 10}, {0, 1, 50, 50}, {0, 1, 70, 70}}, []int{0, 50, 0, 60}},
	} {
		for bound := range bounds {
			if got := simulated(t, 4, bound, c.jobs); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v (bound %d)", name, got, c.want, bound)
			}
		}
	}
	for seed := range seeds(6) {
		r := rand.New(rand.NewPCG(seed, 7))
		total := 2 + r.IntN(15)
		jobs := make([]easyJob, 300)
		at := 0
		for i := range jobs {
			if r.IntN(4) > 0 {
				at += r.IntN(40)
			}
			runtime := 1 + r.IntN(200)
			jobs[i] = easyJob{at, 1 + r.IntN(1+r.IntN(total)), runtime, runtime + r.IntN(3)*r.IntN(100)}
		}
		want, promised := easy(total, jobs)
		bound := int(seed % bounds)
		got, rep := kept(t, total, bound, jobs)
		firsts := 0
		for i := range jobs {
			if promised[i] >= 0 {
				firsts++
			}
			if promised[i] >= 0 && want[i] > promised[i] {
				t.Fatalf("seed %d: the model promised job %d %d, and starts it at %d", seed, i, promised[i], want[i])
			}
			if got[i] != want[i] {
				t.Errorf("seed %d: job %d of %d cpus starts at %d, by the model at %d (bound %d)", seed, i, jobs[i].cpus, got[i], want[i], bound)
				break
			}
		}
		if rep.Kept.Promised != firsts || rep.Kept.Late != 0 {
			t.Errorf("seed %d: %d of %d promises broken, by the model 0 of %d (bound %d)", seed, rep.Kept.Late, rep.Kept.Promised, firsts, bound)
		}
		if want := idled(total, jobs, got); bound == byNode && math.Abs(rep.Kept.Idle-want) > 1e-4 { // its MiB of memory is idle, too
			t.Errorf("seed %d: %v of the cluster was idle for the first in line, counted anew %v", seed, rep.Kept.Idle, want)
		}
	}
}

// A run time that was learned is not a bound: it lets no job pass one to which room
// was promised.
func TestLearnedTimesPromiseNothing(t *testing.T) {
	var jobs []easyJob
	for i := range 10 {
		jobs = append(jobs, easyJob{i * 10, 1, 5, 600})
	}
	jobs = append(jobs, easyJob{200, 3, 300, 300}, easyJob{201, 4, 10, 10}, easyJob{202, 1, 600, 600})
	got := simulated(t, 4, byNode, jobs)
	if wide, late := got[11], got[12]; wide != 500 || late != 510 {
		t.Errorf("the wide one starts at %d, which was promised 500, and the long one at %d", wide, late)
	}
}

// A promise is by what is known: who comes later and has a guarantee breaks it, which
// is said.
func TestBrokenPromisesAreCounted(t *testing.T) {
	c := &Cluster{Nodes: []NodeGroup{{Name: "n", Resources: "cpus=4,mem=8GiB"}}, Partitions: []*api.Partition{{Path: "default", Preempt: api.PreemptNever}, {Path: "sure", Guarantee: api.Amounts{CPUs: 4000}}}}
	rep := ran(t, c, `submit,partition,cpus,mem,runtime,time
0,default,4,1MiB,100,100
1,default,4,1MiB,10,10
50,sure,4,1MiB,200,200
`).Report
	if rep.Kept.Promised != 2 || rep.Kept.Late != 1 || rep.Kept.Latest != 200 {
		t.Errorf("%+v, want 2 promises, one broken by 200 s", rep.Kept)
	}
	for _, p := range rep.Partitions {
		if late := p.Path == "default"; (p.Kept.Late == 1) != late {
			t.Errorf("%s: %+v", p.Path, p.Kept)
		}
	}
}

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
)

// A simulation in which a task is preempted again and again ends, and says so.
func TestGivingWayIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("submit,cpus,runtime,priority\n0,1,100,0\n")
	for i := range 2 * maxYields {
		fmt.Fprintf(&b, "%d,1,1,9\n", 1+3*i)
	}
	cluster := `{"nodes": [{"name": "n", "resources": "cpus=1,mem=4GiB"}], "partitions": [{"path": "default", "policy": "priority", "aging": "10000h", "minRuntime": "1s"}]}`
	r := &simulate(t, cluster, b.String()).Report
	if !r.Endless || r.Preemptions.Killed != maxYields || len(r.Notes) == 0 || !strings.Contains(r.Notes[0], "line 2 was preempted for the 1000th time") {
		t.Errorf("killed %d, %v, %q", r.Preemptions.Killed, r.Endless, r.Notes)
	}
}

// With priorities that a wait makes up for, who was taken from and is served first
// again is not taken from again.
func TestTakingEnds(t *testing.T) {
	cluster := `{"nodes": [{"name": "n", "resources": "cpus=4,mem=4GiB"}], "partitions": [{"path": "default", "policy": "priority", "aging": "5s", "minRuntime": "5s", "limit": {"cpus": 1}}]}`
	res := simulate(t, cluster, "submit,cpus,runtime,priority\n0,1,10,5\n1,1,900,0\n9,1,10,1\n")
	if r := &res.Report; r.Preemptions.Killed != 0 || r.Makespan != 920 {
		t.Errorf("%d were preempted, and all took %g s", r.Preemptions.Killed, r.Makespan)
	}
}

// shortest is when jobs of one task start on a machine that runs one at a time, the
// one first that was submitted and half as often doubled in time as it waited.
func shortest(jobs []easyJob, aging float64) []int {
	out := make([]int, len(jobs))
	now := 0
	left := map[int]bool{}
	for i := range jobs {
		left[i] = true
	}
	for len(left) > 0 {
		best, next := -1, math.MaxInt
		for i := range jobs {
			if !left[i] {
				continue
			}
			next = min(next, jobs[i].submit)
			rank := func(k int) float64 {
				return float64(jobs[k].submit) + aging*math.Log2(float64(jobs[k].time))
			}
			if jobs[i].submit <= now && (best < 0 || cmp.Or(cmp.Compare(rank(i), rank(best)), cmp.Compare(i, best)) < 0) {
				best = i
			}
		}
		if best < 0 {
			now = next
			continue
		}
		out[best] = now
		now += jobs[best].runtime
		delete(left, best)
	}
	return out
}

// The shortest job goes first, as a model has it, and by how much is a matter of
// the aging time: with a long one that is the order of run times alone.
func TestShortestFirst(t *testing.T) {
	for _, aging := range []time.Duration{time.Second, 10 * time.Minute, 10_000 * time.Hour} {
		for seed := range seeds(3) {
			r := rand.New(rand.NewPCG(seed, 9))
			jobs := make([]easyJob, 120)
			at := 0
			for i := range jobs {
				at += r.IntN(30)
				d := 1 + r.IntN(1<<r.IntN(9))
				jobs[i] = easyJob{at, 1, d, d}
			}
			var b strings.Builder
			b.WriteString("submit,cpus,runtime,time\n")
			for _, j := range jobs {
				fmt.Fprintf(&b, "%d,1,%d,%d\n", j.submit, j.runtime, j.time)
			}
			cluster := fmt.Sprintf(`{"nodes": [{"name": "n", "resources": "cpus=1,mem=4GiB"}], "partitions": [{"path": "default", "policy": "sjf", "aging": "%s"}]}`, aging)
			res := simulate(t, cluster, b.String())
			got := make([]int, len(jobs))
			for _, s := range res.segments {
				got[s.job] = int(s.from / time.Second)
			}
			if want := shortest(jobs, aging.Seconds()); !slices.Equal(got, want) {
				t.Errorf("aging %s, seed %d:\ngot  %v\nwant %v", aging, seed, got, want)
			}
		}
	}
}

// A long job among short ones without end is served once they come so late that
// its wait makes up for how much longer it is.
func TestLongJobsAreServed(t *testing.T) {
	for _, policy := range []string{"sjf", "srtf"} {
		var b strings.Builder
		b.WriteString("submit,cpus,runtime,time\n0,1,30,30\n1,1,1024,1024\n")
		for i := range 600 {
			fmt.Fprintf(&b, "%d,1,16,16\n", 2+15*i)
		}
		res := simulate(t, fmt.Sprintf(`{"nodes": [{"name": "n", "resources": "cpus=1,mem=4GiB"}], "partitions": [{"path": "default", "policy": "%s"}]}`, policy), b.String())
		// It is 64 times as long, six doublings of ten minutes each. Those that came
		// before run first, and they come faster than they run.
		if at := starts(res, 1)[0]; at < 3600 || at > 3600*17/15+60 {
			t.Errorf("%s: the long job starts at %g s", policy, at)
		}
	}
}

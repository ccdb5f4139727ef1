package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate/trace"
	"go.yaml.in/yaml/v3"
)

func readTrace(t testing.TB, text string) *trace.Trace {
	t.Helper()
	tr, err := trace.Read("trace.csv", strings.NewReader(text), trace.Mapping{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func readCluster(t testing.TB, text string) *Cluster {
	t.Helper()
	c := new(Cluster)
	if err := api.DecodeStrict(strings.NewReader(text), c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// simulate runs a trace and checks what holds for every simulation.
func simulate(t testing.TB, cluster, tr string) *Result {
	t.Helper()
	res := ran(t, readCluster(t, cluster), tr)
	checkResult(t, res)
	return res
}

// ran runs a trace on a cluster that was made up.
func ran(t testing.TB, c *Cluster, tr string) *Result {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	res, err := Run(context.Background(), c, readTrace(t, tr))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// starts lists when the tasks of a job first ran, in seconds.
func starts(res *Result, job int) []float64 {
	first := map[int32]time.Duration{}
	for _, x := range res.segments {
		if at, ok := first[x.index]; int(x.job) == job && (!ok || x.from < at) {
			first[x.index] = x.from
		}
	}
	var out []float64
	for _, at := range first {
		out = append(out, at.Seconds())
	}
	slices.Sort(out)
	return out
}

const oneNode = `{"nodes": [{"name": "n", "resources": "cpus=2,mem=4GiB"}]}`

// Two cores: two of three tasks start at once, the third when they end, and
// the wide one when that has ended.
func TestFirstComeFirstServed(t *testing.T) {
	res := simulate(t, oneNode, "submit,tasks,cpus,runtime\n0,3,1,10\n5,1,2,10\n")
	r := &res.Report
	if got := fmt.Sprint(starts(res, 0), starts(res, 1)); got != "[0 0 10] [20]" {
		t.Errorf("starts: %s", got)
	}
	if r.Makespan != 30 || r.Finished != 4 || r.Wait.Mean != 6.25 || r.Wait.Max != 15 || r.Wait.P50 != 0 || r.Wait.P90 != 15 {
		t.Errorf("got %+v", r)
	}
	if !near(r.Utilisation.CPUs, 50.0/60) || r.Work.Submitted != 50 || r.Work.Done != 50 || r.Work.Lost != 0 {
		t.Errorf("got %+v", r)
	}
	if !near(r.Slowdown, (1+1+2+2.5)/4) {
		t.Errorf("slowdown %g", r.Slowdown)
	}
}

// The job that goes first when tasks end is another than the one for which
// room was held; it takes the room over, and neither waits for ever.
func TestHoldsPassOn(t *testing.T) {
	r := &simulate(t, `{"nodes": [{"name": "n", "resources": "cpus=2,mem=8GiB"}], "partitions": [{"path": "b", "policy": "fair"}, {"path": "a"}]}`,
		"submit,user,partition,tasks,gang,cpus,runtime,time\n0,u0,a,1,yes,2,1,\n0,u0,b,2,no,2,60,60\n0,u1,b,1,yes,1,11,\n0,u1,b,2,no,1,1,\n").Report
	if r.Finished != 6 {
		t.Errorf("got %+v", r)
	}
}

// What a line leaves out is what its partition says, or the nearest above, as in a
// cluster: it is asked for, held, counted, and ends tasks.
func TestPartitionsFillInWhatALineLeavesOut(t *testing.T) {
	res := simulate(t, `{"nodes": [{"name": "n", "resources": "cpus=2,mem=4GiB"}],
		"partitions": [{"path": "ml", "maxTime": "1h", "maxCpus": 2, "defaultTime": "30m", "defaultCpus": 2}, {"path": "ml/train", "maxMem": "32MiB"}]}`,
		"submit,partition,runtime,cpus\n0,ml/train,2000,\n1,ml,10,1\n")
	r := &res.Report
	if r.Refused != 0 || r.OverTime != 1 || r.Finished != 1 || !near(r.Work.Submitted, 2000*2+10) || fmt.Sprint(starts(res, 0), starts(res, 1)) != "[0] [1800]" {
		t.Errorf("got %+v, starts %v %v", r, starts(res, 0), starts(res, 1))
	}
}

func TestTheUsersTimeLimitEndsATask(t *testing.T) {
	r := &simulate(t, oneNode, "submit,cpus,runtime,time\n0,1,100,60\n0,1,50,60\n").Report
	if r.OverTime != 1 || r.Finished != 1 || r.Makespan != 60 || r.Work.OverTime != 60 || r.Work.Done != 50 || len(r.Notes) != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestANodeThatFailsTakesItsWorkAlong(t *testing.T) {
	res := simulate(t, `{"nodes": [{"name": "n", "resources": "cpus=1,mem=4GiB"}], "failures": [{"node": "n", "at": 6, "for": 10}]}`, "submit,cpus,runtime\n0,1,10\n")
	r := &res.Report
	if r.Makespan != 26 || r.NodeLosses.Attempts != 1 || r.NodeLosses.LostWork != 6 || r.Work.Done != 10 || r.Wait.Max != 0 {
		t.Errorf("got %+v", r)
	}
	if !near(r.Utilisation.CPUs, 1) { // it was busy whenever it was there
		t.Errorf("utilisation %g", r.Utilisation.CPUs)
	}
	if r.Preemptions.Killed != 0 {
		t.Error("a failure is not a preemption")
	}
}

func TestANodeThatNeverReturns(t *testing.T) {
	r := &simulate(t, `{"nodes": [{"name": "n", "count": 2, "resources": "cpus=1,mem=4GiB"}], "failures": [{"node": "n2", "at": 0}]}`,
		"submit,tasks,cpus,runtime\n0,2,1,10\n").Report
	if r.Makespan != 20 || r.Utilisation.CPUs != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestWhatNeverFitsIsRefused(t *testing.T) {
	r := &simulate(t, oneNode, "submit,cpus,runtime\n0,3,10\n0,1,10\n").Report
	if r.Refused != 1 || r.Jobs != 1 || r.Finished != 1 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "1 too few") {
		t.Errorf("got %+v", r)
	}
}

func TestWhatNeverStartsIsExplained(t *testing.T) {
	r := &simulate(t, `{"nodes": [{"name": "n", "resources": "cpus=2,mem=4GiB"}, {"name": "m", "resources": "cpus=1,mem=4GiB"}], "failures": [{"node": "n", "at": 0}]}`,
		"submit,cpus,runtime\n1,2,10\n1,1,7\n").Report
	if r.Unstarted != 1 || r.Unfinished != 1 || r.Finished != 1 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "1 task never ended: line 2: ") {
		t.Errorf("got %+v", r)
	}
}

func TestServicesRunBesidesTheBatches(t *testing.T) {
	res := simulate(t, oneNode, "submit,kind,tasks,cpus,runtime\n0,service,2,0.5,\n10,batch,1,1,30\n")
	r := &res.Report
	if r.Makespan != 40 || !near(r.Utilisation.CPUs, (40.0+30)/80) || r.Work.Services != 40 || r.Work.Done != 30 || r.Unfinished != 0 {
		t.Errorf("got %+v", r)
	}
	r = &simulate(t, oneNode, "submit,kind,tasks,cpus,runtime\n0,service,1,1,25\n0,batch,1,2,10\n").Report
	if r.Makespan != 35 || r.Work.Services != 25 || r.Finished != 1 {
		t.Errorf("a service that ends: got %+v", r)
	}
}

func TestUntilEndsTheSimulation(t *testing.T) {
	r := &simulate(t, `{"nodes": [{"name": "n", "resources": "cpus=1,mem=4GiB"}], "until": "25s"}`, "submit,tasks,cpus,runtime\n0,4,1,10\n").Report
	if r.Makespan != 25 || r.Finished != 2 || r.Unfinished != 2 || r.Unstarted != 1 || r.Work.Open != 5 || len(r.Notes) != 1 {
		t.Errorf("got %+v", r)
	}
	r = &simulate(t, `{"nodes": [{"name": "n", "resources": "cpus=1,mem=4GiB"}], "until": "25s"}`, "submit,kind,cpus,runtime\n5,service,1,\n").Report
	if r.Makespan != 20 || r.Work.Services != 20 {
		t.Errorf("only a service: got %+v", r)
	}
}

// Two partitions of weights 1 and 3 that both always have work share a node
// one to three.
func TestSharesGoByWeight(t *testing.T) {
	res := simulate(t, `{"nodes": [{"name": "n", "count": 4, "resources": "cpus=4,mem=16GiB"}], "partitions": [{"path": "a", "weight": 1}, {"path": "b", "weight": 3}], "until": "1000s"}`,
		"submit,partition,user,tasks,cpus,mem,runtime\n0,a,x,2000,1,1GiB,10\n0,b,y,2000,1,1GiB,10\n")
	p := res.Report.Partitions
	if len(p) != 2 || math.Abs(p[0].Got-0.25) > 0.01 || math.Abs(p[1].Got-0.75) > 0.01 || !near(p[0].Entitled, 0.25) || !near(p[1].Entitled, 0.75) {
		t.Errorf("got %+v", p)
	}
	if f := res.Report.Fairness; f.Partitions < 0.99 || f.Users > 0.85 {
		t.Errorf("got %+v", f)
	}
}

// Partitions that the trace names are made when the cluster file has none.
func TestPartitionsOfTheTrace(t *testing.T) {
	const rows = "submit,partition,runtime\n0,ml/train,5\n0,web,5\n0,,5\n"
	r := &simulate(t, oneNode, rows).Report
	var paths []string
	for _, p := range r.Partitions {
		paths = append(paths, p.Path)
	}
	if got := strings.Join(paths, " "); got != "default ml/train web" {
		t.Errorf("got %s", got)
	}
	c := readCluster(t, `{"nodes": [{"name": "n", "resources": "cpus=2,mem=4GiB"}], "partitions": [{"path": "web"}]}`)
	if _, err := Run(context.Background(), c, readTrace(t, rows)); err == nil || !strings.Contains(err.Error(), `partitions: the trace has work for "ml/train" in line 2`) {
		t.Errorf("got %v", err)
	}
}

func shipped(t testing.TB, name string) (*Cluster, *trace.Trace) {
	t.Helper()
	b, err := os.ReadFile("traces/" + name + ".csv")
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile("traces/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(y, &doc); err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return readCluster(t, string(j)), readTrace(t, string(b))
}

func outputs(t testing.TB, res *Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := res.Report.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(&b).Encode(&res.Report); err != nil {
		t.Fatal(err)
	}
	if err := res.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	for _, name := range []string{"team", "batch"} {
		var first []byte
		for range 2 {
			c, tr := shipped(t, name)
			res, err := Run(context.Background(), c, tr)
			if err != nil {
				t.Fatal(err)
			}
			checkResult(t, res)
			checkGangs(t, res)
			if got := outputs(t, res); first == nil {
				first = got
			} else if !bytes.Equal(first, got) {
				t.Errorf("%s: two runs differ: %s", name, firstDifference(first, got))
			}
		}
	}
}

func TestSeedChangesWhatIsChosenByChance(t *testing.T) {
	const c = `{"nodes": [{"name": "n", "count": 8, "resources": "cpus=2,mem=4GiB"}], "seed": %d}`
	const rows = "submit,cpus,runtime\n0,1,10\n"
	used := map[int32]bool{}
	for seed := range 20 {
		used[simulate(t, fmt.Sprintf(c, seed), rows).segments[0].node] = true
	}
	if len(used) < 3 {
		t.Errorf("twenty seeds use %d nodes", len(used))
	}
}

func TestBadClusters(t *testing.T) {
	const n = `"nodes": [{"name": "n", "resources": "cpus=2,mem=4GiB"}]`
	for _, c := range []struct{ text, want string }{
		{`{}`, "nodes: is empty: write for example"},
		{`{"nodes": [{"name": "N", "resources": "cpus=1,mem=1GiB"}]}`, "nodes[0].name: "},
		{`{"nodes": [{"name": "n"}]}`, `nodes[0].resources: "" has no cpus or no mem`},
		{`{"nodes": [{"name": "n", "resources": "cpus=1e300,mem=1GiB"}]}`, "nodes[0].resources.cpus: "},
		{`{"nodes": [{"name": "n", "resources": "cpus=NaN,mem=1GiB"}]}`, "nodes[0].resources.cpus: "},
		{`{"nodes": [{"name": "n", "count": -1, "resources": "cpus=1,mem=1GiB"}]}`, "nodes[0].count: -1 is not within"},
		{`{"nodes": [{"name": "n", "count": 1000000, "resources": "cpus=1,mem=1GiB"}]}`, "nodes[0].count: 1000000 is not within"},
		{`{"nodes": [{"name": "n1", "resources": "cpus=1,mem=1GiB"}, {"name": "n", "count": 1, "resources": "cpus=1,mem=1GiB"}]}`, `nodes[1].name: a node "n1" is there already`},
		{`{` + n + `, "partitions": [{"path": "a", "weight": -1}]}`, "partitions[0].weight: "},
		{`{` + n + `, "partitions": [{"path": "a"}, {"path": "a"}]}`, `partitions[1].path: "a" is given twice`},
		{`{` + n + `, "partitions": [null]}`, "partitions[0]: is empty"},
		{`{` + n + `, "failures": [{"node": "m", "at": 1}]}`, `failures[0].node: there is no node "m": did you mean n?`},
		{`{` + n + `, "failures": [{"node": "n", "at": "-1s"}]}`, "failures[0].at: "},
		{`{` + n + `, "until": "-1s"}`, "until: "},
		{`{` + n + `, "trace": {"layout": "x"}}`, "trace.layout: "},
	} {
		cl := new(Cluster)
		if err := api.DecodeStrict(strings.NewReader(c.text), cl); err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		if err := cl.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.text, err, c.want)
		}
	}
	c := readCluster(t, `{`+n+`, "partitions": [{"path": "a", "guarantee": {"cpus": 3}}]}`)
	if _, err := Run(context.Background(), c, readTrace(t, "submit,runtime,partition\n0,1,a\n")); err == nil || !strings.Contains(err.Error(), "partitions") {
		t.Errorf("a guarantee above the cluster: got %v", err)
	}
}

func TestItStopsWhenTold(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, readCluster(t, oneNode), readTrace(t, "submit,runtime\n0,1\n")); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

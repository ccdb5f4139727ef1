package simulate

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mesita/mesita/cluster/simulate/trace"
)

// BenchmarkSimulation runs 100,000 tasks on 100 nodes that are full most of
// the time.
func BenchmarkSimulation(b *testing.B) {
	g := generator{Rand: rand.New(rand.NewPCG(3, 2026))}
	g.out.WriteString("submit,user,partition,tasks,cpus,mem,runtime\n")
	for n := 0; n < 100_000; {
		g.after(40)
		tasks := []int{1, 1, 1, 10, 100}[g.IntN(5)]
		n += tasks
		fmt.Fprintf(&g.out, "%.0f,u%d,p%d,%d,%g,%dGiB,%.0f\n", g.now, g.IntN(8), g.IntN(3), tasks, []float64{0.5, 1, 2, 4}[g.IntN(4)], 1+g.IntN(4), 1+g.heavy(220, 1))
	}
	c := readCluster(b, `{"nodes": [{"name": "n", "count": 100, "resources": "cpus=4,mem=32GiB"}]}`)
	tasks, busy := 0, 0.0
	for b.Loop() {
		tr, err := trace.Read("bench.csv", bytes.NewReader(g.out.Bytes()), trace.Mapping{})
		if err != nil {
			b.Fatal(err)
		}
		res, err := Run(context.Background(), c, tr)
		if err != nil {
			b.Fatal(err)
		}
		tasks, busy = tasks+res.Report.Tasks, res.Report.Utilisation.CPUs
	}
	b.ReportMetric(float64(tasks)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(busy*100, "%cpus")
}

package foresee

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// BenchmarkQueue lists the first 1,000 rows of a backlog of 100,000 tasks on a full cluster of 50 nodes: two
// arrays as large as there may be, many, and as many jobs, of one partition; and jobs
// of five users in four that are fair, one of them with a limit.
func BenchmarkQueue(b *testing.B) {
	for _, c := range []struct{ jobs, partitions int }{{2, 1}, {1000, 1}, {100_000, 1}, {100_000, 4}} {
		b.Run(fmt.Sprintf("jobs=%d/partitions=%d", c.jobs, c.partitions), func(b *testing.B) {
			w, jobs, paths := newWorld(b, 50), c.jobs, []string{"default"}
			for i := range c.partitions - 1 {
				p := &api.Partition{Path: fmt.Sprint("p", i), Policy: api.PolicyFair, Weight: api.Weight(1000 * (i + 1))}
				if i == 0 {
					p.Limit = api.Amounts{CPUs: 20_000}
				}
				w.do(&fsm.PartitionPut{Meta: meta(), Partition: p})
				paths = append(paths, p.Path)
			}
			runs := spec("", "default", api.KindBatch, 1000, 200)
			runs.Time = api.Duration(time.Hour)
			w.do(&fsm.JobCreate{Meta: meta(), Spec: runs})
			w.settle()
			var cmds []fsm.Command
			for i := range jobs {
				s := spec("", paths[i%len(paths)], api.KindBatch, 100_000/jobs, 200+10*api.MilliCPU(i%20))
				s.Time = api.Duration(time.Duration(30+i%7) * time.Minute)
				by := meta()
				by.Actor = fmt.Sprint("user", i/7%5)
				cmds = append(cmds, &fsm.JobCreate{Meta: by, Spec: s})
			}
			w.do(cmds...)
			plan := scheduler.Planner{Now: func() time.Time { return now }, Begin: begin, Memory: w.engine.Remember}
			exact := 0
			for b.Loop() {
				_, rows, err := NewQueues(plan).List(context.Background(), w.View)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				exact = 0
				for _, row := range rows {
					if !row().Estimate.IsZero() {
						exact++
					}
					if n++; n == 1000 {
						break
					}
				}
				if n != min(jobs, 1000) {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(exact), "estimates")
		})
	}
}

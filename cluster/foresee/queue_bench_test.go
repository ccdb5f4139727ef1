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

// BenchmarkQueue lists a backlog of 100,000 tasks on a full cluster of 50 nodes: two
// arrays as large as there may be, many, and as many jobs.
func BenchmarkQueue(b *testing.B) {
	for _, jobs := range []int{2, 1000, 100_000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			w := newWorld(b, 50)
			runs := spec("", "default", api.KindBatch, 1000, 200)
			runs.Time = api.Duration(time.Hour)
			w.do(&fsm.JobCreate{Meta: meta(), Spec: runs})
			w.settle()
			var cmds []fsm.Command
			for i := range jobs {
				s := spec("", "default", api.KindBatch, 100_000/jobs, 200+10*api.MilliCPU(i%20))
				s.Time = api.Duration(time.Duration(30+i%7) * time.Minute)
				cmds = append(cmds, &fsm.JobCreate{Meta: meta(), Spec: s})
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
					if n++; n <= 1000 && !row().Estimate.IsZero() {
						exact++
					}
				}
				if n != jobs {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(exact), "estimates")
		})
	}
}

package consensus

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/mesita/mesita/fsm"
)

// BenchmarkPropose gets small commands agreed on, by many goroutines at once:
// the scale of a job that is there, so that the state does not grow.
func BenchmarkPropose(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		for _, what := range []string{"create", "scale"} {
			for _, callers := range []int{1, 16, 64, 256} {
				b.Run(fmt.Sprintf("nodes=%d/%s/callers=%d", nodes, what, callers), func(b *testing.B) {
					benchPropose(b, nodes, callers, what == "create")
				})
			}
		}
	}
}

func benchPropose(b *testing.B, nodes, callers int, create bool) {
	m := diskCluster(b, nodes)[0]
	before := m.LastIndex()
	var next, left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, callers)
	b.ResetTimer()
	for range callers {
		go func() {
			for left.Add(-1) >= 0 {
				cmd := fsm.Command(&fsm.JobScale{ID: "none", Count: 1})
				if create {
					cmd = createJob(fmt.Sprint("j", next.Add(1)))
				}
				if _, err := m.Propose(b.Context(), []fsm.Command{cmd}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cmds/s")
	b.ReportMetric(float64(b.N)/float64(m.LastIndex()-before), "cmds/entry")
}

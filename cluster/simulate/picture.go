package simulate

import (
	"fmt"
	"io"
	"math"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate/chart"
)

// WriteSVG draws the schedule: what ran on each node, and what was in use and
// waited.
func (out *Result) WriteSVG(w io.Writer) error {
	rep := &out.Report
	c := chart.Chart{First: out.first, Last: out.last, Groups: out.parts, Mem: int64(rep.Mem), Rows: make([]chart.Row, len(out.nodes)),
		Title: fmt.Sprintf("%s on %s: %s, %s of cpus in use, wait %s in the mean", api.Count(rep.Tasks, "task"), api.Count(rep.Nodes, "node"), length(rep.Makespan),
			percent(rep.Utilisation.CPUs), length(rep.Wait.Mean))}
	for i, n := range out.nodes {
		c.Rows[i] = chart.Row{Name: n.name, CPUs: int64(n.resources.CPUs)}
		for _, d := range out.down[i] {
			if d.to == math.MaxInt64 {
				d.to = out.last
			}
			c.Rows[i].Down = append(c.Rows[i].Down, chart.Span{From: d.from, To: d.to})
		}
	}
	for i := range out.segments {
		x := &out.segments[i]
		j := out.jobs[x.job].Job
		name := j.Name
		if name == "" {
			name = fmt.Sprintf("line %d", j.Line)
		}
		row := &c.Rows[x.node]
		row.Bars = append(row.Bars, chart.Bar{Span: chart.Span{From: x.from, To: x.to}, Label: fmt.Sprintf("%s.%d", name, x.index), Group: out.partOf[j.Partition],
			CPUs: int64(j.CPUs), Mem: int64(j.Mem), Gang: j.Gang, Lost: j.Kind == api.KindBatch && (x.outcome == outcomePreempted || x.outcome == outcomeNodeLost), Frozen: x.frozen})
	}
	for _, l := range out.levels {
		c.Levels = append(c.Levels, chart.Level{At: l.at, Waiting: l.waiting})
	}
	return c.Write(w)
}

// Package chart draws a schedule as SVG: what ran on each node over time,
// coloured by group, and below it how much was in use and how much waited. It
// owns the picture and nothing of what it shows. The simulator calls it.
package chart

import (
	"bufio"
	"io"
	"time"
)

// Chart is what to draw.
type Chart struct {
	Title       string
	First, Last time.Duration
	Groups      []string // what the colours stand for
	Rows        []Row
	Mem         int64   // of all rows
	Levels      []Level // in the order of time
}

// Row is one node.
type Row struct {
	Name string
	CPUs int64 // thousandths of a core
	Bars []Bar // in any order
	Down []Span
}

// Bar is a time in which one task held the same of a row.
type Bar struct {
	Span
	Label  string
	Group  int
	CPUs   int64 // thousandths of a core
	Mem    int64 // bytes
	Gang   bool
	Lost   bool // its work was lost
	Frozen bool // it held no cpus: CPUs is what it had before
}

// Span is a stretch of time.
type Span struct{ From, To time.Duration }

// Level is how many tasks wait from a time on.
type Level struct {
	At      time.Duration
	Waiting int
}

// Bounds of a picture in which each bar is drawn; beyond them rows are shown
// in groups, and what the tasks of a group of rows hold as stacked areas.
const (
	maxBars = 6000
	maxRows = 64
)

// Sizes in pixels.
const (
	width       = 1280
	left        = 110
	right       = 24
	headHeight  = 78
	plotHeight  = 760 // of all rows at most
	rowLeast    = 12
	rowMost     = 120
	rowGap      = 3
	panelHeight = 110
	panelGap    = 46
	bucketWidth = 2
)

// Write draws the chart.
func (c *Chart) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	p := &painter{w: b, chart: c, axis: newAxis(c.First, c.Last, left, width-right)}
	bars := 0
	for i := range c.Rows {
		bars += len(c.Rows[i].Bars)
	}
	p.grouped = bars > maxBars || len(c.Rows) > maxRows
	p.draw()
	return b.Flush()
}

package chart

import (
	"fmt"
	"html"
	"strconv"
	"strings"
	"time"
)

// group lists the rows to draw: the nodes, or groups of them.
func (p *painter) group() []*Row {
	all := p.chart.Rows
	size := 1
	if p.grouped {
		size = (len(all) + maxRows - 1) / maxRows
	}
	var out []*Row
	for len(all) > 0 {
		n := min(size, len(all))
		out = append(out, merge(all[:n]))
		all = all[n:]
	}
	return out
}

// merge makes one row of several.
func merge(rows []Row) *Row {
	if len(rows) == 1 {
		return &rows[0]
	}
	out := &Row{Name: rows[0].Name + " – " + rows[len(rows)-1].Name}
	for i := range rows {
		out.CPUs += rows[i].CPUs
		out.Bars = append(out.Bars, rows[i].Bars...)
	}
	return out
}

func (p *painter) row(r *Row, top, height float64) {
	if height < 26 {
		p.text(left-8, top+height/2+4, "name", r.Name)
	} else {
		p.text(left-8, top+height/2-1, "name", r.Name)
		p.text(left-8, top+height/2+11, "size", strconv.FormatFloat(float64(r.CPUs)/1000, 'f', -1, 64)+" cpus")
	}
	p.printf("<path class=\"grid\" d=\"M%d %sH%d\"/>\n", left, px(top+height+rowGap/2.0), width-right)
	for _, d := range r.Down {
		x := p.axis.x(d.From)
		p.printf("<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" class=\"down\"/>\n", px(x), px(top), px(p.axis.x(d.To)-x), px(height))
	}
	if p.grouped {
		p.stack(r, top, height)
		return
	}
	scale := height / float64(max(r.CPUs, 1))
	all := lanes(r)
	for _, l := range all {
		p.bar(l, top+height, scale)
	}
	for _, l := range all {
		p.outline(l, top+height, scale)
	}
}

// leastWidth keeps the shortest task to be seen.
const leastWidth = 0.4

// bar draws one task from the bottom of its row upwards.
func (p *painter) bar(l lane, bottom, scale float64) {
	for _, b := range l.bands {
		box := p.box(l.Span, b, bottom, scale, 0)
		p.printf("<rect %s class=\"g%d bar\">%s</rect>\n", box, l.Group, title(l.Bar))
		if l.Lost {
			p.printf("<rect %s class=\"lost\"/>\n", box)
		}
	}
}

// outline draws what lies on top of all bars: the frames of gangs, and frozen
// tasks, which have no cpus and so no height.
func (p *painter) outline(l lane, bottom, scale float64) {
	if l.Frozen {
		x := p.axis.x(l.From)
		line := fmt.Sprintf("d=\"M%s %sh%s\"", px(x), px(bottom-2), px(max(leastWidth, p.axis.x(l.To)-x)))
		p.printf("<path %s class=\"casing\"/>\n<path %s class=\"frozen s%d\">%s</path>\n", line, line, l.Group, title(l.Bar))
		return
	}
	if l.Gang {
		for _, b := range l.bands {
			p.printf("<rect %s class=\"gang\"/>\n", p.box(l.Span, b, bottom, scale, 0.6))
		}
	}
}

func title(b *Bar) string {
	return "<title>" + html.EscapeString(fmt.Sprintf("%s: %s to %s", b.Label, label(b.From), label(b.To))) + "</title>"
}

// box is the place of a band, so much smaller on each side.
func (p *painter) box(s Span, b band, bottom, scale, inset float64) string {
	x := p.axis.x(s.From)
	w := max(leastWidth, p.axis.x(s.To)-x-2*inset)
	y, h := bottom-float64(b.to)*scale, max(leastWidth, float64(b.to-b.from)*scale-2*inset)
	return fmt.Sprintf("x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"", px(x+inset), px(y+inset), px(w), px(h))
}

// stack draws what the tasks of each group hold of a row as stacked areas.
func (p *painter) stack(r *Row, top, height float64) {
	n := (width - left - right) / (2 * bucketWidth)
	groups := len(p.chart.Groups)
	sums := make([]*buckets, groups)
	for i := range sums {
		sums[i] = newBuckets(p.axis, n)
	}
	for i := range r.Bars {
		if b := &r.Bars[i]; !b.Frozen {
			sums[b.Group].add(b.Span, float64(b.CPUs))
		}
	}
	below := make([]float64, n)
	whole := float64(max(r.CPUs, 1))
	for g := range sums {
		means := sums[g].means()
		above := make([]float64, n)
		used := false
		for i := range above {
			above[i] = min(1, below[i]+means[i]/whole)
			used = used || means[i] > 0
		}
		if used {
			p.printf("<path class=\"g%d\" d=\"%s\"/>\n", g, p.between(below, above, top, height))
		}
		below = above
	}
}

// between is the outline of the area between two stepped curves.
func (p *painter) between(below, above []float64, top, height float64) string {
	var d strings.Builder
	n := len(below)
	b := newBuckets(p.axis, n)
	x := func(i int) string { return px(p.axis.x(b.first + time.Duration(i)*b.size)) }
	y := func(v float64) string { return px(top + height - v*height) }
	for i := 0; i < n; {
		if y(above[i]) == y(below[i]) {
			i++
			continue
		}
		k := i
		for k < n && y(above[k]) != y(below[k]) {
			k++
		}
		last := y(above[i])
		fmt.Fprintf(&d, "M%s %s", x(i), last)
		for j := i + 1; j < k; j++ {
			if now := y(above[j]); now != last {
				fmt.Fprintf(&d, "H%sV%s", x(j), now)
				last = now
			}
		}
		last = y(below[k-1])
		fmt.Fprintf(&d, "H%sV%s", x(k), last)
		for j := k - 2; j >= i; j-- {
			if now := y(below[j]); now != last {
				fmt.Fprintf(&d, "H%sV%s", x(j+1), now)
				last = now
			}
		}
		fmt.Fprintf(&d, "H%sZ", x(i))
		i = k
	}
	return d.String()
}

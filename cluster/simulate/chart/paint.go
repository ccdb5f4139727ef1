package chart

import (
	"bufio"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"
)

// palette is that of Okabe and Ito, which people with any kind of colour
// vision can tell apart.
var palette = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a400", "#7a5195"}

// color of a group; beyond the palette they go round the colour circle.
func color(group, groups int) string {
	if groups <= len(palette) {
		return palette[group%len(palette)]
	}
	return fmt.Sprintf("hsl(%d,60%%,%d%%)", group*360/groups, 42+group%3*9)
}

// painter writes one picture, from top to bottom.
type painter struct {
	w       *bufio.Writer
	chart   *Chart
	axis    axis
	grouped bool
	rows    []*Row // nodes, or groups of them
}

func (p *painter) printf(format string, args ...any) {
	fmt.Fprintf(p.w, format, args...) // the buffer keeps its first error for Flush
}

// px writes a coordinate with a tenth of a pixel.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func (p *painter) text(x, y float64, class, s string) {
	p.printf("<text x=\"%s\" y=\"%s\" class=\"%s\">%s</text>\n", px(x), px(y), class, html.EscapeString(s))
}

func (p *painter) draw() {
	p.rows = p.group()
	heights := rowHeights(p.rows)
	top := float64(headHeight + 20*(p.legendLines()-1))
	bottom := top
	for _, h := range heights {
		bottom += h + rowGap
	}
	usage := bottom + panelGap
	queue := usage + panelHeight + panelGap
	total := queue + panelHeight + 40
	p.printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%s\" viewBox=\"0 0 %d %s\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n",
		width, px(total), width, px(total))
	p.style()
	p.printf("<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n")
	p.text(left, 26, "title", p.chart.Title)
	p.legend()
	p.grid(top, bottom)
	for i, r := range p.rows {
		p.row(r, top, heights[i])
		top += heights[i] + rowGap
	}
	p.marks(bottom)
	p.usage(usage)
	p.queue(queue)
	p.printf("</svg>\n")
}

// rowHeights gives each row a height that goes with its cpus, so that one core
// is as high in all of them, as far as the bounds allow.
func rowHeights(rows []*Row) []float64 {
	whole := int64(0)
	for _, r := range rows {
		whole += r.CPUs
	}
	room := plotHeight - rowGap*float64(len(rows))
	out := make([]float64, len(rows))
	for i, r := range rows {
		out[i] = math.Floor(min(rowMost, max(rowLeast, room*float64(r.CPUs)/float64(max(whole, 1)))))
	}
	return out
}

func (p *painter) style() {
	p.printf("<style>\n.title{font-size:17px;font-weight:600;fill:#111}.name{font-size:11px;fill:#333;text-anchor:end}" +
		".size{font-size:10px;fill:#777;text-anchor:end}.mark{font-size:11px;fill:#555;text-anchor:middle}.key{font-size:12px;fill:#222}.head{font-size:12px;font-weight:600;fill:#222}" +
		".grid{stroke:#e3e6ea;stroke-width:1}.frame{fill:#f7f8fa;stroke:none}.bar{stroke:#fff;stroke-width:.5}" +
		".gang{stroke:#111;stroke-width:1.2;fill:none;pointer-events:none}.lost{fill:url(#lost);pointer-events:none}.casing{stroke:#fff;stroke-width:5;fill:none}.frozen{stroke-width:3;stroke-dasharray:3 2;fill:none}.down{fill:url(#down)}\n")
	for i := range p.chart.Groups {
		p.printf(".g%d{fill:%s}.s%d{stroke:%s}", i, color(i, len(p.chart.Groups)), i, color(i, len(p.chart.Groups)))
	}
	p.printf("\n</style>\n<defs><pattern id=\"lost\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">" +
		"<rect width=\"3.2\" height=\"6\" fill=\"#fff\" fill-opacity=\".75\"/></pattern>" +
		"<pattern id=\"down\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\">" +
		"<rect width=\"8\" height=\"8\" fill=\"#d9dce1\"/><rect width=\"2\" height=\"8\" fill=\"#a9aeb6\"/></pattern></defs>\n")
}

// key is one entry of the legend.
type key struct {
	text string
	mark string // SVG of a mark 18 by 12 at the origin
}

func (p *painter) keys() []key {
	var out []key
	for i, g := range p.chart.Groups {
		out = append(out, key{g, fmt.Sprintf("<rect width=\"18\" height=\"12\" class=\"g%d\"/>", i)})
	}
	var gang, lost, frozen, down bool
	for i := range p.chart.Rows {
		for k := range p.chart.Rows[i].Bars {
			b := &p.chart.Rows[i].Bars[k]
			gang, lost, frozen = gang || b.Gang, lost || b.Lost, frozen || b.Frozen
		}
	}
	for _, r := range p.rows {
		down = down || len(r.Down) > 0
	}
	if down {
		out = append(out, key{"node away", `<rect width="18" height="12" class="down"/>`})
	}
	if p.grouped {
		return out
	}
	if gang {
		out = append(out, key{"gang", `<rect x=".7" y=".7" width="16.6" height="10.6" class="gang"/>`})
	}
	if lost {
		out = append(out, key{"work lost", `<rect width="18" height="12" fill="#888"/><rect width="18" height="12" class="lost"/>`})
	}
	if frozen {
		out = append(out, key{"frozen", `<path d="M0 6H18" class="frozen" stroke="#555"/>`})
	}
	return out
}

// legendWidth is about the width of an entry: the fonts are not known here.
func legendWidth(k key) float64 { return 18 + 6 + 7.3*float64(len([]rune(k.text))) + 20 }

func (p *painter) legendLines() int {
	lines, x := 1, float64(left)
	for _, k := range p.keys() {
		if x+legendWidth(k) > width-right && x > left {
			lines, x = lines+1, left
		}
		x += legendWidth(k)
	}
	return lines
}

func (p *painter) legend() {
	x, y := float64(left), 42.0
	for _, k := range p.keys() {
		if x+legendWidth(k) > width-right && x > left {
			x, y = left, y+20
		}
		p.printf("<g transform=\"translate(%s %s)\">%s<text x=\"24\" y=\"10.5\" class=\"key\">%s</text></g>\n", px(x), px(y), k.mark, html.EscapeString(k.text))
		x += legendWidth(k)
	}
}

// grid is the frame of a panel with a line at each mark of time.
func (p *painter) grid(top, bottom float64) {
	p.printf("<rect x=\"%d\" y=\"%s\" width=\"%d\" height=\"%s\" class=\"frame\"/>\n<path class=\"grid\" d=\"", left, px(top), width-left-right, px(bottom-top))
	for _, t := range p.axis.ticks(12) {
		p.printf("M%s %sV%s", px(p.axis.x(t)), px(top), px(bottom))
	}
	p.printf("\"/>\n")
}

func (p *painter) marks(y float64) {
	for _, t := range p.axis.ticks(12) {
		p.text(p.axis.x(t), y+15, "mark", label(t))
	}
}

// usage is the curve of what is in use.
func (p *painter) usage(top float64) {
	n := (width - left - right) / bucketWidth
	cpus, mem := newBuckets(p.axis, n), newBuckets(p.axis, n)
	whole := int64(0)
	for i := range p.chart.Rows {
		r := &p.chart.Rows[i]
		whole += r.CPUs
		for k := range r.Bars {
			if b := &r.Bars[k]; !b.Frozen {
				cpus.add(b.Span, float64(b.CPUs))
			}
			mem.add(r.Bars[k].Span, float64(r.Bars[k].Mem))
		}
	}
	p.panel(top, "in use: cpus (area) and memory (line)", []string{"0%", "50%", "100%"})
	p.area(cpus.means(), top, float64(max(whole, 1)), "fill=\"#0072b2\" fill-opacity=\".35\" stroke=\"#0072b2\" stroke-width=\"1\"", true)
	p.area(mem.means(), top, float64(max(p.chart.Mem, 1)), "fill=\"none\" stroke=\"#d55e00\" stroke-width=\"1.4\"", false)
	p.marks(top + panelHeight)
}

// queue is the curve of how many tasks wait.
func (p *painter) queue(top float64) {
	b := newBuckets(p.axis, (width-left-right)/bucketWidth)
	for i, l := range p.chart.Levels {
		to := p.axis.last
		if i+1 < len(p.chart.Levels) {
			to = p.chart.Levels[i+1].At
		}
		b.add(Span{l.At, to}, float64(l.Waiting))
	}
	means := b.means()
	most := 0.0
	for _, v := range means {
		most = max(most, v)
	}
	most = niceMax(most)
	p.panel(top, "tasks waiting", []string{"0", count(most / 2), count(most)})
	p.area(means, top, most, "fill=\"#666\" fill-opacity=\".3\" stroke=\"#444\" stroke-width=\"1\"", true)
	p.marks(top + panelHeight)
	p.text((left+width-right)/2.0, top+panelHeight+33, "mark", "time since the start of the trace")
}

// panel is the frame of a curve, with marks at equal distances from the bottom.
func (p *painter) panel(top float64, head string, marks []string) {
	p.grid(top, top+panelHeight)
	p.text(left, top-7, "head", head)
	for i, m := range marks {
		y := top + panelHeight - float64(i)*panelHeight/float64(len(marks)-1)
		p.printf("<path class=\"grid\" d=\"M%d %sH%d\"/>\n", left, px(y), width-right)
		p.text(left-8, y+4, "name", m)
	}
}

// area draws a stepped curve, of which most is as high as the panel.
func (p *painter) area(values []float64, top, most float64, style string, closed bool) {
	var d strings.Builder
	y := func(v float64) string { return px(top + panelHeight - min(v/most, 1)*panelHeight) }
	b := newBuckets(p.axis, len(values))
	x := func(i int) string { return px(p.axis.x(b.first + time.Duration(i)*b.size)) }
	if closed {
		fmt.Fprintf(&d, "M%s %sV%s", x(0), y(0), y(values[0]))
	} else {
		fmt.Fprintf(&d, "M%s %s", x(0), y(values[0]))
	}
	last := y(values[0])
	for i, v := range values {
		if now := y(v); now != last {
			fmt.Fprintf(&d, "H%sV%s", x(i), now)
			last = now
		}
	}
	fmt.Fprintf(&d, "H%s", x(len(values)))
	if closed {
		fmt.Fprintf(&d, "V%sZ", y(0))
	}
	p.printf("<path d=\"%s\" %s/>\n", d.String(), style)
}

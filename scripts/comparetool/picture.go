package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// colourOf is a placement's, in the order of the list.
func colourOf(p api.Placement) string {
	colours := []string{"#dc6900", "#3366cc", "#109618", "#990099", "#008080", "#b8860b"}
	return colours[slices.Index(api.Names(api.Placements()), p)%len(colours)]
}

// panel is one measure, drawn as a row of dots for each policy.
type panel struct {
	title string
	value func(*outcome) float64
	label func(float64) string
}

const (
	panelWidth = 290
	rowHeight  = 34
	left       = 70
	top        = 64
)

// picture draws a panel for each measure: a row for each policy, a dot for
// each placement.
func picture(all []*outcome) string {
	plain := func(format string) func(float64) string {
		return func(v float64) string { return fmt.Sprintf(format, v) }
	}
	panels := []panel{
		{"mean wait, minutes", func(o *outcome) float64 { return o.Wait.Mean / 60 }, plain("%.0f")},
		{"wait of one task in ten, minutes", func(o *outcome) float64 { return o.Wait.P90 / 60 }, plain("%.0f")},
		{"slowdown", func(o *outcome) float64 { return o.Slowdown }, plain("%.1f")},
		{"time until all is done, minutes", func(o *outcome) float64 { return o.Makespan / 60 }, plain("%.0f")},
	}
	var policies []api.Policy
	for _, o := range all {
		if len(policies) == 0 || policies[len(policies)-1] != o.policy {
			policies = append(policies, o.policy)
		}
	}
	width, height := left+len(panels)*panelWidth+20, top+len(policies)*rowHeight+40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	x := left
	for _, p := range api.Names(api.Placements()) {
		fmt.Fprintf(&b, `<circle cx="%d" cy="18" r="5" fill="%s"/><text x="%d" y="22">%s</text>`+"\n", x, colourOf(p), x+10, p)
		x += 90
	}
	for i, p := range policies {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-12, top+i*rowHeight+rowHeight/2+4, p)
	}
	for i, p := range panels {
		p.draw(&b, all, policies, left+i*panelWidth)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *panel) draw(b *strings.Builder, all []*outcome, policies []api.Policy, x int) {
	low, high := p.value(all[0]), p.value(all[0])
	for _, o := range all {
		low, high = min(low, p.value(o)), max(high, p.value(o))
	}
	pad := max((high-low)*0.08, high*0.01)
	low, high = max(0, low-pad), high+pad
	inner := float64(panelWidth - 40)
	at := func(v float64) float64 { return float64(x) + 10 + (v-low)/(high-low)*inner }
	bottom := top + len(policies)*rowHeight
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", x+10, top-12, p.title)
	for i := range 5 {
		v := low + (high-low)*float64(i)/4
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`+"\n",
			at(v), at(v), top, bottom, at(v), bottom+18, p.label(v))
	}
	for i, policy := range policies {
		y := top + i*rowHeight + rowHeight/2
		fmt.Fprintf(b, `<line x1="%d" x2="%.1f" y1="%d" y2="%d" stroke="#bbb"/>`+"\n", x+10, float64(x)+10+inner, y, y)
		k := 0
		for _, o := range all {
			if o.policy == policy {
				fmt.Fprintf(b, `<circle cx="%.1f" cy="%d" r="5" fill="%s" fill-opacity="0.8"><title>%s, %s: %s</title></circle>`+"\n",
					at(p.value(o)), y+4*k-6, colourOf(o.placement), o.policy, o.placement, fmt.Sprintf("%.2f", p.value(o)))
				k++
			}
		}
	}
}

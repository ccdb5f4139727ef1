package docs

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// margin is before what is not a heading, and before code once more.
const margin = "  "

// Terminal is the page as a terminal of that many columns shows it. Code is never broken,
// so that it can be copied.
func (p Page) Terminal(width int) string {
	var b strings.Builder
	before := kind(0)
	for i, x := range parse(p.Text) {
		if i > 0 && (x.kind != item || before != item) {
			b.WriteByte('\n')
		}
		before = x.kind
		switch x.kind {
		case heading:
			title := plain(x.lines[0])
			if x.level == 1 {
				title = strings.ToUpper(title)
			}
			b.WriteString(title + "\n")
		case fence:
			for _, l := range x.lines {
				b.WriteString(strings.TrimRight(margin+margin+l, " ") + "\n")
			}
		case item:
			fill(&b, margin+"- ", margin+"  ", plain(x.lines[0]), width)
		case table:
			columns(&b, x.rows, width)
		case paragraph:
			fill(&b, margin, margin, plain(x.lines[0]), width)
		}
	}
	return b.String()
}

// plain is a text without its marks but those of code, which are as in any message.
func plain(text string) string {
	var b strings.Builder
	for _, s := range spans(text) {
		switch {
		case s.code:
			b.WriteString("`" + s.text + "`")
		case strings.HasPrefix(s.link, "https://"):
			b.WriteString(s.text + " (" + s.link + ")")
		case strings.HasSuffix(s.link, ".md"):
			b.WriteString(s.text + " (`" + "mesita help " + strings.TrimSuffix(s.link, ".md") + "`)")
		default:
			b.WriteString(s.text)
		}
	}
	return b.String()
}

// fill writes a text in lines of so many columns, the first behind a head.
func fill(b *strings.Builder, head, below, text string, width int) {
	for i, l := range wrap(text, width-utf8.RuneCountInString(below)) {
		if i > 0 {
			head = below
		}
		b.WriteString(head + l + "\n")
	}
}

// wrap is a text in lines of at most so many characters, and longer ones for longer words.
func wrap(text string, most int) []string {
	lines, line := []string(nil), ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > most {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// gap is between two columns.
const gap = 2

// columns writes a table; cells that are too wide for it continue below. One of many
// columns that is too wide has all but the first of a row below each other.
func columns(b *strings.Builder, rows [][]string, width int) {
	width -= len(margin)
	table := make([][][]string, len(rows)) // of each cell its lines
	natural := make([]int, len(rows[0]))
	for i, r := range rows {
		for at, c := range r {
			c = plain(c)
			table[i] = append(table[i], []string{c})
			natural[at] = max(natural[at], utf8.RuneCountInString(c))
		}
	}
	if len(natural) > 2 && sum(natural)+gap*(len(natural)-1) > width {
		table = below(table)
		natural = []int{natural[0], width}
	}
	widths := share(natural, width)
	for _, r := range table {
		for i, lines := range r {
			var all []string
			for _, l := range lines {
				all = append(all, wrap(l, widths[i])...)
			}
			r[i] = all
		}
	}
	loose := slices.ContainsFunc(table, func(r [][]string) bool { return height(r) > 1 })
	for i, r := range table {
		if loose && i > 0 {
			b.WriteByte('\n')
		}
		row(b, r, widths)
	}
}

// below is a table of two columns: the second has what the others had, with their heads.
func below(table [][][]string) [][][]string {
	head := table[0]
	var all [][][]string
	for _, r := range table[1:] {
		second := r[1]
		for i := 2; i < len(r); i++ {
			if r[i][0] != "" {
				second = append(second, head[i][0]+": "+r[i][0])
			}
		}
		all = append(all, [][]string{r[0], second})
	}
	return all
}

// row writes the lines of the cells of a row beside each other.
func row(b *strings.Builder, r [][]string, widths []int) {
	for at := range height(r) {
		line, pad := margin, 0
		for i, lines := range r {
			text := ""
			if at < len(lines) {
				text = lines[at]
			}
			line += strings.Repeat(" ", pad) + text
			pad = max(widths[i]-utf8.RuneCountInString(text), 0) + gap
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func height(r [][]string) int {
	most := 0
	for _, lines := range r {
		most = max(most, len(lines))
	}
	return most
}

func sum(all []int) int {
	n := 0
	for _, x := range all {
		n += x
	}
	return n
}

// share is how wide each column may be: as wide as it is, or its share of what the
// narrower ones leave.
func share(natural []int, width int) []int {
	left, wide := width-gap*(len(natural)-1), len(natural)
	widths := make([]int, len(natural))
	for again := true; again; {
		again = false
		for i, w := range natural {
			if widths[i] == 0 && w <= left/max(wide, 1) {
				widths[i], again = max(w, 1), true
				left, wide = left-w, wide-1
			}
		}
	}
	for i := range widths {
		if widths[i] == 0 {
			widths[i] = left / wide
		}
	}
	return widths
}

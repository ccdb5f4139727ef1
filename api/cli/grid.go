package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
	"golang.org/x/term"
)

// gap is the room between two columns.
const gap = 2

// columnsOf is how wide a terminal is, 0 of what is none.
func columnsOf(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	width, _, err := term.GetSize(int(fileOf(w).Fd()))
	if err != nil {
		return 0
	}
	return width
}

// grid is a table as it is printed.
type grid struct {
	heads bool     // the first row is printed
	row   []string // the one that is being filled
	rows  [][]string
	state int // the column of states, which are coloured; -1: none
	most  int // characters in a line; 0: as many as there are
}

// begin takes the row for the heads.
func (g *grid) begin(w io.Writer, wide bool) {
	if coloured(w) {
		g.state = slices.Index(g.row, "STATE")
	}
	if !wide {
		g.most = columnsOf(w)
	}
	if !g.heads {
		g.row = nil
		return
	}
	g.next()
}

func (g *grid) next() {
	for i, cell := range g.row {
		g.row[i] = or(printable(cell), "-")
	}
	g.rows = append(g.rows, g.row)
	g.row = make([]string, 0, len(g.row))
}

func (g *grid) print(w io.Writer) error {
	var widths []int
	for _, row := range g.rows {
		widths = append(widths, make([]int, len(row)-len(widths))...)
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	out := bufio.NewWriter(w)
	for _, row := range g.rows {
		_, _ = out.WriteString(g.line(row, widths)) // Flush tells
		_ = out.WriteByte('\n')
	}
	return out.Flush()
}

func (g *grid) line(row []string, widths []int) string {
	var b strings.Builder
	used, pad := 0, 0
	for i, cell := range row {
		n := utf8.RuneCountInString(cell)
		if g.most > 0 && used+pad+n > g.most {
			switch left := g.most - used - pad; {
			case left > 0:
				b.WriteString(strings.Repeat(" ", pad) + cut(cell, left))
			case used+gap <= g.most:
				b.WriteString(" …")
			}
			break
		}
		b.WriteString(strings.Repeat(" ", pad))
		if used, pad = used+pad+n, widths[i]-n+gap; i == g.state {
			cell = tint(cell)
		}
		b.WriteString(cell)
	}
	return b.String()
}

// cut is the beginning of a line, with a sign where that is not all of it.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	at := 0
	for range width - 1 {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return s[:at] + "…"
}

// ink is an output for which --color said whether there are colours on it.
type ink struct {
	io.Writer
	colours bool
}

// inked is an output as --color has it.
func inked(w io.Writer, when string) (io.Writer, error) {
	switch when {
	case "auto":
		return w, nil
	case "always", "never":
		return &ink{w, when == "always"}, nil
	}
	return nil, api.FieldErrorf("color", "%q is none of auto, always, never", when)
}

// coloured reports whether colours are wanted: as --color says, else by no program, and by
// nobody who said so as is customary.
func coloured(w io.Writer) bool {
	switch w := w.(type) {
	case *ink:
		return w.colours
	case *picture:
		return w.colours
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// paint is the state as it is shown there.
func paint(w io.Writer, state string) string {
	if !coloured(w) {
		return state
	}
	return tint(state)
}

// tint gives a state the colour of its first word.
func tint(state string) string {
	word, _, _ := strings.Cut(state, " ")
	switch strings.TrimSuffix(word, ",") {
	case "running", "ready", "finished":
		return fmt.Sprintf("\x1b[32m%s\x1b[0m", state)
	case "pending", "staging", "starting", "killing", "stopping", "draining", "frozen", "leaving", "held":
		return fmt.Sprintf("\x1b[33m%s\x1b[0m", state)
	case "failed", "lost", "error", "killed", "dropped", "unreachable", "down", "gone":
		return fmt.Sprintf("\x1b[31m%s\x1b[0m", state)
	}
	return state
}

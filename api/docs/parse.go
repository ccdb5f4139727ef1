package docs

import "strings"

// block is a part of a page: what is between two empty lines, or within a fence.
type block struct {
	kind  kind
	level int        // of a heading
	info  string     // of code: the word after the fence
	lines []string   // of code; else one text, which may be filled
	rows  [][]string // of a table, the head first
}

type kind uint8

const (
	paragraph kind = iota
	heading
	item
	fence
	table
)

// Code is a block of code, as it is in a page.
type Code struct {
	Info  string // the word after the fence: sh, console, yaml, text
	Lines []string
}

// Blocks are the blocks of code of a text in Markdown.
func Blocks(text string) []Code {
	var all []Code
	for _, b := range parse(text) {
		if b.kind == fence {
			all = append(all, Code{b.info, b.lines})
		}
	}
	return all
}

// parse takes a page apart.
func parse(text string) []block {
	var all []block
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		switch {
		case l == "":
		case strings.HasPrefix(l, "```"):
			b := block{kind: fence, info: strings.TrimSpace(l[len("```"):])}
			for i++; i < len(lines) && lines[i] != "```"; i++ {
				b.lines = append(b.lines, lines[i])
			}
			all = append(all, b)
		case strings.HasPrefix(l, "#"):
			text := strings.TrimLeft(l, "#")
			all = append(all, block{kind: heading, level: len(l) - len(text), lines: []string{strings.TrimSpace(text)}})
		case strings.HasPrefix(l, "|"):
			b := block{kind: table}
			for ; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
				if !strings.HasPrefix(lines[i], "|--") {
					b.rows = append(b.rows, cells(lines[i]))
				}
			}
			i--
			all = append(all, b)
		case strings.HasPrefix(l, "- "):
			all = append(all, block{kind: item, lines: []string{l[len("- "):]}})
		case i > 0 && lines[i-1] != "" && len(all) > 0 && (all[len(all)-1].kind == item || all[len(all)-1].kind == paragraph):
			last := all[len(all)-1].lines
			last[0] += " " + strings.TrimSpace(l)
		default:
			all = append(all, block{lines: []string{l}})
		}
	}
	return all
}

// cells are those of a row of a table.
func cells(row string) []string {
	const bar = "\x00"
	row = strings.ReplaceAll(strings.Trim(strings.TrimSpace(row), "|"), `\|`, bar)
	all := strings.Split(row, "|")
	for i := range all {
		all[i] = strings.TrimSpace(strings.ReplaceAll(all[i], bar, "|"))
	}
	return all
}

// span is a part of a text that looks alike.
type span struct {
	text string
	link string // where it leads; "" = nowhere
	code bool
	bold bool
}

// spans takes a text apart.
func spans(text string) []span {
	var all []span
	plain := func(s string) {
		if s != "" {
			all = append(all, span{text: s})
		}
	}
	for text != "" {
		at := strings.IndexAny(text, "`*[")
		if at < 0 {
			break
		}
		s, n := marked(text[at:])
		if n == 0 {
			plain(text[:at+1])
			text = text[at+1:]
			continue
		}
		plain(text[:at])
		all = append(all, s)
		text = text[at+n:]
	}
	plain(text)
	return all
}

// marked is the span that a text begins with, and how long it is with its marks; 0 if
// it begins with none.
func marked(text string) (s span, n int) {
	within := func(open, end string) (string, bool) {
		after, ok := strings.CutPrefix(text, open)
		in, _, ended := strings.Cut(after, end)
		return in, ok && ended && in != ""
	}
	if in, ok := within("`", "`"); ok {
		return span{text: in, code: true}, len(in) + 2
	}
	if in, ok := within("**", "**"); ok {
		return span{text: in, bold: true}, len(in) + 4
	}
	if in, ok := within("[", ")"); ok {
		if label, to, ok := strings.Cut(in, "]("); ok {
			return span{text: label, link: to}, len(in) + 2
		}
	}
	return span{}, 0
}

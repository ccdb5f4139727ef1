package line

import (
	"strings"
	"unicode/utf8"
)

// width is in how many columns help is written: a terminal has no fewer.
const width = 80

// wrapped is words in lines of so many characters; a word that is longer is broken after
// a comma, or has a line of its own.
func wrapped(text string, most int) (lines []string) {
	line := ""
	for _, w := range strings.Fields(text) {
		for utf8.RuneCountInString(w) > most {
			at := strings.LastIndexByte(w[:min(len(w), most)], ',') + 1
			if at == 0 {
				break
			}
			if line != "" {
				lines = append(lines, line)
			}
			line, w = w[:at], w[at:]
		}
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > most {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

// indented begins with a head, below which all further lines begin.
func indented(head, text string) string {
	n := utf8.RuneCountInString(head)
	return head + strings.Join(wrapped(text, width-n), "\n"+strings.Repeat(" ", n)) + "\n"
}

// paragraphs writes a description: prose is filled, what is indented is an example or a
// row of a list, and stays a line where it fits.
func paragraphs(text string) string {
	var out strings.Builder
	var prose []string
	flush := func() {
		if len(prose) > 0 {
			out.WriteString(indented("", strings.Join(prose, " ")))
			prose = nil
		}
	}
	for l := range strings.SplitSeq(text, "\n") {
		switch {
		case l == "" || strings.HasPrefix(l, " "):
			flush()
			out.WriteString(exampleLine(l) + "\n")
		case strings.HasSuffix(l, ":"):
			if flush(); l == "Examples:" && out.Len() > 0 && !strings.HasSuffix(out.String(), "\n\n") {
				out.WriteByte('\n')
			}
			prose = append(prose, l)
			flush()
		default:
			prose = append(prose, l)
		}
	}
	flush()
	return out.String()
}

// exampleLine breaks a line that is too long where a shell continues it, never within quotes.
func exampleLine(l string) string {
	const more = " \\\n      "
	var out strings.Builder
	for utf8.RuneCountInString(l) > width {
		at, quote := -1, rune(0)
		for i, r := range l {
			switch {
			case quote == 0 && (r == '\'' || r == '"'):
				quote = r
			case r == quote:
				quote = 0
			case quote == 0 && r == ' ' && i > 6 && (at < 0 || utf8.RuneCountInString(l[:i]) <= width-2):
				at = i
			}
		}
		if at < 0 {
			break
		}
		out.WriteString(l[:at] + more[:len(" \\\n")])
		l = more[len(" \\\n"):] + l[at+1:]
	}
	return out.String() + l
}

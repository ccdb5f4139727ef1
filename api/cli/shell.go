package cli

import (
	"fmt"
	"strings"
	"unicode"
)

// commandText is a command as it can be pasted into a shell.
func commandText(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = shellWord(w)
	}
	return strings.Join(out, " ")
}

// shellWord is a word that a shell reads as that text. What would move a terminal's
// cursor, or is not text at all, is spelt as bash, zsh and ksh read it; braces are let be
// where no shell would expand them, as in :{http}.
func shellWord(w string) string {
	switch {
	case strings.ContainsFunc(w, unicode.IsControl) || strings.ToValidUTF8(w, "") != w:
		return "$'" + ansiC(w) + "'"
	case w == "" || strings.ContainsFunc(w, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("'\"\\$`|&;<>()*?[]#~!^", r) }) ||
		strings.Contains(w, "{") && (strings.Contains(w, ",") || strings.Contains(w, "..")) || w == "{" || w == "}":
		return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return w
}

func ansiC(w string) string {
	var b strings.Builder
	for i, r := range w {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\'' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == unicode.ReplacementChar && w[i] != 0xEF, unicode.IsControl(r) && r < 0x80:
			fmt.Fprintf(&b, `\%03o`, w[i]) // three digits, so that none that follows is taken for one of it
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\%03o\%03o`, w[i], w[i+1]) // U+0080 to U+009F have two bytes
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// No line is wider than the terminal, whatever it is written in; what fits is as it was.
func TestLinesAreCutToTheTerminal(t *testing.T) {
	text := "a line that fits\n" + strings.Repeat("ü", 30) + "\n\n" + strings.Repeat("x", 20) + "\nlast " + strings.Repeat("y", 40)
	want := "a line that fits\n" + strings.Repeat("ü", 19) + "…\n\n" + strings.Repeat("x", 20) + "\nlast " + strings.Repeat("y", 14) + "…"
	for _, piece := range []int{1, 3, 7, len(text)} {
		var out bytes.Buffer
		c := &cutter{w: &out, width: 20}
		for i := 0; i < len(text); i += piece {
			if _, err := c.Write([]byte(text[i:min(i+piece, len(text))])); err != nil {
				t.Fatal(err)
			}
		}
		c.flush()
		if got := out.String(); got != want {
			t.Errorf("in pieces of %d:\n%s\nwant\n%s", piece, got, want)
		}
		for l := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > 20 {
				t.Errorf("%d characters: %q", n, l)
			}
		}
	}
}

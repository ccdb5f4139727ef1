package line

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// What is broken is read as what was there, by people and by a shell.
func TestHelpIsBrokenWhereItMayBe(t *testing.T) {
	words := rapid.SliceOfN(rapid.StringMatching(`[a-zé:{}./-]{1,30}|'[a-z ,]{1,40}'|"[a-z ]{1,40}"`), 1, 14)
	draw.Check(t, func(t *rapid.T) {
		line := "  " + strings.Join(words.Draw(t, "words"), " ")
		got := exampleLine(line)
		if joined := strings.ReplaceAll(got, " \\\n      ", " "); joined != line {
			t.Fatalf("%s\nis broken as\n%s", line, got)
		}
		for l := range strings.SplitSeq(got, "\n") {
			if n := utf8.RuneCountInString(l); n > width {
				t.Fatalf("%d characters: %s", n, l)
			}
		}
		prose := strings.Join(wrapped(line, 40), " ")
		if strings.ReplaceAll(prose, ", ", ",") != strings.ReplaceAll(strings.Join(strings.Fields(line), " "), ", ", ",") {
			t.Fatalf("%s\nis filled as\n%s", line, prose)
		}
	})
	for _, text := range []string{exampleLine("  printf '%s\\n' a " + strings.Repeat("bcd ", 30) + "'e f'"), "printf '%s\\n' a"} {
		if out, err := exec.Command("/bin/sh", "-c", text).Output(); err != nil || !strings.HasPrefix(string(out), "a\n") {
			t.Errorf("%s: %q, %v", text, out, err)
		}
	}
}

func TestParagraphs(t *testing.T) {
	got := paragraphs("One line\nand another.\n\nA list:\n  a  " + strings.Repeat("x", 20) + "\nExamples:\n  mesita ps")
	want := "One line and another.\n\nA list:\n  a  " + strings.Repeat("x", 20) + "\n\nExamples:\n  mesita ps\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := wrapped("of a,"+strings.Repeat("bc,", 10)+"d e", 12); strings.Join(got, "|") != "of|a,bc,bc,bc,|bc,bc,bc,bc,|bc,bc,bc,d e" {
		t.Errorf("%q", got)
	}
}

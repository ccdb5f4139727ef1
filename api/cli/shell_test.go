package cli

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// What is shown of a command is read by a shell as that command, and moves no cursor.
func TestCommandsCanBePasted(t *testing.T) {
	sh, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	check := func(t rapid.TB, words []string) {
		text := commandText(words)
		if strings.ContainsAny(text, "\n\r\t\x1b\x00") {
			t.Fatalf("%q", text)
		}
		out, err := exec.Command(sh, "--norc", "-c", "printf '%s\\0' "+text).Output()
		if want := strings.Join(words, "\x00") + "\x00"; err != nil || string(out) != want {
			t.Fatalf("%s\nis read as %q (%v), want %q", text, out, err, want)
		}
	}
	check(t, []string{"/bin/sh", "-c", "echo \"hi  there\"; sleep 1000"})
	check(t, []string{"", ":{http}", "{a,b}", "{1..3}", "a'b", "~", "#x", "A=b", "$HOME", "*", "\n\t\x1b[31m\u0085\x9bé\ufffd\\'1", "x^y"})
	words := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("aZ01 '\"\\$`|&;<>()*?[]{},.#~!^=%\n\t\x1b\u0085é\ufffd")), 0, 12, -1), 1, 4)
	draw.Check(t, func(t *rapid.T) { check(t, words.Draw(t, "words")) })
}

func TestWordsThatNeedNoQuotes(t *testing.T) {
	if got := commandText([]string{"./server", "--listen", ":{http}", "a=b", "x_y-z/@%+"}); got != "./server --listen :{http} a=b x_y-z/@%+" {
		t.Error(got)
	}
}

func TestMaskedValuesAreShownAsSuch(t *testing.T) {
	var out strings.Builder
	showEnv(&out, map[string]string{"B": "d 'e", "A": "***", "C": "x"})
	if want := "env        A=***\n           'B=d '\\''e'\n           C=x\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

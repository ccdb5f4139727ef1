//go:build unix

package cli

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// onTerminal is what a command prints on a terminal of so many columns.
func onTerminal(t *testing.T, columns uint16, args ...string) string {
	t.Helper()
	side, main := ptyOf(t)
	if err := unix.IoctlSetWinsize(int(side.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	all := make(chan string)
	go func() {
		b, _ := io.ReadAll(main) // a terminal ends with an error
		all <- string(b)
	}()
	var errs buffer
	Main(t.Context(), append([]string{"mesita"}, args...), strings.NewReader(""), side, &errs)
	side.Close()
	out := strings.ReplaceAll(<-all, "\r\n", "\n")
	if out == "" {
		t.Errorf("%v prints nothing: %s", args, errs.String())
	}
	return out
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// tables is how each command with a table is asked for it; none has one. Of what shows one thing, the
// table begins after an empty line: what stands before it is text, to be had whole.
var tables = map[string]string{
	"audit ls": "", "audit verify": "", "cluster check": "", "cluster level": "", "cluster show": "text", "events": "", "incidents": "--all",
	"job ls": "--all", "job show": "text web", "job wait": "none", "doctor": "", "framework ls": "", "framework show": "text 3f1c0000-0001", "offer ls": "", "node config": "", "node ls": "--all", "node show": "text fir", "partition ls": "", "partition show": "text ml",
	"ps": "--all", "queue": "", "report": "", "role ls": "", "can": "ci deploy prod/web", "show": "text web", "status": "text", "token ls": "", "top": "--once", "why": "text 58",
}

// A row of a table is one line of a terminal, however long its names are; elsewhere it is whole.
func TestTablesFitTheTerminal(t *testing.T) {
	f := withFake(t)
	f.long = true
	t.Setenv("TERM", "xterm")
	cut := 0
	var look func(path string, cs []*cli.Command)
	look = func(path string, cs []*cli.Command) {
		for _, c := range cs {
			name := strings.TrimSpace(path + " " + c.Name)
			look(name, c.Subcommands)
			if !readsATable(c) {
				continue
			}
			how, ok := tables[name]
			if !ok {
				t.Errorf("%s: how is its table asked for?", name)
				continue
			}
			words := strings.Fields(how)
			if how == "none" {
				continue
			}
			text := len(words) > 0 && words[0] == "text"
			if text {
				words = words[1:]
			}
			out := onTerminal(t, 80, append(strings.Fields(name), words...)...)
			if text {
				_, out, _ = strings.Cut(out, "\n\n")
			}
			for l := range strings.Lines(escapes.ReplaceAllString(out, "")) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > 80 {
					t.Errorf("%s: a line of %d characters: %s", name, n, l)
				}
			}
			if strings.Contains(out, "…\n") {
				cut++
			}
			if piped := run(t.Context(), append(strings.Fields(name), words...)...); strings.Contains(piped.out, "…\n") || escapes.MatchString(piped.out) {
				t.Errorf("%s in a pipe:\n%s", name, piped.out)
			}
		}
	}
	look("", (&app{}).root().Commands)
	if cut < 10 {
		t.Errorf("only %d tables were wider than the terminal", cut)
	}
}

func readsATable(c *cli.Command) bool {
	for _, f := range c.Flags {
		if f.Names()[0] == "no-headers" {
			return true
		}
	}
	return false
}

// States have colours on a terminal alone, and where nobody says otherwise.
func TestColoursOnATerminal(t *testing.T) {
	withFake(t)
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	if out := onTerminal(t, 200, "ps"); !strings.Contains(out, "web.0  \x1b[32mrunning\x1b[0m  oak ") || !strings.Contains(out, "58.0   \x1b[33mpending\x1b[0m  -") {
		t.Errorf("%q", out)
	}
	for _, env := range [][2]string{{"NO_COLOR", "1"}, {"TERM", "dumb"}} {
		was := os.Getenv(env[0])
		t.Setenv(env[0], env[1])
		if out := onTerminal(t, 200, "ps"); escapes.MatchString(out) {
			t.Errorf("%s: %q", env, out)
		}
		t.Setenv(env[0], was)
	}
	t.Setenv("NO_COLOR", "1")
	if out := onTerminal(t, 200, "--color", "always", "ps"); !strings.Contains(out, "\x1b[32mrunning\x1b[0m") {
		t.Errorf("always: %q", out)
	}
	t.Setenv("NO_COLOR", "")
	if out := onTerminal(t, 200, "--color=never", "ps"); escapes.MatchString(out) {
		t.Errorf("never: %q", out)
	}
	var out, said bytes.Buffer
	if code := Main(t.Context(), []string{"mesita", "ps", "--color=always"}, nil, &out, &said); code != 0 || !strings.Contains(out.String(), "\x1b[32mrunning\x1b[0m") {
		t.Errorf("always, in a pipe: %d, %q %q", code, out.String(), said.String())
	}
	out.Reset()
	if code := Main(t.Context(), []string{"mesita", "--color", "red", "ps"}, nil, &out, &said); code != 2 || out.Len() > 0 || !strings.Contains(said.String(), `color: "red" is none of auto, always, never`) {
		t.Errorf("red: %d, %q %q", code, out.String(), said.String())
	}
}

func TestGrid(t *testing.T) {
	g := grid{rows: [][]string{{"A", "STATE", "LAST"}, {"oak", "ready", "ünïcode words"}, {"a-long-name-indeed", "down", "x"}}, state: 1}
	for most, want := range map[int]string{
		0:  "A                   STATE  LAST\noak                 \x1b[32mready\x1b[0m  ünïcode words\na-long-name-indeed  \x1b[31mdown\x1b[0m   x\n",
		30: "A                   STATE  LA…\noak                 \x1b[32mready\x1b[0m  ün…\na-long-name-indeed  \x1b[31mdown\x1b[0m   x\n",
		27: "A                   STATE …\noak                 \x1b[32mready\x1b[0m …\na-long-name-indeed  \x1b[31mdown\x1b[0m …\n",
		20: "A …\noak …\na-long-name-indeed …\n",
		10: "A …\noak …\na-long-na…\n",
	} {
		var out strings.Builder
		if g.most = most; g.print(&out) != nil || out.String() != want {
			t.Errorf("%d characters:\n%s\nwant\n%s", most, out.String(), want)
		}
	}
}

package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/docs"
	"github.com/urfave/cli/v2"
)

// Blocks of code in the documents are run by ./integration. What stands in their sentences
// is not: of it each command and each flag is one that there is.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	texts := map[string]string{}
	for _, topic := range docs.Topics() {
		p, err := docs.Find(topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		texts[topic.Name] = p.Text
	}
	for _, name := range []string{"README.md", "SECURITY.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(b)
	}
	root := (&app{io.MultiReader(), io.Discard, io.Discard}).root()
	known := allFlags(root)
	fences, quoted := regexp.MustCompile("(?s)```.*?```"), regexp.MustCompile("`([^`\n]+)`")
	checked := 0
	for name, text := range texts {
		for _, m := range quoted.FindAllStringSubmatch(fences.ReplaceAllString(text, ""), -1) {
			words := strings.Fields(m[1])
			switch {
			case words[0] == "mesita" && len(words) > 1:
				checked++
				if wrong := unknownIn(root, words[1:]); wrong != "" {
					t.Errorf("%s has `%s`: there is no %s", name, m[1], wrong)
				}
			case len(words[0]) > 2 && strings.HasPrefix(words[0], "--") && words[0] != "---":
				checked++
				if flag, _, _ := strings.Cut(words[0][2:], "="); !slices.Contains(known, flag) && !othersFlags[flag] {
					t.Errorf("%s has `%s`, which no command has", name, m[1])
				}
			}
		}
	}
	if checked < 150 {
		t.Errorf("only %d commands and flags were found", checked)
	}
}

// othersFlags are of other programs: the chaos and attack kits.
var othersFlags = map[string]bool{"strict": true, "only": true}

func allFlags(root *cli.App) (names []string) {
	var collect func(cs []*cli.Command)
	collect = func(cs []*cli.Command) {
		for _, c := range cs {
			for _, f := range c.Flags {
				names = append(names, f.Names()...)
			}
			collect(c.Subcommands)
		}
	}
	collect(root.Commands)
	for _, f := range root.Flags {
		names = append(names, f.Names()...)
	}
	return names
}

// unknownIn is the first word that is neither a command nor a flag where it should be
// one; "" if there is none.
func unknownIn(root *cli.App, words []string) string {
	commands, flags := root.Commands, root.Flags
	for i, w := range words {
		switch at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(w) }); {
		case w == "--":
			return ""
		case w == "…" || w == "TOPIC" && words[0] == "help":
			return ""
		case strings.HasPrefix(w, "-"):
			name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
			if name != "help" && !slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }) {
				return w
			}
		case at >= 0:
			flags = append(slices.Clone(flags), commands[at].Flags...)
			commands = commands[at].Subcommands
		case i == 0 || len(commands) > 0 && words[0] != "help":
			return w
		}
	}
	return ""
}

func TestHelpHasPages(t *testing.T) {
	all := run(t.Context(), "help").out
	for _, topic := range docs.Topics() {
		if !strings.Contains(all, "\n  "+topic.Name+" ") {
			t.Errorf("help does not list %s", topic.Name)
		}
		p, err := docs.Find(topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		if r := run(t.Context(), "help", topic.Name); r.code != 0 || r.out != p.Terminal(helpWidth) {
			t.Errorf("help %s: code %d, %s%.200s", topic.Name, r.code, r.err, r.out)
		}
	}
	if r := run(t.Context(), "help", "jobs", "x"); r.code != 2 || !strings.Contains(r.err, "too much") {
		t.Errorf("help jobs x: %+v", r)
	}
}

// Codes with which the command line exits are in the page for scripts, and no others are.
func TestExitCodesAreInThePage(t *testing.T) {
	p, err := docs.Find("api")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(p.Text, "| exit code | |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	want := map[string]bool{"0": true, strconv.Itoa(interrupted): true}
	for code := range api.Code("").Choices() {
		want[strconv.Itoa(api.Code(code).ExitCode())] = true
	}
	for row := range strings.SplitSeq(table, "\n") {
		code := strings.TrimSpace(strings.Split(row, "|")[1])
		if !want[code] {
			t.Errorf("the page has the exit code %q twice, or nothing exits with it", code)
		}
		delete(want, code)
	}
	for code := range want {
		t.Errorf("the page has no exit code %s", code)
	}
}

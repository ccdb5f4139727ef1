package line

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// PrintHelp prints how to use the command of the line.
func (l *Line) PrintHelp(w io.Writer, root *cli.App) {
	name, use, form, text := "mesita", root.Usage, "", root.Description
	if c := l.Command; c != nil {
		name, use, form, text = "mesita "+strings.Join(l.path, " "), c.Usage, c.ArgsUsage, c.Description
	}
	switch {
	case l.Command != nil && l.Command.Action != nil && !l.complete():
		form = "[OPTIONS] | COMMAND"
	case !l.complete():
		form = "COMMAND"
	case len(l.Command.Flags) > 0:
		form = strings.TrimSpace("[OPTIONS] " + form)
	}
	fmt.Fprint(w, indented("", name+": "+use), "\n", indented("Usage:  ", name+" "+form), "\n", paragraphs(text))
	if !l.complete() {
		helpCommands(w, l.subcommands(root))
	}
	if help := root.Command("help"); l.Command == nil && help != nil {
		helpTopics(w, help.Subcommands)
	}
	helpFlags(w, "Options", l.localFlags())
	helpFlags(w, "Options of all commands", root.Flags)
}

// section is rows of help under a title.
type section struct {
	title string
	rows  [][2]string
}

// into adds a row to the section of that title, which may be a new one.
func into(all []section, title string, row [2]string) []section {
	for i := range all {
		if all[i].title == title {
			all[i].rows = append(all[i].rows, row)
			return all
		}
	}
	return append(all, section{title, [][2]string{row}})
}

// mostHead is how wide what is explained may be to have its explanation beside it.
const mostHead = 26

func (s *section) print(w io.Writer) {
	head := 0
	for _, r := range s.rows {
		if n := utf8.RuneCountInString(r[0]); n <= mostHead {
			head = max(head, n)
		}
	}
	fmt.Fprintf(w, "\n%s:\n", s.title)
	for _, r := range s.rows {
		n := utf8.RuneCountInString(r[0])
		if n > head {
			fmt.Fprintf(w, "  %s\n", r[0])
			r[0], n = "", 0
		}
		fmt.Fprint(w, indented("  "+r[0]+strings.Repeat(" ", head-n+2), r[1]))
	}
}

func helpCommands(w io.Writer, cs []*cli.Command) {
	var all []section
	for _, c := range cs {
		if !c.Hidden {
			title := "Commands"
			if c.Category != "" {
				title = c.Category
			}
			all = into(all, title, [2]string{c.Name, c.Usage})
		}
	}
	for i := range all {
		all[i].print(w)
	}
}

// helpTopics lists what help has pages on.
func helpTopics(w io.Writer, topics []*cli.Command) {
	s := section{title: "Pages of `mesita help TOPIC`"}
	for _, c := range topics {
		s.rows = append(s.rows, [2]string{c.Name, c.Usage})
	}
	s.print(w)
}

func helpFlags(w io.Writer, title string, flags []cli.Flag) {
	var all []section
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		under := title
		if g, ok := f.(cli.CategorizableFlag); ok && g.GetCategory() != "" {
			under = g.GetCategory()
		}
		all = into(all, under, [2]string{flagForm(d, f.Names()), flagUse(d)})
	}
	for i := range all {
		all[i].print(w)
	}
}

// flagForm is such as "-n, --count NUMBER".
func flagForm(d cli.DocGenerationFlag, names []string) string {
	form := "    --" + names[0]
	if len(names) > 1 {
		form = "-" + names[1] + ", --" + names[0]
	}
	if !d.TakesValue() {
		return form
	}
	value := "VALUE"
	if _, after, ok := strings.Cut(d.GetUsage(), "`"); ok {
		value, _, _ = strings.Cut(after, "`")
	}
	return form + " " + value
}

// flagUse is what a flag does, its default and its environment variable.
func flagUse(d cli.DocGenerationFlag) string {
	text := strings.ReplaceAll(d.GetUsage(), "`", "")
	if v := strings.Trim(d.GetDefaultText(), `"`); d.TakesValue() && v != "" && v != "0" && !strings.Contains(text, "(default") {
		text += " (default " + v + ")"
	}
	if env := d.GetEnvVars(); len(env) > 0 {
		text += " [$" + env[0] + "]"
	}
	return text
}

package line

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

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
	fmt.Fprintf(w, "%s: %s\n\nUsage:  %s %s\n\n%s\n", name, use, name, form, text)
	if !l.complete() {
		helpCommands(w, l.subcommands(root))
	}
	helpFlags(w, "Options", l.localFlags())
	helpFlags(w, "Options of all commands", root.Flags)
}

func helpCommands(w io.Writer, cs []*cli.Command) {
	fmt.Fprintln(w, "\nCommands:")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range cs {
		if !c.Hidden {
			fmt.Fprintf(t, "  %s\t%s\n", c.Name, c.Usage)
		}
	}
	_ = t.Flush() // nobody reads if it fails
}

func helpFlags(w io.Writer, title string, flags []cli.Flag) {
	if len(flags) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		fmt.Fprintf(t, "  %s\t%s\n", flagForm(d, f.Names()), flagUse(d))
	}
	_ = t.Flush() // nobody reads if it fails
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

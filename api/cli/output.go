package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/urfave/cli/v2"
)

var formats = []string{"table", "wide", "json", "yaml", "name"}

// readFlags are those of every command that reads.
func readFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT`: table, wide, json, yaml or name"},
		&cli.BoolFlag{Name: "no-headers", Usage: "leave the heading of a table out"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print names only"},
	}, more...)
}

// labelFlag narrows a list.
func labelFlag(what string) cli.Flag {
	return &cli.StringSliceFlag{Name: "label", Aliases: []string{"l"}, Usage: "only those with " + what + " `K=V`, or K!=V; may be repeated"}
}

func format(c *cli.Context) (string, error) {
	f := c.String("output")
	if c.Bool("quiet") {
		f = "name"
	}
	for _, known := range formats {
		if f == known {
			return f, nil
		}
	}
	return "", api.FieldErrorf("output", "%q is none of %s", f, strings.Join(formats, ", "))
}

// column is one of a table; wide ones show with -o wide only.
type column[T any] struct {
	head string
	get  func(T) string
	wide bool
}

// list prints items in the format that the user chose.
func list[T any](w io.Writer, c *cli.Context, items []T, name func(T) string, cols []column[T]) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	if items == nil {
		items = []T{}
	}
	switch f {
	case "json":
		return printJSON(w, items)
	case "yaml":
		return printYAML(w, items)
	case "name":
		for _, it := range items {
			fmt.Fprintln(w, name(it))
		}
		return nil
	}
	return table(w, items, cols, f == "wide", !c.Bool("no-headers"))
}

// table aligns the columns by hand: colours have no width, and on a terminal a line ends
// where that does, where it would wrap and rows could not be told apart. -o wide and
// what is not a terminal have all.
func table[T any](w io.Writer, items []T, cols []column[T], wide, heads bool) error {
	g := grid{state: -1, heads: heads}
	for i := range cols {
		if wide || !cols[i].wide {
			g.row = append(g.row, cols[i].head)
		}
	}
	g.begin(w, wide)
	for _, it := range items {
		for i := range cols {
			if wide || !cols[i].wide {
				g.row = append(g.row, cols[i].get(it))
			}
		}
		g.next()
	}
	return g.print(w)
}

// one prints a single object: as JSON or YAML, else by show.
func one[T any](w io.Writer, c *cli.Context, v T, name string, show func(io.Writer) error) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	switch f {
	case "json":
		return printJSON(w, v)
	case "yaml":
		return printYAML(w, v)
	case "name":
		if name != "" {
			fmt.Fprintln(w, name)
		}
		return nil
	}
	return show(w)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printYAML writes the JSON form of v as YAML, in the same order of fields.
func printYAML(w io.Writer, v any) error { return specfile.YAML(w, v) }

// printable is text of others without what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// age is how long ago, in one unit.
func age(t time.Time) string { return ageAt(t, time.Now()) }

func ageAt(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return spanText(now.Sub(t))
}

func spanText(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// stateText is a task's state as people say it.
func stateText(t *api.Task) string {
	switch {
	case t.Pending():
		return "pending"
	case t.Frozen && !t.State.Final():
		return "frozen"
	case t.Leaving() && t.State == api.TaskRunning:
		return "leaving"
	}
	return t.State.Word()
}

// wrapped is a line, or several of that width of which the others are indented; with 0
// it stays whole.
func wrapped(s string, width int) string {
	var out strings.Builder
	at := 0
	for word := range strings.SplitSeq(s, " ") {
		n := len([]rune(word))
		switch {
		case at > 0 && width > 0 && at+1+n > width:
			out.WriteString("\n  ")
			at = 2
		case out.Len() > 0:
			out.WriteByte(' ')
			at++
		}
		out.WriteString(word)
		at += n
	}
	return out.String() + "\n"
}

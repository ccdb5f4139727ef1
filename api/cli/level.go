package cli

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/urfave/cli/v2"
)

func (a *app) clusterLevel() *cli.Command {
	return a.watched(&cli.Command{
		Name: "level", Usage: "show what all programs of the cluster know, and which node holds it back",
		Description: "After an upgrade of all nodes the level rises by itself, 10 minutes after the last; from then on older programs no longer take part.\nUntil then each node can go back to the version it had.\n\n" +
			example("mesita cluster level", "mesita cluster level --hold"),
		Flags: readFlags(
			&cli.BoolFlag{Name: "hold", Usage: "do not raise it until --release"},
			&cli.BoolFlag{Name: "release", Usage: "let it rise by itself again"},
			&cli.BoolFlag{Name: "raise", Usage: "raise it now"},
			option.DryRunFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster level"); err != nil {
				return err
			}
			wish, err := levelWish(c)
			if err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			s, err := cl.Level(c.Context)
			if err != nil {
				return err
			}
			if wish != nil && c.Bool("dry-run") {
				what := "change whether the cluster goes beyond by itself:"
				if wish.Raise {
					what = "raise the cluster to"
				}
				a.progress("would %s level %d", what, max(s.Level, s.Next))
				return nil
			}
			if wish != nil {
				if s, err = cl.SetLevel(c.Context, *wish); err != nil {
					return err
				}
			}
			return one(a.out, c, s, fmt.Sprint(s.Level), func(w io.Writer) error {
				fmt.Fprintf(w, "level %d: %s\n", s.Level, levelNext(s))
				sort.Slice(s.Nodes, func(i, j int) bool { return s.Nodes[i].Name < s.Nodes[j].Name })
				return table(w, s.Nodes, levelColumns, c.String("output") == "wide", !c.Bool("no-headers"))
			})
		},
	})
}

// levelWish is nil when only a look was asked for.
func levelWish(c *cli.Context) (*api.LevelRequest, error) {
	var asked []*api.LevelRequest
	for name, wish := range map[string]*api.LevelRequest{"hold": {Hold: new(true)}, "release": {Hold: new(false)}, "raise": {Raise: true}} {
		if c.Bool(name) {
			asked = append(asked, wish)
		}
	}
	switch {
	case len(asked) == 0:
		return nil, nil
	case len(asked) > 1:
		return nil, api.FieldErrorf("hold", "--hold, --release and --raise cannot be combined")
	case c.Bool("watch"):
		return nil, api.FieldErrorf("watch", "is for a look only: leave --hold, --release and --raise out")
	}
	return asked[0], nil
}

func levelNext(s *api.LevelStatus) string {
	var older []string
	for _, n := range s.Nodes {
		if n.Level < s.Level && slices.Contains(s.Behind, n.Name) {
			older = append(older, n.Name)
		}
	}
	switch {
	case len(older) > 0:
		return fmt.Sprintf("upgrade mesita on %s: it is older than the level, and never votes", strings.Join(older, ", "))
	case len(s.Held) > 0:
		return "held by " + strings.Join(s.Held, ", ") + " until `mesita cluster level --release`"
	case s.Next > s.Level && s.At.IsZero():
		return fmt.Sprintf("all nodes know level %d", s.Next)
	case s.Next > s.Level:
		return fmt.Sprintf("all nodes know level %d; raised in %s unless `mesita cluster level --hold`", s.Next, max(0, time.Until(s.At)).Round(time.Second))
	case len(s.Behind) > 0:
		return fmt.Sprintf("upgrade mesita on %s for the next, or bring it back", strings.Join(s.Behind, ", "))
	}
	return "the highest that this mesita knows"
}

var levelColumns = []column[api.NodeLevel]{
	{"NODE", func(n api.NodeLevel) string { return n.Name }, false},
	{"MESITA", func(n api.NodeLevel) string { return n.Version }, false},
	{"KNOWS", func(n api.NodeLevel) string { return fmt.Sprint(n.Level) }, false},
	{"STATE", func(n api.NodeLevel) string { return n.State.String() }, false},
	{"VOTES", func(n api.NodeLevel) string { return yes(n.Voter) }, false},
	{"ANSWERS", func(n api.NodeLevel) string { return yes(n.Answers) }, true},
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

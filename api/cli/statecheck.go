package cli

import (
	"io"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/urfave/cli/v2"
)

func (a *app) clusterCheck() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "compare the states of all voters now, as they do by themselves every 10 minutes in which something was written",
		Description: "A voter that differs from most is filled anew. Exits with 1 if any differ.\n\n" + example("mesita cluster check"),
		Flags:       readFlags(option.DryRunFlag()),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster check"); err != nil {
				return err
			}
			if c.Bool("dry-run") {
				a.progress("would have all voters hash their states, and fill those anew that differ from most")
				return nil
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			nodes, err := cl.Nodes(c.Context, true)
			if err != nil {
				return err
			}
			s, err := cl.CheckState(c.Context)
			if err != nil {
				return err
			}
			name := func(id string) string {
				for _, n := range nodes {
					if n.ID == id {
						return n.Name
					}
				}
				return id
			}
			verdict := "equal"
			if s.Split || len(s.Odd) > 0 {
				verdict = "different"
			}
			err = one(a.out, c, s, verdict, func(w io.Writer) error {
				return table(w, s.Answers, []column[api.StateAnswer]{
					{"NODE", func(n api.StateAnswer) string { return name(n.NodeID) }, false},
					{"MESITA", func(n api.StateAnswer) string { return n.Version }, false},
					{"STATE", func(n api.StateAnswer) string { return n.State }, false},
					{"LOG", func(n api.StateAnswer) string { return n.Log }, false},
					{"DIFFERS", func(n api.StateAnswer) string { return yes(s.Split || slices.Contains(s.Odd, n.NodeID)) }, false},
				}, false, !c.Bool("no-headers"))
			})
			if err == nil && verdict != "equal" {
				err = api.Errorf(api.CodeFailed, "the voters hold different states: see `mesita incidents`")
			}
			return err
		},
	}
}
